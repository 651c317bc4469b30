"""Match the ids of a table with those of a data set: exactly, else by how much of the end of their paths is the same.

Tables name images as `ISIC_0000001`, `images/ISIC_0000001.jpg` or `/data/cat/0.png`, where the data set has
`part_1/ISIC_0000001.jpg` or `cat/0.png`.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

# Dropped where a name is compared without its suffix. Any other one may be a part of the name, as in 1.2.840.10008.
_FILE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff", ".bmp", ".gif")


class Matches(NamedTuple):
    """Which id of the table belongs to which image."""

    found: dict[str, str]  # id in the table, by id of the image
    ambiguous: list[str]  # ids of images that several ids of the table fit as well, or that share one
    elsewhere: list[tuple[str, str]]  # pairs of image and table whose folders differ before the common end


class _Claim(NamedTuple):
    """An image's best id in the table."""

    length: int  # path components that both end in
    image: str


def tidy_id(id: str) -> str:
    """An id as data sets write it: Unicode NFC, separated by "/", without empty components and "."."""
    plain = unicodedata.normalize("NFC", id)
    if plain.startswith("/") or "\\" in plain or "." in plain.split("/") or "" in plain.split("/"):
        components = plain.replace("\\", "/").split("/")
        return "/".join(each for each in components if each not in ("", "."))
    return plain


def match_ids(images: Sequence[str], groups: Mapping[str, str]) -> Matches:
    """Match the ids of images with those of a table, the keys of `groups`.

    Equal ids belong together. Any other image belongs to the id with the most path components in common at the end; the
    file name is compared with its suffix first, then without. An id belongs only to the image that shares most with it.
    Where ids of several groups fit equally well, or several images share one id equally, they are ambiguous.
    """
    exact = {image: image for image in images if image in groups}
    rest = [image for image in images if image not in exact]
    if not rest:
        return Matches(exact, [], [])
    ends = _index_ends([id for id in groups if id not in exact], groups)
    ambiguous: list[str] = []
    claims: dict[str, list[_Claim]] = {}
    for image in rest:
        for length, end in _ends(image):
            if end in ends:
                id = ends[end]
                if id is None:
                    ambiguous.append(image)
                else:
                    claims.setdefault(id, []).append(_Claim(length, image))
                break
    found, elsewhere = dict(exact), []
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


def _index_ends(ids: Sequence[str], groups: Mapping[str, str]) -> dict[tuple[bool, str], str | None]:
    """By every end of a path, an id that has it; None where ids of several groups do."""
    index: dict[tuple[bool, str], str | None] = {}
    for id in ids:
        for _, end in _ends(id):
            other = index.setdefault(end, id)
            if other is not None and groups[other] != groups[id]:
                index[end] = None
    return index


def _ends(id: str) -> Iterator[tuple[int, tuple[bool, str]]]:
    """The ends of a path from the longest to the file name: number of components, and the end with and without suffix."""
    stem = next((id[: -len(each)] for each in _FILE_SUFFIXES if id.lower().endswith(each)), id)
    start, length = 0, id.count("/") + 1
    while length:
        yield length, (True, id[start:])
        yield length, (False, stem[start:])
        start, length = id.find("/", start) + 1, length - 1
