"""Match the ids of a table with those of a data set: exactly, else by how much of the end of their paths is the same.

Tables name images as `ISIC_0000001`, `images/ISIC_0000001.jpg` or `/data/cat/0.png`, where the data set has
`part_1/ISIC_0000001.jpg` or `cat/0.png`.
"""

import unicodedata
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Dropped where a name is compared without its suffix. Any other one may be a part of the name, as in 1.2.840.10008.
_FILE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff", ".bmp", ".gif")


class Matches(NamedTuple):
    """Which id of the table belongs to which image."""

    found: dict[str, str]  # id in the table, by id of the image
    ambiguous: list[str]  # ids of images that several ids of the table fit as well, or that share one
    elsewhere: list[tuple[str, str]]  # pairs of image and table whose folders differ before the common end


class _Claim(NamedTuple):
    """What in a table shares most with an image."""

    length: int  # path components that both end in
    id: str | None  # None if ids of several groups share as much
    image: str


def tidy_id(id: str) -> str:
    """An id as data sets write it: Unicode NFC, separated by "/", without empty components and "."."""
    plain = id if id.isascii() else unicodedata.normalize("NFC", id)
    # Most of a million are plain; a dot at the start of a component is rarely all of it.
    if "\\" in plain or plain.startswith(("/", ".")) or plain.endswith("/") or "//" in plain or "/." in plain:
        components = plain.replace("\\", "/").split("/")
        return "/".join(each for each in components if each not in ("", "."))
    return plain


def match_ids(images: Sequence[str], groups: Mapping[str, Any]) -> Matches:
    """Match the ids of images with those of a table, the keys of `groups`: what it says of them.

    Equal ids belong together. Any other image belongs to the id with the most path components in common at the end; the
    file name is compared with its suffix first, then without. An id belongs only to the image that shares most with it.
    Where ids of several groups fit equally well, or several images share one id equally, they are ambiguous.
    """
    found = {image: image for image in images if image in groups}
    rest = [image for image in images if image not in found]
    if not rest:
        return Matches(found, [], [])
    # Of a million rows only those that may fit are sorted.
    names = {file_stem(image) for image in rest}
    others = {id: group for id, group in groups.items() if file_stem(id) in names and id not in found}
    indexes = [_Index(others, is_whole) for is_whole in (True, False)]
    ambiguous: list[str] = []
    claims: dict[str, list[_Claim]] = {}
    for image in rest:
        claim = max((index.claim(image) for index in indexes), key=lambda claim: claim.length)
        if claim.id is not None:
            claims.setdefault(claim.id, []).append(claim)
        elif claim.length:
            ambiguous.append(image)
    elsewhere = []
    for id, claiming in claims.items():
        most = max(claim.length for claim in claiming)
        best = [claim.image for claim in claiming if claim.length == most]
        if len(best) > 1:
            ambiguous += best
            continue
        found[best[0]] = id
        if most < min(id.count("/"), best[0].count("/")) + 1:
            elsewhere.append((best[0], id))
    return Matches(found, sorted(ambiguous), elsewhere)


class _Index:
    """Ids sorted by their components from the last to the first: those that share an end lie side by side."""

    def __init__(self, groups: Mapping[str, Any], is_whole: bool) -> None:
        self._is_whole = is_whole
        rows = sorted((_reversed(id, is_whole), id) for id in groups)
        self._keys = [key for key, _ in rows]
        self._ids = [id for _, id in rows]
        # For each row the end of the rows from it on that are of the same group.
        self._same_until = list(range(1, len(rows) + 1))
        for row in range(len(rows) - 2, -1, -1):
            if groups[self._ids[row]] == groups[self._ids[row + 1]]:
                self._same_until[row] = self._same_until[row + 1]

    def claim(self, image: str) -> _Claim:
        """The id that shares most components with an image; length 0 if none shares the file name."""
        key = _reversed(image, self._is_whole)
        place = bisect_left(self._keys, key)
        neighbors = self._keys[max(place - 1, 0) : place + 1]
        common = max((_common(key, other) for other in neighbors), key=len, default="")
        if not common:
            return _Claim(0, None, image)
        first = bisect_left(self._keys, common)
        end = bisect_left(self._keys, common[:-1] + "0")  # the character after "/"
        return _Claim(common.count("/"), self._ids[first] if self._same_until[first] >= end else None, image)


def file_stem(id: str) -> str:
    """The name of a file without its folders, and without the suffix of an image."""
    name = id.rpartition("/")[2]
    return _without_suffix(name) if "." in name else name


def has_file_suffix(id: str) -> bool:
    """Whether an id ends as the name of an image does."""
    return id.lower().endswith(_FILE_SUFFIXES)


def _without_suffix(id: str) -> str:
    lower = id.lower()
    suffix = next((each for each in _FILE_SUFFIXES if lower.endswith(each)), "")
    return id[: len(id) - len(suffix)]


def _reversed(id: str, is_whole: bool) -> str:
    """The components of a path from the last to the first, each with a "/" behind it; without the file suffix if so asked."""
    whole = id if is_whole else _without_suffix(id)
    return "".join(f"{component}/" for component in reversed(whole.split("/")))


def _common(first: str, second: str) -> str:
    """The whole components that both begin with."""
    end = 0
    while (following := first.find("/", end) + 1) and second.startswith(first[end:following], end):
        end = following
    return first[:end]
