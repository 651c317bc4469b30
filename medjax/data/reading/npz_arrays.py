"""The arrays of a MedMNIST-style .npz: their headers checked before anything is read, then their rows, some at a time.

`np.load` would allocate whatever shape a header states, and holds a whole array of full-size images in memory; here the
header of each array is checked against its member's size first.
"""

import math
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

from medjax.config import DataConfig
from medjax.data.decoding.image import check_size, check_values
from medjax.data.label_matrix import MAX_LABELS
from medjax.data.reading.listing import Fault, UnfitError, max_unpacked_bytes, problem_of
from medjax.data.reading.zip import list_members
from medjax.errors import Problem, RefusedError
from medjax.files import ZIP_DAMAGE

PARTS = ("test", "train", "val")
"""In the order of their ids."""
CLASS_NAMES = "class_names"
"""An array of text that names the classes, if there is one; without it they are called as their labels."""

_KINDS = ("images", "labels")
_CHUNK_BYTES = 2**22
# More than for archives of image files: raw pixels compress well.
_MAX_UNPACKED_TIMES = 50
_AS_MEDMNIST = "give arrays as MedMNIST does: {train,val,test}_{images,labels}"
_UNPACKED_REMEDY = (
    "looks like a decompression bomb; if it is none, save it with numpy.savez, which does not compress"
)


class Array(NamedTuple):
    """An array of the file whose header was checked."""

    name: str
    member: zipfile.ZipInfo
    start: int  # offset of its data, in bytes
    shape: tuple[int, ...]
    dtype: np.dtype


def read_headers(archive: zipfile.ZipFile, path: Path, config: DataConfig) -> tuple[dict[str, Array], int]:
    """The arrays of the data set by name, and how many others there are, which are not looked into."""
    arrays: dict[str, Array] = {}
    problems = []
    known = {f"{part}_{kind}": part for part in PARTS for kind in _KINDS}
    members = archive.infolist()
    limit = max_unpacked_bytes(path, _MAX_UNPACKED_TIMES)
    entries, _ = list_members(archive, 2**63, limit, unpacked_remedy=_UNPACKED_REMEDY)
    names = {entry.name.removesuffix(".npy") for entry in entries}
    for entry in entries:
        name = entry.name.removesuffix(".npy")
        if name not in known and name != CLASS_NAMES:
            continue
        try:
            if entry.fault is not None:
                raise UnfitError(*entry.fault)
            if name == entry.name or name in arrays:
                raise UnfitError("is no array, or there twice", _AS_MEDMNIST)
            array = _read_header(archive, members[int(entry.key)], name)
            _check_header(array, config)
            arrays[name] = array
        except UnfitError as error:
            if name != CLASS_NAMES:  # names of another kind are an array like any other: not read
                problems.append(problem_of(name, error.fault, can_ignore=False))
    parts = {"train", *(known[name] for name in names.intersection(known))}
    missing = {f"{part}_{kind}" for part in parts for kind in _KINDS} - names
    problems += [
        problem_of(name, Fault("is missing", _AS_MEDMNIST), can_ignore=False) for name in sorted(missing)
    ]
    if not problems:
        problems = _compare(arrays, config)
    if problems:
        raise RefusedError(problems)
    return arrays, len(entries) - len(arrays)


def _read_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Array:
    """Read the header of one array; the size that it states must be that of the archive member."""
    try:
        with archive.open(member) as handle:
            if npy.read_magic(handle) != (1, 0):
                raise UnfitError("is not a plain array", "save it with numpy.savez")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about headers written by Python 2
                shape, is_fortran, dtype = npy.read_array_header_1_0(handle)
            start = handle.tell()
    except UnfitError:
        raise
    except Exception as error:  # NumPy evaluates the header as a Python literal, which fails in many ways
        text = str(error).split("\n")[0]
        raise UnfitError(f"is damaged: {text}", "copy the file again") from None
    if dtype.hasobject:
        raise UnfitError("contains Python objects, which could run code when loaded", "save plain numbers")
    if is_fortran:
        raise UnfitError("is stored column by column", "save numpy.ascontiguousarray(array)")
    if len(shape) > 8 or any(not 0 <= side < 2**48 for side in shape):
        raise UnfitError("has an impossible shape in its header", "save it again")
    stated, found = math.prod(shape) * dtype.itemsize, member.file_size - start
    if stated != found:
        raise UnfitError(
            f"states shape {shape}, {stated:,} bytes, but has {found:,}", "copy or save it again"
        )
    return Array(name, member, start, shape, dtype)


def _check_header(array: Array, config: DataConfig) -> None:
    shape, dtype = array.shape, array.dtype
    if array.name == CLASS_NAMES:
        if dtype.kind != "U" or len(shape) != 1 or not dtype.itemsize:
            raise UnfitError("is no list of names", "leave it out")
    elif array.name.endswith("_images"):
        check_values(dtype, shape[3] if len(shape) == 4 else 1, config)
        if not (len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))):
            remedy = "give images as (n, height, width), (n, height, width, 1) or (n, height, width, 3)"
            raise UnfitError(f"has shape {shape}", remedy)
        check_size(shape[2], shape[1], config.max_megapixels)
    elif dtype.kind not in "iufb":
        raise UnfitError(f"has values of type {dtype}", "give whole numbers from 0 as labels")
    elif not (len(shape) == 1 or (len(shape) == 2 and 1 <= shape[1] <= MAX_LABELS)):
        remedy = (
            f"give one label per image, (n,) or (n, 1); or several, (n, k) of 0 and 1, at most {MAX_LABELS:,}"
        )
        raise UnfitError(f"has shape {shape}", remedy)
    if shape[0] == 0:
        raise UnfitError("is empty", "give images for every part")


def _compare(arrays: dict[str, Array], config: DataConfig) -> list[Problem]:
    """Problems between arrays that are sound one by one."""
    problems = []
    for part in parts_of(arrays):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.shape[0] != labels.shape[0]:
            fault = Fault(f"has {labels.shape[0]:,} labels for {images.shape[0]:,} images", _AS_MEDMNIST)
            problems.append(problem_of(labels.name, fault, can_ignore=False))
        if _columns(labels) != _columns(arrays["train_labels"]):
            fault = Fault(
                "has another number of labels an image than train_labels", "give all parts the same"
            )
            problems.append(problem_of(labels.name, fault, can_ignore=False))
        if _channels(images) != _channels(arrays["train_images"]) and config.color == "source":
            fault = Fault("differs in color from train_images", "choose --color gray or --color rgb")
            problems.append(problem_of(images.name, fault, can_ignore=False))
    return problems


def parts_of(arrays: Mapping[str, Array]) -> list[str]:
    """The parts that the file has, in the order of their ids."""
    return [part for part in PARTS if f"{part}_images" in arrays]


def _columns(labels: Array) -> int:
    return labels.shape[1] if len(labels.shape) == 2 else 1


def _channels(images: Array) -> int:
    return images.shape[3] if len(images.shape) == 4 else 1


def read_chunks(archive: zipfile.ZipFile, array: Array) -> Iterator[np.ndarray]:
    """The array, some rows at a time; raises RefusedError if there are fewer bytes than the header states."""
    row_bytes = math.prod(array.shape[1:]) * array.dtype.itemsize
    rows_left = array.shape[0]
    try:
        with archive.open(array.member) as handle:
            handle.read(array.start)
            while rows_left:
                count = min(rows_left, max(1, _CHUNK_BYTES // row_bytes))
                data = handle.read(count * row_bytes)
                rows_left -= count
                yield np.frombuffer(data, array.dtype).reshape(count, *array.shape[1:])
    except ZIP_DAMAGE as error:
        fault = Fault(f"is damaged: {error}", "copy the file again")
        raise RefusedError(problem_of(array.name, fault, can_ignore=False)) from None
