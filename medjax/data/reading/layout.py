"""From the names in a source to labelled images: which are images, of which class, in which part.

Two layouts are known, each with or without one folder around it: `class/image`, and `train/class/image` beside
`test/class/image` and perhaps `val/class/image`. Whatever fits neither is a problem, and all of them are found
at once: nothing is guessed, and nothing dropped but what is known to be no data.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from medjax.data.reading.listing import ARCHIVE_SUFFIXES, Entry, Fault, Key, problem_of
from medjax.errors import Problem, listed

PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_DOCUMENT_SUFFIXES = (
    *(".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".html", ".htm", ".xml", ".yaml", ".yml"),
    *(".toml", ".ini", ".cfg", ".log", ".bib", ".cff", ".pdf", ".xls", ".xlsx"),
)
_DOCUMENT_NAMES = ("readme", "license", "licence", "copying", "notice", "authors", "citation", "changelog")
_JUNK_NAMES = ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini")
_MAYBE_JUNK = re.compile(rf"(?:^|/)(?:\.|{'|'.join(map(re.escape, _JUNK_NAMES))})", re.IGNORECASE)
_FORMULA_STARTS = ("=", "+", "-", "@")


class LabelledImage(NamedTuple):
    """Where an image lies in its source, and what its place says of it."""

    id: str
    key: Key
    class_name: str = ""
    part: str = ""  # "train", "val" or "test" where the source fixes its parts


class Layout(NamedTuple):
    """What the names of a source say, problems included."""

    images: list[LabelledImage]  # sorted by id
    class_names: tuple[str, ...]
    problems: list[Problem]
    skipped: int  # files that are known to be no data
    ignored: int  # files left out by the user


def arrange(entries: Iterable[Entry], source: str, ignore: Sequence[str] = ()) -> Layout:
    """Labelled images from the entries of a source, which problems call `source`."""
    visible, skipped = without_junk(entries)
    problems = _duplicates(visible)
    wrapper = _wrapper(visible)
    kept, ignored = visible, set()
    if ignore:
        kept = [entry for entry in visible if not is_ignored(_inside(wrapper, entry.name), ignore)]
        wrapper = wrapper or _wrapper(kept)  # what stood beside it may just have been ignored
        left_out = set(visible).difference(kept)
        ignored = {_inside(wrapper, entry.name) for entry in left_out if not entry.is_folder}
    if wrapper:
        kept = [entry._replace(name=_inside(wrapper, entry.name)) for entry in kept if entry.name != wrapper]

    part_folders = _part_folders(kept)
    images: list[LabelledImage] = []
    homes: dict[str, tuple[str, str]] = {}  # class and part of the folders whose first image has been placed
    for entry in kept:
        folder = entry.name.rpartition("/")[0]
        if folder in homes and entry.fault is None and not entry.is_folder:
            images.append(LabelledImage(entry.name, entry.key, *homes[folder]))
            continue
        placed = entry.fault or _place(entry, part_folders)
        if isinstance(placed, Fault):
            problems.append(problem_of(entry.name, placed))
        elif placed is not None:
            images.append(placed)
            homes[folder] = placed.class_name, placed.part
        elif not entry.is_folder:
            skipped += 1
    folders, empty = _class_folders(kept, ignored, depth=2 if part_folders else 1)
    problems += _folder_problems(folders, empty, part_folders)
    names = {folder.split("/")[-1] for folder in folders | empty}
    if len(names) < 2 and (names or not problems):
        reason = f"holds one class only, {listed(sorted(names))}" if names else "holds no images"
        problems.append(Problem(source, reason, "needs a folder for each of two classes or more"))
    images.sort()
    return Layout(
        images, tuple(sorted({image.class_name for image in images})), problems, skipped, len(ignored)
    )


def gather(entries: Iterable[Entry], folder: str, ignore: Sequence[str] = ()) -> Layout:
    """Images without labels, at any depth; ids are their names after that of the `folder` or archive."""
    visible, skipped = without_junk(entries)
    problems = _duplicates(visible)
    images = []
    for entry in visible:
        id = f"{folder}/{entry.name}"
        if (entry.is_folder and entry.fault is None) or is_ignored(id, ignore):
            continue
        if entry.fault is not None:
            problems.append(problem_of(id, entry.fault))
        elif "/" in entry.name or not _is_document(entry.name):
            images.append(LabelledImage(id, entry.key))
    return Layout(sorted(images), (), problems, skipped, 0)


def without_junk(entries: Iterable[Entry]) -> tuple[list[Entry], int]:
    """The entries that an operating system or a program did not leave behind, and how many files it did.

    A folder that held nothing else is still there, so that it is found empty.
    """
    visible, skipped = [], 0
    for entry in entries:
        if not _MAYBE_JUNK.search(entry.name):  # nearly always, and there may be a million names
            visible.append(entry)
            continue
        parts = entry.name.split("/")
        position = next((i for i, part in enumerate(parts) if _is_junk(part)), None)
        if position is None:
            visible.append(entry)
            continue
        skipped += not entry.is_folder
        if position > 0:
            visible.append(Entry("/".join(parts[:position]), entry.key, is_folder=True))
    return visible, skipped


def is_ignored(name: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern is or matches the id `name`, its last part, or a folder it lies in."""
    if not patterns:
        return False
    parts = name.split("/")
    candidates = {*parts, *("/".join(parts[:end]) for end in range(1, len(parts) + 1))}
    wanted = [unicodedata.normalize("NFC", pattern).rstrip("/") for pattern in patterns]
    return any(
        pattern in candidates or any(fnmatchcase(c, pattern) for c in candidates) for pattern in wanted
    )


def class_name_fault(name: str) -> Fault | None:
    """Why `name` cannot be the name of a class: predictions.csv must be safe to open in a spreadsheet."""
    if name.startswith(_FORMULA_STARTS):
        return Fault("is a class that spreadsheets would take for a formula", "rename the folder")
    if any(unicodedata.category(character) == "Cc" for character in name):
        return Fault("is a class with a control character", "rename the folder")
    return None


def _is_junk(part: str) -> bool:
    if part.startswith("."):
        return part != ".." and (part.startswith("._") or not part.lower().endswith(IMAGE_SUFFIXES))
    return part.lower() in _JUNK_NAMES


def _is_document(name: str) -> bool:
    lower = name.lower()
    if lower.endswith(_DOCUMENT_SUFFIXES):
        return True
    return lower.startswith(_DOCUMENT_NAMES) and not lower.endswith((*IMAGE_SUFFIXES, *ARCHIVE_SUFFIXES))


def _duplicates(entries: Iterable[Entry]) -> list[Problem]:
    names = [entry.name for entry in entries if not entry.is_folder]
    if len(set(names)) == len(names):
        return []
    counts = Counter(names)
    fault = Fault(
        "stands in the source twice", "rename one; names that differ in Unicode form alone are the same"
    )
    return [problem_of(name, fault, can_ignore=False) for name, count in counts.items() if count > 1]


def _wrapper(entries: Iterable[Entry]) -> str:
    """The one folder around everything, or "": the only one at the top, with folders in it."""
    folders = _folders(entry for entry in entries if entry.fault is None)
    tops = _tops(folders)
    return tops.pop() if len(tops) == 1 and any("/" in folder for folder in folders) else ""


def _folders(entries: Iterable[Entry]) -> set[str]:
    """The folders that entries are or lie in; there are few of them beside a million names."""
    return {entry.name if entry.is_folder else entry.name.rpartition("/")[0] for entry in entries} - {""}


def _tops(folders: Iterable[str]) -> set[str]:
    return {folder.split("/")[0] for folder in folders}


def _inside(wrapper: str, name: str) -> str:
    return name.removeprefix(wrapper + "/") if wrapper else name


def _part_folders(entries: Iterable[Entry]) -> dict[str, str]:
    """The top folders that are parts, and which; empty unless there are two at least."""
    tops = sorted(_tops(_folders(entries)))
    found = {top: PARTS[top.lower()] for top in tops if top.lower() in PARTS}
    return found if len(found) > 1 else {}


def _place(entry: Entry, part_folders: dict[str, str]) -> LabelledImage | Fault | None:
    """The image that `entry` is by its place, why it is none, or None for folders and documents."""
    if entry.is_folder:
        return None
    parts = entry.name.split("/")
    depth = 3 if part_folders else 2
    if part_folders and len(parts) > 1 and parts[0] not in part_folders:
        return Fault(f"lies beside the parts {listed(list(part_folders))}", "move it into one of them")
    if len(parts) == depth:
        part = part_folders.get(parts[0], "")
        return LabelledImage(entry.name, entry.key, parts[-2], part)
    if len(parts) > depth:
        return Fault("is nested too deep: class folders hold images and no folders", "move it up")
    if _is_document(parts[-1]):
        return None
    if parts[-1].lower().endswith(ARCHIVE_SUFFIXES):
        return Fault("is an archive inside the data", "unpack it, or give it by itself")
    if parts[-1].lower().endswith(IMAGE_SUFFIXES):
        return Fault("is an image outside the class folders", "move it into the folder of its class")
    return Fault("is an unknown file beside the class folders", "remove it")


def _class_folders(entries: Sequence[Entry], ignored: set[str], depth: int) -> tuple[set[str], set[str]]:
    """Folders at `depth` that hold files, and those that hold none; with ignored files alone they are neither.

    Of a folder that cannot be read it is known already, so that it passes for one with files.
    """

    def at_depth(folders: Iterable[str]) -> set[str]:
        return {"/".join(folder.split("/")[:depth]) for folder in folders if folder.count("/") >= depth - 1}

    full = at_depth(_folders(entry for entry in entries if entry.fault is not None or not entry.is_folder))
    seen = at_depth(_folders(entries))
    return full, seen - full - {"/".join(name.split("/")[:depth]) for name in ignored}


def _folder_problems(folders: set[str], empty: set[str], part_folders: dict[str, str]) -> list[Problem]:
    problems = [
        problem_of(folder, Fault("is an empty class", "put its images there")) for folder in sorted(empty)
    ]
    for folder in sorted(folders):
        if (fault := class_name_fault(folder.split("/")[-1])) is not None:
            problems.append(problem_of(folder, fault))
    return problems + _part_problems(folders | empty, part_folders)


def _part_problems(folders: set[str], part_folders: dict[str, str]) -> list[Problem]:
    """Parts must be train and test, perhaps val, each once, and hold the same classes."""
    if not part_folders:
        return []
    problems = []
    for folder, part in part_folders.items():
        if list(part_folders.values()).index(part) != list(part_folders).index(folder):
            problems.append(problem_of(folder, Fault(f"is a second {part} part", "merge the two")))
    for part in {"train", "test"}.difference(part_folders.values()):
        fault = Fault(
            f"is missing beside {listed(list(part_folders))}", "rename a part, or give one part alone"
        )
        problems.append(problem_of(part, fault, can_ignore=False))
    names = {tuple(folder.split("/")) for folder in folders if folder.split("/")[0] in part_folders}
    for name in sorted({class_name for _, class_name in names}):
        for part in part_folders:
            if (part, name) not in names:
                fault = Fault(
                    f"is missing: other parts have the class {name}",
                    f"parts hold the same classes; or --ignore '{name}'",
                )
                problems.append(problem_of(f"{part}/{name}", fault, can_ignore=False))
    return problems
