"""Read a MedMNIST-style .npz: six arrays, {train,val,test}_{images,labels}, whose parts are kept.

It is read as a zip archive, in chunks. `np.load` would allocate whatever shape a header states, and holds a whole array
of full-size images in memory; here the header of each array is checked against its member's size first.

Reference: Yang et al., "MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image
classification", 2023, https://doi.org/10.1038/s41597-022-01721-8
"""

import math
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

from medjax.config import DataConfig
from medjax.data.decoding.collect import assemble, find_conflicts
from medjax.data.decoding.image import DecodedStack, check_size, decode_pixels
from medjax.data.decoding.worker_pool import Progress
from medjax.data.reading.listing import Fault, UnfitError, max_unpacked_bytes, problem_of
from medjax.data.reading.names import is_ignored
from medjax.data.reading.zip import DAMAGE, list_members, open_archive
from medjax.errors import Problem, RefusedError, counted
from medjax.records import Dataset, LoadCounts

PARTS = ("test", "train", "val")
"""In the order of their ids."""
_KINDS = ("images", "labels")
_CHUNK_BYTES = 2**22
_PROGRESS_IMAGES = 1_000
# More than for archives of image files: raw pixels compress well.
_MAX_UNPACKED_TIMES = 50
_AS_MEDMNIST = "give six arrays as MedMNIST does: {train,val,test}_{images,labels}"


class Array(NamedTuple):
    """An array of the file whose header was checked."""

    name: str
    member: zipfile.ZipInfo
    start: int  # offset of its data, in bytes
    shape: tuple[int, ...]
    dtype: np.dtype


class Row(NamedTuple):
    """One image of the file."""

    id: str
    part: str
    index_in_part: int
    label: int  # as in the file


def load_npz(path: Path, config: DataConfig, on_progress: Progress | None = None) -> Dataset:
    """The data set in the file at `path`, with labels as class names and ids such as `train/000012`.

    Raises UnfitError if the file is not a zip archive, RefusedError with a problem for each array.
    """
    with open_archive(path) as archive:
        arrays = _read_headers(archive, path, config)
        rows = _list_rows(archive, arrays)
        kept = [row for row in rows if not is_ignored(row.id, config.ignore)]
        _check_classes(kept, str(path))
        assembled = assemble(
            _decode(archive, arrays, kept, config, on_progress), len(kept), config.image_size
        )
    classes = sorted({row.label for row in kept})
    labels = np.searchsorted(classes, [row.label for row in kept]).astype(np.int32)
    conflicts = sum(map(len, find_conflicts(assembled.digests, labels)))
    return Dataset(
        images=assembled.images,
        labels=labels,
        class_names=tuple(map(str, classes)),
        ids=np.array([row.id for row in kept]),
        digests=assembled.digests,
        name=path.stem,
        split=np.array([row.part for row in kept]),
        counts=LoadCounts(**assembled.changes, ignored=len(rows) - len(kept), conflicting=conflicts),
    )


def _read_headers(archive: zipfile.ZipFile, path: Path, config: DataConfig) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    problems = []
    missing = {f"{part}_{kind}" for part in PARTS for kind in _KINDS}
    members = archive.infolist()
    limit = max_unpacked_bytes(path, _MAX_UNPACKED_TIMES)
    for entry in list_members(archive, 2**63, limit):
        name = entry.name.removesuffix(".npy")
        try:
            if entry.fault is not None:
                raise UnfitError(*entry.fault)
            if name not in missing or name == entry.name:
                raise UnfitError("is not one of the six arrays, or a duplicate", _AS_MEDMNIST)
            missing.remove(name)
            arrays[name] = _read_header(archive, members[int(entry.key)], name)
            _check_header(arrays[name], config)
        except UnfitError as error:
            problems.append(problem_of(name, error.fault, can_ignore=False))
    problems += [
        problem_of(name, Fault("is missing", _AS_MEDMNIST), can_ignore=False) for name in sorted(missing)
    ]
    if not problems:
        problems = _compare(arrays, config)
    if problems:
        raise RefusedError(problems)
    return arrays


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
            f"states shape {shape}, {counted(stated, 'byte')}, but has {found:,}", "copy or save it again"
        )
    return Array(name, member, start, shape, dtype)


def _check_header(array: Array, config: DataConfig) -> None:
    shape, dtype = array.shape, array.dtype
    if array.name.endswith("_images"):
        if dtype != np.uint8:
            raise UnfitError(f"has values of type {dtype}", "give uint8 images, 0 to 255")
        if not (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)):
            raise UnfitError(
                f"has shape {shape}", "give images as (n, height, width) or (n, height, width, 3)"
            )
        check_size(shape[2], shape[1], config.max_megapixels)
    elif dtype.kind not in "iu":
        raise UnfitError(f"has values of type {dtype}", "give integer labels from 0")
    elif not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
        raise UnfitError(
            f"has shape {shape}", "give one label per image: (n,) or (n, 1); several are not supported"
        )
    if shape[0] == 0:
        raise UnfitError("is empty", "give images for every part")


def _compare(arrays: dict[str, Array], config: DataConfig) -> list[Problem]:
    """Problems between arrays that are sound one by one."""
    problems = []
    for part in PARTS:
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.shape[0] != labels.shape[0]:
            fault = Fault(
                f"has {counted(labels.shape[0], 'label')} for {counted(images.shape[0], 'image')}",
                _AS_MEDMNIST,
            )
            problems.append(problem_of(labels.name, fault, can_ignore=False))
        if len(images.shape) != len(arrays["train_images"].shape) and config.color == "source":
            fault = Fault("differs in color from train_images", "choose --color gray or --color rgb")
            problems.append(problem_of(images.name, fault, can_ignore=False))
    return problems


def _list_rows(archive: zipfile.ZipFile, arrays: dict[str, Array]) -> list[Row]:
    """All images of the file, sorted by id."""
    rows: list[Row] = []
    problems = []
    for part in PARTS:
        array = arrays[f"{part}_labels"]
        labels = np.concatenate([chunk.reshape(-1) for chunk in _read_chunks(archive, array)])
        if labels.min() < 0:
            fault = Fault(f"contains the label {labels.min()}", "give integer labels from 0")
            problems.append(problem_of(array.name, fault, can_ignore=False))
        width = max(6, len(str(len(labels) - 1)))
        rows += [Row(f"{part}/{i:0{width}}", part, i, label) for i, label in enumerate(labels.tolist())]
    if problems:
        raise RefusedError(problems)
    return rows


def _check_classes(rows: list[Row], source: str) -> None:
    """Raise RefusedError unless there are two classes, all of them with train images."""
    by_part = {part: {row.label for row in rows if row.part == part} for part in PARTS}
    remedy = "give every class training images"
    problems = [
        Problem(f"{part}_labels", f"contains class {label}, which train_labels does not", remedy)
        for part in ("val", "test")
        for label in sorted(by_part[part] - by_part["train"])
    ]
    if len(by_part["train"]) < 2 and not problems:
        reason = "contains only one class" if rows else "contains no images"
        problems = [Problem(source, reason, "give two or more classes")]
    if problems:
        raise RefusedError(problems)


def _decode(
    archive: zipfile.ZipFile,
    arrays: dict[str, Array],
    rows: list[Row],
    config: DataConfig,
    on_progress: Progress | None,
) -> Iterator[tuple[Sequence[int], DecodedStack]]:
    """The position in `rows` and the image of each of them, in the order of the file."""
    positions = {(row.part, row.index_in_part): position for position, row in enumerate(rows)}
    done = 0
    for part in PARTS:
        images = (image for chunk in _read_chunks(archive, arrays[f"{part}_images"]) for image in chunk)
        for index, image in enumerate(images):
            if (position := positions.get((part, index))) is None:
                continue
            yield [position], decode_pixels(image.reshape(*image.shape[:2], -1), config).stacked()
            done += 1
            if on_progress is not None and (done % _PROGRESS_IMAGES == 0 or done == len(rows)):
                on_progress(done, len(rows))


def _read_chunks(archive: zipfile.ZipFile, array: Array) -> Iterator[np.ndarray]:
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
    except DAMAGE as error:
        fault = Fault(f"is damaged: {error}", "copy the file again")
        raise RefusedError(problem_of(array.name, fault, can_ignore=False)) from None
