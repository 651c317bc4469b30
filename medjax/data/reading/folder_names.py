"""What names of folders and files say of a data set: parts, masks, storage instead of classes."""

import re
from collections.abc import Iterable
from typing import Literal

Part = Literal["train", "val", "test"]

PART_NAMES: dict[Part, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "dev", "development"),
    "test": ("test", "testing", "tst"),
}
"""Names of parts; upper case and one of `PART_ENDINGS` behind make no difference."""
PART_ENDINGS = ("set", "data", "dataset", "images", "imgs", "split")

_SEPARATORS = re.compile(r"[\s_.,()-]+")
_PARTS = {
    part: re.compile(rf"(?:{'|'.join(names)})[\s_-]*(?:{'|'.join(PART_ENDINGS)})?", re.IGNORECASE)
    for part, names in PART_NAMES.items()
}
# Each may have a number behind it: part1, fold2.
_STORAGE = (
    *("image", "images", "img", "imgs", "picture", "pictures", "pic", "pics", "photo", "photos"),
    *("png", "pngs", "jpg", "jpgs", "jpeg", "jpegs", "data", "dataset", "file", "files", "folder", "dir", "input"),
    *("part", "parts", "batch", "chunk", "shard", "fold", "split", "set", "subset", "volume", "vol", "raw"),
    *("original", "originals", "resized", "frame", "frames", "slice", "slices", "scan", "scans", "tiles", "patches"),
    *("patient", "patients", "subject", "subjects", "case", "cases", "study", "studies", "series"),
    *("masks", "labels", "annotations"),
    *(name for names in PART_NAMES.values() for name in names),
)  # fmt: skip
_STORAGE_WORD = re.compile(rf"(?:{'|'.join(_STORAGE)})\d*")
_MASKS = re.compile(
    r"masks?|segmentations?|seg|segs|annotations?|contours?|gt|groundtruths?|ground[\s_-]*truths?",
    re.IGNORECASE,
)
_MASK_FILE = re.compile(
    r"(?P<stem>.*?)(?P<tail>[\s_-](?:mask|seg|segmentation|annotation|gt|groundtruth)(?:[\s_-]?\d{1,3})?\.\w+)",
    re.IGNORECASE,
)


def part_of(folder: str) -> Part | None:
    """The part that a folder of this name holds, if it is named after one: "val" for `Validation_set`."""
    return next((part for part, pattern in _PARTS.items() if pattern.fullmatch(folder)), None)


def known_part_names() -> str:
    """The names of parts in words."""
    names = "; ".join(", ".join(names) for names in PART_NAMES.values())
    return f"names of parts: {names}; each also with {', '.join(PART_ENDINGS)} behind it"


def are_storage(folders: Iterable[str]) -> bool:
    """Whether the names differ in nothing but numbers and words of storage, as images_part_1 and images_part_2 do.

    False for `cat_images` and `dog_images`, which differ in another word, and for numbers alone, which may be grades.
    """
    rests = set()
    for folder in folders:
        words = [word for word in _SEPARATORS.split(folder.lower()) if word]
        rest = [word for word in words if not _STORAGE_WORD.fullmatch(word)]
        if len(rest) == len(words):
            return False
        rests.add(tuple(word for word in rest if not word.isdecimal()))
    return len(rests) == 1


def are_masks(folder: str) -> bool:
    """Whether a folder of this name holds masks or other drawings over images, as `masks` and `lung masks` do."""
    words = [word for word in re.split(r"[\s_-]+", folder) if word]
    return bool(_MASKS.fullmatch(folder)) or bool(words and _MASKS.fullmatch(words[-1]))


def mask_stem(name: str) -> str | None:
    """The name, without suffix, of the image that a file of this name is a mask of; None for other names.

    `benign (1)` for `benign (1)_mask_2.png`.
    """
    match = _MASK_FILE.fullmatch(name)
    return None if match is None else match["stem"]


def mask_pattern(name: str) -> str | None:
    """A shell pattern of all files that are named as this mask is: `*_mask_[0-9].png`; None for other names."""
    match = _MASK_FILE.fullmatch(name.rpartition("/")[2])
    return None if match is None else "*" + re.sub(r"\d", "[0-9]", match["tail"])
