"""Read a MedMNIST-style .npz: arrays {train,val,test}_{images,labels}, whose parts are kept, and perhaps class_names.

Only train must be there; other arrays are counted and not read.

Reference: Yang et al., "MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image
classification", 2023, https://doi.org/10.1038/s41597-022-01721-8
"""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.config import DataConfig
from medjax.data.decoding.collect import assemble, develop, find_conflicts
from medjax.data.decoding.image import DecodedStack, decode_pixels
from medjax.data.decoding.worker_pool import Progress
from medjax.data.from_arrays import require_trained
from medjax.data.label_matrix import as_matrix, is_one_class_each, require_label_names
from medjax.data.reading.listing import Fault, problem_of
from medjax.data.reading.names import class_name_fault, is_ignored
from medjax.data.reading.npz_arrays import CLASS_NAMES, PARTS, Array, parts_of, read_chunks, read_headers
from medjax.data.reading.zip import open_archive
from medjax.errors import Problem, RefusedError, refuse
from medjax.records import AnyLabels, Dataset, LabelMatrix, LoadCounts, label_sets

_PROGRESS_IMAGES = 1_000


class Row(NamedTuple):
    """One image of the file."""

    id: str
    part: str
    index_in_part: int
    label: int  # as in the file


def load_npz(path: Path, config: DataConfig, on_progress: Progress | None = None) -> Dataset:
    """The data set in the file at `path`, with labels as class names, unless it names them, and ids such as `train/000012`.

    Labels of several columns are several labels an image, unless each image has just one.

    Raises UnfitError if the file is not a zip archive, RefusedError with a problem for each array.
    """
    with open_archive(path) as archive:
        arrays, skipped = read_headers(archive, path, config)
        matrix = _read_matrix(archive, arrays)
        rows = _list_rows(archive, arrays, matrix)
        is_kept = [not is_ignored(row.id, config.ignore) for row in rows]
        kept = [row for row, each in zip(rows, is_kept, strict=True) if each]
        if matrix is None or is_one_class_each(matrix):
            _check_classes(kept, str(path))
            classes = sorted({row.label for row in kept})
            labels: AnyLabels = np.searchsorted(classes, [row.label for row in kept]).astype(np.int32)
        else:
            classes, labels = list(range(matrix.shape[1])), matrix[is_kept]
            _check_labels(kept, labels, str(path))
        class_names = _read_class_names(archive, arrays, classes)
        assembled = assemble(_decode(archive, arrays, kept, config, on_progress), len(kept), config)
    (assembled,), window = develop([assembled], config)
    if labels.ndim == 2:
        require_label_names(class_names, CLASS_NAMES)
    conflicts = sum(map(len, find_conflicts(assembled.digests, label_sets(labels))))
    return Dataset(
        images=assembled.images,
        labels=labels,
        class_names=class_names,
        ids=np.array([row.id for row in kept]),
        digests=assembled.digests,
        name=path.stem,
        split=np.array([row.part for row in kept]) if len({row.part for row in kept}) > 1 else None,
        counts=LoadCounts(
            **assembled.changes, skipped=skipped, ignored=len(rows) - len(kept), conflicting=conflicts
        ),
        window=window,
        source_sizes=assembled.sizes,
    )


def _read_matrix(archive: zipfile.ZipFile, arrays: dict[str, Array]) -> LabelMatrix | None:
    """The labels of all parts, one after the other, where they have several columns; else None."""
    found = [arrays[f"{part}_labels"] for part in parts_of(arrays)]
    if len(found[0].shape) == 1 or found[0].shape[1] == 1:
        return None
    return np.concatenate(
        [as_matrix(np.concatenate([*read_chunks(archive, array)]), array.name) for array in found]
    )


def _list_rows(archive: zipfile.ZipFile, arrays: dict[str, Array], matrix: LabelMatrix | None) -> list[Row]:
    """All images of the file, sorted by id; of several labels the first that each has."""
    rows: list[Row] = []
    problems = []
    for part in parts_of(arrays):
        array = arrays[f"{part}_labels"]
        if matrix is not None:
            labels = matrix[len(rows) : len(rows) + array.shape[0]].argmax(axis=1)
        else:
            labels = np.concatenate([chunk.reshape(-1) for chunk in read_chunks(archive, array)])
        values = labels.astype(np.float64)
        unfit = labels[~((values >= 0) & (values < 2**31) & (values == np.floor(values)))]
        if len(unfit):
            fault = Fault(f"contains the label {unfit[0]}", "give whole numbers from 0 as labels")
            problems.append(problem_of(array.name, fault, can_ignore=False))
            continue
        labels = labels.astype(np.int64)
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


def _check_labels(rows: list[Row], matrix: LabelMatrix, source: str) -> None:
    """Raise RefusedError unless every label that an image has is one of a train image too."""
    if not rows:
        raise refuse(source, "contains no images", "give some")
    parts = np.array([row.part for row in rows])
    require_trained(parts, matrix, list(map(str, range(matrix.shape[1]))), "train_labels")


def _read_class_names(
    archive: zipfile.ZipFile, arrays: Mapping[str, Array], labels: Sequence[int]
) -> tuple[str, ...]:
    """The names of the classes with these labels; RefusedError for names that cannot be those of classes."""
    if CLASS_NAMES not in arrays:
        return tuple(map(str, labels))
    found: Any = np.concatenate([chunk for chunk in read_chunks(archive, arrays[CLASS_NAMES])]).tolist()
    remedy = "name each class differently, or leave the array out"
    if len(found) <= labels[-1]:
        raise refuse(CLASS_NAMES, f"has {len(found)} names, but there is a label {labels[-1]}", remedy)
    names = [found[label] for label in labels]
    if "" in names or len(set(names)) < len(names):
        raise refuse(CLASS_NAMES, "has an empty name or one twice", remedy)
    problems = [
        Problem(f"class {name}", fault.reason, remedy)
        for name in names
        if (fault := class_name_fault(name)) is not None
    ]
    if problems:
        raise RefusedError(problems)
    return tuple(names)


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
    for part in parts_of(arrays):
        images = (image for chunk in read_chunks(archive, arrays[f"{part}_images"]) for image in chunk)
        for index, image in enumerate(images):
            if (position := positions.get((part, index))) is None:
                continue
            yield [position], decode_pixels(image.reshape(*image.shape[:2], -1), config).stacked()
            done += 1
            if on_progress is not None and (done % _PROGRESS_IMAGES == 0 or done == len(rows)):
                on_progress(done, len(rows))
