"""Images without labels as a caller gives them: paths, encoded images, open files and arrays, told apart by their type."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from medjax.config import DataConfig
from medjax.data.from_arrays import check_images
from medjax.data.reading.layout import ImageEntry, Layout
from medjax.data.reading.listing import MAX_FILE_BYTES, Listing, oversize_fault
from medjax.data.reading.sources import open_unlabelled
from medjax.errors import refuse
from medjax.records import Dataset

_WANTED = "give paths, bytes, files opened with 'rb', uint8 arrays, a Dataset, or a list of these"
_MOST_CHANNELS = 4  # of an array (height, width, channels); with more it is a stack of gray images


class Given(NamedTuple):
    """One thing that a caller gave: a path, an encoded image, or pixels."""

    name: str | None  # None if it has no name
    content: str | bytes | UInt8[np.ndarray, "height width channel"]


def tell_apart(images: Any) -> list[Given]:
    """What `images` is, or what is in it, in order.

    A str or path-like object is one path; bytes are one encoded image; a file object is read; an array is one image
    (height, width) or (height, width, channels), or a stack of such. Raises RefusedError for anything else and for none.
    """
    if (one := _take(images)) is not None:
        return one
    if isinstance(images, Mapping) or not isinstance(images, Iterable):
        raise refuse("IMAGES", f"are a {type(images).__name__}", _WANTED)
    found: list[Given] = []
    for image in images:
        if (one := _take(image)) is None:
            raise refuse("IMAGES", f"contain a {type(image).__name__}", _WANTED)
        found += one
    if not found:
        raise refuse("IMAGES", "none given", "name image files, folders or archives")
    return found


def _take(image: Any) -> list[Given] | None:
    """One image, stack or path; None for what is neither, such as a list."""
    if isinstance(image, Given):
        return [image]
    if isinstance(image, str | os.PathLike):
        path = os.fsdecode(image)
        return [Given(path, path)]
    if isinstance(image, bytes | bytearray | memoryview):
        return [Given(None, bytes(image))]
    if isinstance(image, Dataset):
        return [Given(str(id), pixels) for id, pixels in zip(image.ids, image.images, strict=True)]
    if hasattr(image, "read"):
        return [_read_file(image)]
    if hasattr(image, "__array__"):
        array = np.asarray(image)
        # Arrays of paths are lists of them.
        return tell_apart(array.tolist()) if array.dtype.kind in "OU" else _take_array(array)
    return None


def _read_file(file: Any) -> Given:
    name = getattr(file, "name", None)
    data = file.read(MAX_FILE_BYTES + 1)
    if not isinstance(data, bytes):
        raise refuse(str(name or "IMAGES"), "is a file opened as text", "open it with 'rb'")
    return Given(name if isinstance(name, str) else None, data)


def _take_array(array: np.ndarray) -> list[Given]:
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[-1] > _MOST_CHANNELS:
        remedy = (
            "put channels last, np.moveaxis(image, 0, -1); or give three gray images as images[..., None]"
        )
        raise refuse("images", f"have shape {array.shape}: one RGB image, or three gray ones", remedy)
    is_one = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] <= _MOST_CHANNELS)
    return [Given(None, pixels) for pixels in check_images(array[None] if is_one else array)]


@contextmanager
def open_given(given: Given, id: str, config: DataConfig) -> Iterator[tuple[Listing, Layout]]:
    """The images at a path, or the encoded image, readable within the context. Raises RefusedError."""
    if isinstance(given.content, str):
        with open_unlabelled(given.content, config) as opened:
            yield opened
        return
    data: Any = given.content
    read = data if len(data) <= MAX_FILE_BYTES else oversize_fault(len(data))
    yield Listing([], lambda keys: ((key, read) for key in keys)), Layout([ImageEntry(id, id)], (), [], 0, 0)
