"""From names to labels: which entries of a source are images, and each one's class and part.

Two layouts are known, each with or without one folder around it: `class/image`; and `train/class/image` beside
`test/class/image` and optionally `val/class/image`. Anything else is a problem, and all problems are found at once:
nothing is guessed, and only what is known not to be data is skipped.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from medjax.data.reading.listing import Entry, Fault, Key, problem_of
from medjax.data.reading.names import (
    ARCHIVE_SUFFIXES,
    IMAGE_SUFFIXES,
    class_name_fault,
    drop_junk,
    is_document,
    is_ignored,
)
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


class ImageEntry(NamedTuple):
    """An image of a source, and what its folders say of it."""

    id: str
    key: Key
    class_name: str = ""
    part: str = ""  # "train", "val" or "test" if the source fixes parts


class Layout(NamedTuple):
    """What the names in a source say, problems included."""

    images: list[ImageEntry]  # sorted by id
    class_names: tuple[str, ...]
    problems: list[Problem]
    skipped: int  # number of files that are known not to be data
    ignored: int  # number of files left out by the user


def label_by_folder(entries: Iterable[Entry], source: str, ignore: Sequence[str] = ()) -> Layout:
    """Images labelled by the folders they are in; problems of the source as a whole are named `source`."""
    visible, skipped = drop_junk(entries)
    problems = _duplicate_names(visible)
    kept, ignored = _ignore_and_unwrap(visible, ignore)
    part_folders = _part_folders(kept)
    images: list[ImageEntry] = []
    seen: dict[str, tuple[str, str]] = {}  # class and part of folders that an image was found in
    for entry in kept:
        folder = entry.name.rpartition("/")[0]
        if folder in seen and entry.fault is None and not entry.is_folder:
            images.append(ImageEntry(entry.name, entry.key, *seen[folder]))
            continue
        found = entry.fault or _label(entry, part_folders)
        if isinstance(found, Fault):
            problems.append(problem_of(entry.name, found))
        elif found is not None:
            images.append(found)
            seen[folder] = found.class_name, found.part
        elif not entry.is_folder:
            skipped += 1
    folders, empty = _class_folders(kept, ignored, depth=2 if part_folders else 1)
    problems += _folder_problems(folders, empty, part_folders)
    names = {folder.split("/")[-1] for folder in folders | empty}
    if len(names) < 2 and (names or not problems):
        reason = f"contains only one class, {listed(sorted(names))}" if names else "contains no images"
        problems.append(Problem(source, reason, "give a folder for each of two or more classes"))
    class_names = tuple(sorted({image.class_name for image in images}))
    return Layout(sorted(images), class_names, problems, skipped, len(ignored))


def list_unlabelled(entries: Iterable[Entry], folder: str, ignore: Sequence[str] = ()) -> Layout:
    """Images without labels, at any depth; ids are their names after that of the `folder` or archive."""
    visible, skipped = drop_junk(entries)
    problems = _duplicate_names(visible)
    images = []
    for entry in visible:
        id = f"{folder}/{entry.name}"
        if (entry.is_folder and entry.fault is None) or is_ignored(id, ignore):
            continue
        if entry.fault is not None:
            problems.append(problem_of(id, entry.fault))
        elif "/" in entry.name or not is_document(entry.name):
            images.append(ImageEntry(id, entry.key))
    return Layout(sorted(images), (), problems, skipped, 0)


def _duplicate_names(entries: Iterable[Entry]) -> list[Problem]:
    names = [entry.name for entry in entries if not entry.is_folder]
    if len(set(names)) == len(names):
        return []
    counts = Counter(names)
    fault = Fault("is in the source twice", "rename one; names that differ only in Unicode form are the same")
    return [problem_of(name, fault, can_ignore=False) for name, count in counts.items() if count > 1]


def _ignore_and_unwrap(entries: list[Entry], ignore: Sequence[str]) -> tuple[list[Entry], set[str]]:
    """Entries that are not ignored, named without the one folder around everything; and names of ignored files."""
    wrapper = _wrapper(entries)
    kept, ignored = entries, set()
    if ignore:
        kept = [entry for entry in entries if not is_ignored(_unwrapped(wrapper, entry.name), ignore)]
        wrapper = wrapper or _wrapper(kept)  # a folder beside it may just have been ignored
        left_out = set(entries).difference(kept)
        ignored = {_unwrapped(wrapper, entry.name) for entry in left_out if not entry.is_folder}
    if wrapper:
        kept = [
            entry._replace(name=_unwrapped(wrapper, entry.name)) for entry in kept if entry.name != wrapper
        ]
    return kept, ignored


def _wrapper(entries: Iterable[Entry]) -> str:
    """The one folder around everything, or "": the only one at the top, with folders in it."""
    folders = _folders(entry for entry in entries if entry.fault is None)
    tops = _top_folders(folders)
    return tops.pop() if len(tops) == 1 and any("/" in folder for folder in folders) else ""


def _unwrapped(wrapper: str, name: str) -> str:
    return name.removeprefix(wrapper + "/") if wrapper else name


def _folders(entries: Iterable[Entry]) -> set[str]:
    """The folders that the entries are or are in; a small set even for a million names."""
    return {entry.name if entry.is_folder else entry.name.rpartition("/")[0] for entry in entries} - {""}


def _top_folders(folders: Iterable[str]) -> set[str]:
    return {folder.split("/")[0] for folder in folders}


def _part_folders(entries: Iterable[Entry]) -> dict[str, str]:
    """The part of each top folder that is named after one; empty unless there are at least two."""
    tops = sorted(_top_folders(_folders(entries)))
    found = {top: PARTS[top.lower()] for top in tops if top.lower() in PARTS}
    return found if len(found) > 1 else {}


def _label(entry: Entry, part_folders: dict[str, str]) -> ImageEntry | Fault | None:
    """The entry as an image of a class, a fault if it is in the wrong folder, or None for folders and documents."""
    if entry.is_folder:
        return None
    components = entry.name.split("/")
    depth = 3 if part_folders else 2
    if part_folders and len(components) > 1 and components[0] not in part_folders:
        return Fault(f"is beside the parts {listed(list(part_folders))}", "move it into one of them")
    if len(components) == depth:
        part = part_folders.get(components[0], "")
        return ImageEntry(entry.name, entry.key, components[-2], part)
    if len(components) > depth:
        return Fault("is nested too deep: class folders hold images and no folders", "move it up")
    if is_document(components[-1]):
        return None
    if components[-1].lower().endswith(ARCHIVE_SUFFIXES):
        return Fault("is an archive inside the data", "unpack it, or give it by itself")
    if components[-1].lower().endswith(IMAGE_SUFFIXES):
        return Fault("is an image outside the class folders", "move it into the folder of its class")
    return Fault("is an unknown file beside the class folders", "remove it")


def _class_folders(entries: Sequence[Entry], ignored: set[str], depth: int) -> tuple[set[str], set[str]]:
    """Folders at `depth` with files in them, and empty ones. A folder of ignored files is neither.

    A folder that cannot be read is a problem already and counts as one with files.
    """

    def at_depth(folders: Iterable[str]) -> set[str]:
        return {"/".join(folder.split("/")[:depth]) for folder in folders if folder.count("/") >= depth - 1}

    full = at_depth(_folders(entry for entry in entries if entry.fault is not None or not entry.is_folder))
    seen = at_depth(_folders(entries))
    return full, seen - full - {"/".join(name.split("/")[:depth]) for name in ignored}


def _folder_problems(folders: set[str], empty: set[str], part_folders: dict[str, str]) -> list[Problem]:
    empty_fault = Fault("is an empty class", "put its images there")
    problems = [problem_of(folder, empty_fault) for folder in sorted(empty)]
    for folder in sorted(folders):
        if (fault := class_name_fault(folder.split("/")[-1])) is not None:
            problems.append(problem_of(folder, fault))
    return problems + _part_problems(folders | empty, part_folders)


def _part_problems(folders: set[str], part_folders: dict[str, str]) -> list[Problem]:
    """Parts must be train and test, optionally val, each once, with the same classes."""
    if not part_folders:
        return []
    problems = []
    for folder, part in part_folders.items():
        if list(part_folders.values()).index(part) != list(part_folders).index(folder):
            problems.append(problem_of(folder, Fault(f"is a second {part} part", "merge the two")))
    for part in {"train", "test"}.difference(part_folders.values()):
        remedy = "rename a part, or give one part alone"
        fault = Fault(f"is missing beside {listed(list(part_folders))}", remedy)
        problems.append(problem_of(part, fault, can_ignore=False))
    names = {tuple(folder.split("/")) for folder in folders if folder.split("/")[0] in part_folders}
    for name in sorted({class_name for _, class_name in names}):
        for part in part_folders:
            if (part, name) not in names:
                fault = Fault(
                    f"is missing: other parts have the class {name}",
                    f"give all parts the same classes; or --ignore '{name}'",
                )
                problems.append(problem_of(f"{part}/{name}", fault, can_ignore=False))
    return problems
