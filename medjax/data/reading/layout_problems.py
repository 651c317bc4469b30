"""What is wrong with the layout of a source, in as few lines as say it: one for each kind, not one for each file."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from medjax.data.reading.folder_names import (
    Part,
    are_masks,
    are_storage,
    known_part_names,
    mask_pattern,
    mask_stem,
    part_of,
)
from medjax.data.reading.listing import Entry, Fault, problem_of, quoted
from medjax.data.reading.names import class_name_fault
from medjax.errors import Problem, listed

SORT_REMEDY = (
    "give the table with their labels, --labels FILE, or sort the images into a folder for each class"
)
"""What to do with labels that stand in a table."""
_MAX_PATTERNS = 10  # in one line
_MAYBE_MASK = re.compile(r"[\s_-](?:mask|seg|annotation|gt|groundtruth)", re.IGNORECASE)


@dataclass
class Contents:
    """What was found in a source beside its images, each by name."""

    folders: dict[str, tuple[str, str]] = field(default_factory=dict)  # of images: their class and part
    nested: list[str] = field(default_factory=list)  # images in folders inside class folders
    masks: list[str] = field(default_factory=list)  # files in folders of masks inside class folders
    beside: list[str] = field(default_factory=list)  # files in folders beside the parts
    outside: list[str] = field(default_factory=list)  # images in no class folder
    misplaced: list[tuple[str, Fault]] = field(default_factory=list)  # others, and what is wrong with them
    tables: list[Entry] = field(default_factory=list)
    texts: list[Entry] = field(default_factory=list)  # beside the class folders
    notes: int = 0  # texts, tables in class folders

    def class_names(self, depth: int) -> set[str]:
        """The names of the folders that take the place of classes, where class folders have so many components."""
        nested = {name.split("/")[depth - 1] for name in self.nested}
        return nested.union(class_name for class_name, _ in self.folders.values())

    def unlabelled_parts(self, parts: Iterable[str]) -> Counter[str]:
        """How many images lie directly in each part that has no class folders at all."""
        unlabelled = {*parts}.difference(name.split("/")[0] for name in (*self.folders, *self.nested))
        tops = (name.split("/")[0] for name in self.outside)
        return Counter(top for top in tops if top in unlabelled)


def misread_problem(
    images: Iterable[str], found: Contents, parts: Mapping[str, Part], source: str
) -> Problem | None:
    """The problem of a source that is no data set of class folders, or that holds a copy of itself; None for others.

    `images` are the names of those that are labelled by their folders.
    """
    if (copy := _inner_copy(images, found)) is not None:
        return copy
    names = sorted(found.class_names(2 if parts else 1))
    if names and are_storage(names):
        plural = "folder looks" if len(names) == 1 else "folders look"
        reason = f"its {plural} like storage, not like classes: {listed(names)}"
        remedy = f"{SORT_REMEDY}; if they are the classes, rename them"
    elif not names and found.outside:
        where = f"directly in {listed(list(parts))}" if parts else "without class folders"
        reason, remedy = f"its images ({len(found.outside):,}) lie {where}", SORT_REMEDY
    else:
        return None
    if found.tables:
        table = listed([entry.name for entry in found.tables], 3)
        reason += f"; the labels may be in {table}"
    return Problem(source, reason, remedy)


def _inner_copy(images: Iterable[str], found: Contents) -> Problem | None:
    """The problem that a folder holds the data set once more, by the names in it: archives are often packed like that."""
    suspects = [*found.beside, *found.nested]
    if not suspects:
        return None
    names = set(images)
    total, same = Counter[str](), Counter[str]()
    for name in suspects:
        top, _, rest = name.partition("/")
        total[top] += 1
        same[top] += rest in names
    top, count = max(same.items(), key=lambda item: item[1])
    if 2 * count <= total[top]:
        return None
    reason = f"is a copy of the data set inside itself: {count:,} of its {total[top]:,} files are outside of it as well"
    return Problem(top, reason, f"leave it out: --ignore {quoted(top)}")


def misplaced_problems(
    found: Contents, parts: Mapping[str, Part], unlabelled: Mapping[str, int]
) -> list[Problem]:
    """Problems of files that are in no class folder, and of those that cannot be read.

    `unlabelled` gives how many images lie in each part without class folders.
    """
    problems = [problem_of(name, fault) for name, fault in found.misplaced]
    for folder, count in unlabelled.items():
        reason = f"is a part without labels: its images ({count:,}) are in no folder of a class"
        remedy = f"leave it out: --ignore {quoted(folder)}; medjax predict takes it"
        problems.append(Problem(folder, reason, remedy))
    outside = [name for name in found.outside if name.split("/")[0] not in unlabelled]
    if len(outside) == 1:
        fault = Fault("is an image outside the class folders", "move it into the folder of its class")
        problems.append(problem_of(outside[0], fault))
    elif outside:
        reason = f"is one of {len(outside):,} images outside the class folders"
        problems.append(Problem(outside[0], reason, "move them into the folders of their classes"))
    by_folder: dict[str, list[str]] = {}
    for name in found.beside:
        by_folder.setdefault(name.split("/")[0], []).append(name)
    for folder, names in by_folder.items():
        beside = f"beside the parts {listed(list(parts))}"
        if len(names) == 1:
            problems.append(problem_of(names[0], Fault(f"is {beside}", "move it into one of them")))
        else:
            fault = Fault(f"is {beside}, with {len(names):,} files", known_part_names())
            problems.append(problem_of(folder, fault))
    return problems


def nested_problems(found: Contents, depth: int) -> list[Problem]:
    """The problem of folders inside class folders, which have `depth` components, where they are refused."""
    remedies = []
    if found.masks:
        folders = sorted({"/".join(name.split("/")[: depth + 1]) for name in found.masks})
        reason = f"is a folder of masks, not of images; files in such folders: {len(found.masks):,}"
        names = sorted(
            {each for name in found.masks for each in name.split("/")[depth:-1] if are_masks(each)}
        )
        remedies = [f"--ignore {quoted(name)}" for name in names[:_MAX_PATTERNS]]
        if found.nested:
            remedies.append("--nested ignore")  # takes the images out of the folders beside the masks
        return [Problem(folders[0], reason, f"leave them out: {' '.join(remedies)}")]
    if not found.nested:
        return []
    folders = sorted({"/".join(name.split("/")[: depth + 1]) for name in found.nested})
    images = f"{len(found.nested):,} image{'' if len(found.nested) == 1 else 's'}, such as {found.nested[0]}"
    many = "" if len(folders) == 1 else f"one of {len(folders):,} folders "
    remedy = (
        "--nested group if it is a patient or scan, to be kept together; --nested ignore if it means nothing"
    )
    if any(part_of(name.split("/")[0]) for name in found.nested) and depth == 1:
        remedy += f"; {known_part_names()}"
    fault = Fault(f"is {many}nested inside a class folder, with {images}", remedy)
    return [problem_of(folders[0], fault, can_ignore=len(folders) == 1)]


def class_problems(folders: Iterable[str], empty: Iterable[str]) -> list[Problem]:
    """Problems of class folders: those without images, and those whose names cannot be written down."""
    empty_fault = Fault("is an empty class", "put its images there")
    problems = [problem_of(folder, empty_fault) for folder in sorted(empty)]
    for folder in sorted(folders):
        if (fault := class_name_fault(folder.split("/")[-1])) is not None:
            problems.append(problem_of(folder, fault))
    return problems


def part_problems(folders: Iterable[str], parts: Mapping[str, Part]) -> list[Problem]:
    """Parts must be train, and test or val or both, each once, with the same classes."""
    if not parts:
        return []
    problems = []
    for number, (folder, part) in enumerate(parts.items()):
        if part in list(parts.values())[:number]:
            problems.append(problem_of(folder, Fault(f"is a second {part} part", "merge the two")))
    if "train" not in parts.values():
        remedy = f"rename a part, or give one part alone; {known_part_names()}"
        fault = Fault(f"is missing beside {listed(list(parts))}", remedy)
        problems.append(problem_of("train", fault, can_ignore=False))
    names = {tuple(folder.split("/")) for folder in folders if folder.split("/")[0] in parts}
    for name in sorted({class_name for _, class_name in names}):
        for folder in parts:
            if (folder, name) not in names:
                fault = Fault(
                    f"is missing: other parts have the class {name}",
                    f"give all parts the same classes; or --ignore {quoted(name)}",
                )
                problems.append(problem_of(f"{folder}/{name}", fault, can_ignore=False))
    return problems


def mask_problems(masks: Iterable[str]) -> list[Problem]:
    """The problem of masks beside their images."""
    names = sorted(masks)
    if not names:
        return []
    patterns = sorted({pattern for name in names if (pattern := mask_pattern(name)) is not None})
    ignored = " ".join(f"--ignore {quoted(pattern)}" for pattern in patterns[:_MAX_PATTERNS])
    reason = f"is a mask beside the image that it was drawn on; such files: {len(names):,}"
    return [Problem(names[0], reason, f"leave them out: {ignored}")]


def find_masks(names: Sequence[str]) -> set[str]:
    """The files that are named after the mask of another file in the same folder."""
    suspects = [name for name in names if _MAYBE_MASK.search(name)]  # the common case: there are none
    if not suspects:
        return set()
    stems = {name.rpartition(".")[0] for name in names}
    found = set()
    for name in suspects:
        folder, slash, file = name.rpartition("/")
        stem = mask_stem(file)
        if stem is not None and folder + slash + stem in stems:
            found.add(name)
    return found
