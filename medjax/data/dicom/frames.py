"""DICOM files of several frames as several images: `scan.dcm#07` is frame 7 of `scan.dcm`, counted from 0."""

from collections.abc import Iterable, Iterator

import numpy as np

from medjax.data.dicom.header import count_frames
from medjax.data.dicom.signature import mark_frame
from medjax.data.reading.layout import ImageEntry
from medjax.data.reading.listing import Fault, Key, Listing
from medjax.data.reading.names import PICTURE_SUFFIXES
from medjax.records import Indices

MAX_FRAMES = 10_000


def split_frames(listing: Listing, images: Iterable[ImageEntry]) -> tuple[Listing, list[ImageEntry], Indices]:
    """The listing and images with an image for each frame, and for each of these the place of its file in `images`.

    A file that says it has more than MAX_FRAMES, or none, stays one image, for its decoder to refuse.
    """
    images = list(images)
    candidates = [image.key for image in images if not image.id.lower().endswith(PICTURE_SUFFIXES)]
    counts = {
        key: count_frames(data) for key, data in listing.read(candidates) if not isinstance(data, Fault)
    }
    split: list[ImageEntry] = []
    places: list[int] = []
    file_of: dict[Key, tuple[Key, int]] = {}
    for place, image in enumerate(images):
        count = counts.get(image.key, 1)
        is_split = 1 < count <= MAX_FRAMES
        for frame in range(count if is_split else 1):
            key: Key = f"{image.key}\0{frame}" if is_split else image.key
            id = f"{image.id}#{frame:0{len(str(count - 1))}}" if is_split else image.id
            split.append(image._replace(id=id, key=key))
            places.append(place)
            if is_split:
                file_of[key] = image.key, frame
    return (
        listing._replace(read=lambda keys: _read(listing, keys, file_of)),
        split,
        np.array(places, np.int64),
    )


def frame_source(key: Key) -> str:
    """What is the same for all frames of a file, and different for other files."""
    return str(key).partition("\0")[0]


def _read(
    listing: Listing, keys: Iterable[Key], file_of: dict[Key, tuple[Key, int]]
) -> Iterator[tuple[Key, bytes | Fault]]:
    wanted: dict[Key, list[tuple[Key, int | None]]] = {}
    for key in keys:
        file, frame = file_of.get(key, (key, None))
        wanted.setdefault(file, []).append((key, frame))
    for file, data in listing.read(wanted):
        for key, frame in wanted[file]:
            yield key, data if frame is None or isinstance(data, Fault) else mark_frame(data, frame)
