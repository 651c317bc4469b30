"""From names to labels: which entries of a source are images, and each one's class and part.

Two layouts are known, each with or without folders around everything: `class/image`; and `train/class/image` beside
`test/class/image` or `val/class/image` or both. Folders inside class folders are taken where the user says what they are.
Anything else is a problem, and all problems are found at once: nothing is guessed, and only what is known not to be data
is skipped.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from medjax.data.reading.folder_names import Part, are_masks, part_of
from medjax.data.reading.layout_problems import (
    Contents,
    class_problems,
    find_masks,
    mask_problems,
    misplaced_problems,
    misread_problem,
    nested_problems,
    part_problems,
)
from medjax.data.reading.listing import Entry, Fault, Key, problem_of
from medjax.data.reading.names import (
    ARCHIVE_SUFFIXES,
    IMAGE_SUFFIXES,
    drop_junk,
    is_document,
    is_ignored,
    is_note,
    is_table,
)
from medjax.errors import Problem, listed

Nested = Literal["refuse", "ignore", "group"]

_QUICK_SUFFIXES = (*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))


class ImageEntry(NamedTuple):
    """An image of a source, and what its folders say of it."""

    id: str
    key: Key
    class_name: str = ""
    part: str = ""  # "train", "val" or "test" if the source fixes parts


class Layout(NamedTuple):
    """What the names in a source say, problems included."""

    images: list[ImageEntry]  # sorted by id; none if the source is no data set of class folders at all
    class_names: tuple[str, ...]
    problems: list[Problem]
    skipped: int  # number of files that are known not to be data
    ignored: int  # number of files left out by the user
    tables: tuple[Entry, ...] = ()  # beside the class folders; they may hold labels
    texts: tuple[Entry, ...] = ()  # beside the class folders, as tables are; some are lists of labels


def label_by_folder(
    entries: Iterable[Entry], source: str, ignore: Sequence[str] = (), nested: Nested = "refuse"
) -> Layout:
    """Images labelled by the folders they are in; problems of the source as a whole are named `source`."""
    visible, skipped = drop_junk(entries)
    twice = _duplicate_names(visible)
    kept, ignored = _ignore_and_unwrap(visible, ignore)
    parts = _part_folders(kept)
    images, found = _sort_out(kept, parts, nested)
    counts = (skipped + found.notes, len(ignored), tuple(found.tables), tuple(found.texts))
    if (misread := misread_problem((image.id for image in images), found, parts, source)) is not None:
        return Layout([], (), [misread], *counts)
    depth = 2 if parts else 1
    unlabelled = found.unlabelled_parts(parts)
    full, empty = _class_folders(kept, found, ignored, depth)
    masks = find_masks([image.id for image in images])
    images = [image for image in images if image.id not in masks] if masks else images
    problems = [
        *twice,
        *misplaced_problems(found, parts, unlabelled),
        *nested_problems(found, depth),
        *mask_problems(masks),
        *class_problems(full, empty),
        *part_problems(full | empty, {top: part for top, part in parts.items() if top not in unlabelled}),
    ]
    names = {folder.split("/")[-1] for folder in full | empty}
    if len(names) < 2 and (names or not problems):
        reason = f"contains only one class, {listed(sorted(names))}" if names else "contains no images"
        problems.append(Problem(source, reason, "give a folder for each of two or more classes"))
    class_names = tuple(sorted({image.class_name for image in images}))
    return Layout(sorted(images), class_names, problems, *counts)


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
        elif not (is_note if "/" in entry.name else is_document)(entry.name.rpartition("/")[2]):
            images.append(ImageEntry(id, entry.key))
    return Layout(sorted(images), (), problems, skipped, 0)


def list_images(entries: Iterable[Entry], ignore: Sequence[str] = ()) -> Layout:
    """All files of a source that may be images, without labels, with the ids that `label_by_folder` would give them."""
    visible, skipped = drop_junk(entries)
    problems = _duplicate_names(visible)
    kept, ignored = _ignore_and_unwrap(visible, ignore)
    images = []
    for entry in kept:
        is_document_name = is_note if "/" in entry.name else is_document
        if entry.fault is not None:
            problems.append(problem_of(entry.name, entry.fault))
        elif not entry.is_folder and is_document_name(entry.name.rpartition("/")[2]):
            skipped += 1
        elif not entry.is_folder:
            images.append(ImageEntry(entry.name, entry.key))
    return Layout(sorted(images), (), problems, skipped, len(ignored))


def _duplicate_names(entries: Iterable[Entry]) -> list[Problem]:
    names = [entry.name for entry in entries if not entry.is_folder]
    if len(set(names)) == len(names):
        return []
    counts = Counter(names)
    fault = Fault("is in the source twice", "rename one; names that differ only in Unicode form are the same")
    return [problem_of(name, fault, can_ignore=False) for name, count in counts.items() if count > 1]


def _ignore_and_unwrap(entries: list[Entry], ignore: Sequence[str]) -> tuple[list[Entry], set[str]]:
    """Entries that are not ignored, named without the folders around everything; and names of ignored files."""
    wrappers = _wrappers(entries)
    kept, ignored = entries, set()
    if ignore:
        kept = [entry for entry in entries if not is_ignored(_unwrapped(wrappers, entry.name), ignore)]
        wrappers = _wrappers(kept)  # a folder beside one may just have been ignored
        left_out = set(entries).difference(kept)
        ignored = {_unwrapped(wrappers, entry.name) for entry in left_out if not entry.is_folder}
    if wrappers:
        renamed = (entry._replace(name=_unwrapped(wrappers, entry.name)) for entry in kept)
        kept = [entry for entry in renamed if entry.name]
    return kept, ignored


def _wrappers(entries: Iterable[Entry]) -> list[str]:
    """The folders around everything, the outermost first: each the only one at its level, with folders in it."""
    folders = _folders(entry for entry in entries if entry.fault is None)
    wrappers: list[str] = []
    while True:
        tops = _top_folders(folders)
        folders = {folder.partition("/")[2] for folder in folders} - {""}
        if len(tops) != 1 or not folders:
            return wrappers
        wrappers.append(tops.pop())


def _unwrapped(wrappers: Iterable[str], name: str) -> str:
    """The name without the folders around everything; "" for one of these folders themselves."""
    for wrapper in wrappers:
        top, _, rest = name.partition("/")
        if top != wrapper:  # a file beside it
            break
        name = rest
    return name


def _folders(entries: Iterable[Entry]) -> set[str]:
    """The folders that the entries are or are in; a small set even for a million names."""
    return {entry.name if entry.is_folder else entry.name.rpartition("/")[0] for entry in entries} - {""}


def _top_folders(folders: Iterable[str]) -> set[str]:
    return {folder.split("/")[0] for folder in folders}


def _part_folders(entries: Iterable[Entry]) -> dict[str, Part]:
    """The part of each top folder that is named after one; empty unless there are at least two."""
    tops = sorted(_top_folders(_folders(entries)))
    found = {top: part for top in tops if (part := part_of(top)) is not None}
    return found if len(found) > 1 else {}


def _sort_out(
    entries: Iterable[Entry], parts: dict[str, Part], nested: Nested
) -> tuple[list[ImageEntry], Contents]:
    """The images of classes, and all else that was found."""
    images: list[ImageEntry] = []
    found = Contents()
    depth = 3 if parts else 2
    for entry in entries:
        folder, _, name = entry.name.rpartition("/")
        label = found.folders.get(folder)
        if label and entry.fault is None and not entry.is_folder and name.endswith(_QUICK_SUFFIXES):
            images.append(ImageEntry(entry.name, entry.key, *label))  # nearly all of a million
            continue
        if entry.fault is not None:
            found.misplaced.append((entry.name, entry.fault))
            continue
        if entry.is_folder:
            continue
        components = entry.name.split("/")
        is_beside = bool(parts) and len(components) > 1 and components[0] not in parts
        if is_beside or len(components) < depth:
            _sort_outsider(entry, is_beside, found)
        elif is_note(name):
            found.notes += 1
        elif any(map(are_masks, components[depth - 1 : -1])):
            found.masks.append(entry.name)
        elif len(components) > depth and nested == "refuse":
            found.nested.append(entry.name)
        else:
            found.folders[folder] = components[depth - 2], parts.get(components[0], "")
            images.append(ImageEntry(entry.name, entry.key, *found.folders[folder]))
    return images, found


def _sort_outsider(entry: Entry, is_beside: bool, found: Contents) -> None:
    """Sort a file that is in no class folder."""
    name = entry.name.rpartition("/")[2]
    lower = name.lower()
    if is_table(name):
        found.tables.append(entry)
    elif is_note(name) if is_beside else is_document(name):
        found.notes += 1
        if lower.endswith(".txt"):
            found.texts.append(entry)
    elif is_beside:
        found.beside.append(entry.name)
    elif lower.endswith(ARCHIVE_SUFFIXES):
        fault = Fault("is an archive inside the data", "unpack it, or give it by itself")
        found.misplaced.append((entry.name, fault))
    elif lower.endswith(IMAGE_SUFFIXES):
        found.outside.append(entry.name)
    else:
        fault = Fault("is an unknown file beside the class folders", "remove it")
        found.misplaced.append((entry.name, fault))


def _class_folders(
    entries: Sequence[Entry], found: Contents, ignored: set[str], depth: int
) -> tuple[set[str], set[str]]:
    """Folders at `depth` with images in them, and empty ones. A folder of ignored files is neither.

    One with a faulty file counts as one with images: it is a problem already.
    """

    def at_depth(folders: Iterable[str]) -> set[str]:
        return {"/".join(folder.split("/")[:depth]) for folder in folders if folder.count("/") >= depth - 1}

    faulty = _folders(entry for entry in entries if entry.fault is not None)
    inner = {name.rpartition("/")[0] for name in (*found.nested, *found.masks)}
    full = at_depth({*found.folders, *faulty, *inner})
    seen = at_depth(_folders(entries))
    return full, seen - full - {"/".join(name.split("/")[:depth]) for name in ignored}
