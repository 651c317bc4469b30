"""Match the ids of a table with those of a data set: exactly, else where one path is the end of the other.

Tables name images as `ISIC_0000001`, `images/ISIC_0000001.jpg` or `/data/cat/0.png`, where the data set has
`part_1/ISIC_0000001.jpg` or `cat/0.png`.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

# Dropped where a name is compared without its suffix. Any other one may be a part of the name, as in 1.2.840.10008.
_FILE_SUFFIXES = frozenset(["png", "jpg", "jpeg", "dcm", "dicom", "ima", "tif", "tiff", "bmp", "gif", "webp"])
_MOST_COMPONENTS = 32
"""Of the end of a path that is compared: every end of a stranger's deep one would take gigabytes."""


class Matches(NamedTuple):
    """Which id of the table belongs to which image."""

    found: dict[str, str]  # id in the table, by id of the image
    ambiguous: list[str]  # ids of images that several ids of the table fit as well, or that share one
    elsewhere: list[tuple[str, str]]  # pairs of image and table whose names agree, and whose folders differ


class _Claim(NamedTuple):
    """An id of the table that fits an image; the largest fits best."""

    length: int  # path components that both end in
    is_whole: bool  # whether file suffixes agree
    id: str


def tidy_id(id: str) -> str:
    """An id as data sets write it: Unicode NFC, separated by "/", without empty components and "."."""
    plain = id if id.isascii() else unicodedata.normalize("NFC", id)
    # Most of a million are plain; a dot at the start of a component is rarely all of it.
    if "\\" in plain or plain.startswith(("/", ".")) or plain.endswith("/") or "//" in plain or "/." in plain:
        components = plain.replace("\\", "/").split("/")
        return "/".join(each for each in components if each not in ("", "."))
    return plain


def file_stem(id: str) -> str:
    """The name of a file without its folders, and without the suffix of an image."""
    return _bare(id.rpartition("/")[2])


def has_file_suffix(id: str) -> bool:
    """Whether an id ends as the name of an image does."""
    return _bare(id) != id


def match_ids(images: Sequence[str], rows: Mapping[str, Any]) -> Matches:
    """Match the ids of images with those of a table, the keys of `rows`: what it says of them.

    Equal ids belong together. Any other image belongs to the id with the most path components where one of both paths is
    the end of the other, with the same file suffix rather than without. An id belongs only to the image that shares most
    with it. Where ids with other values fit equally well, or several images share one id equally, they are ambiguous. What
    is left belongs together if a file name is that of one image and one id only, whatever the folders.
    """
    found = {image: image for image in images if image in rows}
    rest = [image for image in images if image not in found]
    if not rest:
        return Matches(found, [], [])
    # Of a million rows only those that may fit are looked at.
    names = {file_stem(image) for image in rest}
    near = [(stem, id) for id in rows if (stem := file_stem(id)) in names]
    others = [id for _, id in near if id not in found]
    ambiguous: list[str] = []
    wanted: dict[str, list[tuple[int, str]]] = {}  # by id: how much each image shares with it
    for image, claims in _claims(rest, others).items():
        best = max(claims)[:2]
        ids = [claim.id for claim in claims if claim[:2] == best]
        if all(rows[id] == rows[ids[0]] for id in ids):
            wanted.setdefault(ids[0], []).append((best[0], image))
        else:
            ambiguous.append(image)
    for id, claiming in wanted.items():
        most = max(length for length, _ in claiming)
        winners = [image for length, image in claiming if length == most]
        if len(winners) == 1:
            found[winners[0]] = id
        else:
            ambiguous += winners
    elsewhere = _only_ones(images, near, {*found, *ambiguous}, {*found.values()})
    return Matches(found | dict(elsewhere), sorted(ambiguous), elsewhere)


def _claims(images: Iterable[str], ids: Iterable[str]) -> dict[str, list[_Claim]]:
    """What fits each image: ids that are the end of its path, and ids whose end is its path."""
    claims: dict[str, list[_Claim]] = {}
    ids_at, images_at = _by_path(ids), _by_path(images)
    for image in images:
        for length, end, is_whole in _ends(image):
            fitting = (_Claim(length, is_whole, id) for id in ids_at.get((end, is_whole), ()))
            claims.setdefault(image, []).extend(fitting)
    for id in ids:
        for length, end, is_whole in _ends(id):
            for image in images_at.get((end, is_whole), ()):
                claims[image].append(_Claim(length, is_whole, id))
    return {image: found for image, found in claims.items() if found}


def _by_path(ids: Iterable[str]) -> dict[tuple[str, bool], list[str]]:
    """The ids by their whole paths, with the file suffix and without."""
    places: dict[tuple[str, bool], list[str]] = {}
    for id in ids:
        places.setdefault((id, True), []).append(id)
        places.setdefault((_bare(id), False), []).append(id)
    return places


def _ends(id: str) -> Iterator[tuple[int, str, bool]]:
    """The ends of a path, with the file suffix and without, and how many components each has."""
    for path, is_whole in ((id, True), (_bare(id), False)):
        components = path.rsplit("/", _MOST_COMPONENTS)[-_MOST_COMPONENTS:]
        for start in range(len(components)):
            yield len(components) - start, "/".join(components[start:]), is_whole


def _bare(id: str) -> str:
    """The id without its file suffix."""
    name, dot, suffix = id.rpartition(".")
    return name if dot and suffix.lower() in _FILE_SUFFIXES else id


def _only_ones(
    images: Sequence[str], rows: Sequence[tuple[str, str]], known: set[str], used: set[str]
) -> list[tuple[str, str]]:
    """Pairs of an image and an id that nothing else is named as, none of them matched before.

    `rows` are ids of the table with their names in front: all that may fit an image.
    """
    if len(known) == len(images):
        return []
    of_images = Counter(map(file_stem, images))
    of_rows = Counter(stem for stem, _ in rows)
    id_of = {stem: id for stem, id in rows if of_rows[stem] == 1 and id not in used}
    return [
        (image, id_of[stem])
        for image in images
        if image not in known and of_images[stem := file_stem(image)] == 1 and stem in id_of
    ]
