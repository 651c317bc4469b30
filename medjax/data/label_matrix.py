"""Several labels an image, as a matrix: a row for each image, a column for each label.

They are checked as strictly as one class an image.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from medjax.data.reading.names import class_name_fault
from medjax.errors import Problem, RefusedError, listed, refuse
from medjax.records import SEPARATOR, UNKNOWN, Dataset, LabelMatrix

MAX_LABELS = 1_000
_FEW_ODD = 0.01


def as_matrix(values: Any, name: str) -> LabelMatrix:
    """A matrix of 1 (the image has the label), 0 (it has not) and -1 (not known, as NaN); RefusedError for any other value."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise refuse(name, f"are of type {array.dtype}, not numbers", "give 1, 0 and -1 (not known)")
    if array.shape[1] > MAX_LABELS:
        raise refuse(name, f"have {array.shape[1]:,} columns", f"at most {MAX_LABELS:,} labels")
    array = np.where(np.isnan(array), UNKNOWN, array) if array.dtype.kind == "f" else array.astype(np.int64)
    unfit = array[~np.isin(array, (UNKNOWN, 0, 1))]
    if len(unfit):
        raise refuse(name, f"contain {unfit[0]}", "give 1, 0 and -1 (not known) for each label")
    return array.astype(np.int32)


def is_one_class_each(matrix: LabelMatrix) -> bool:
    """Whether each image has a single label and lacks all others: then they are classes."""
    return bool(((matrix == 1).sum(axis=1) == 1).all() and (matrix >= 0).all())


def warn_of_odd_rows(dataset: Dataset) -> None:
    """Warn where nearly all images have a single label: a slip in one row has then made labels of what may be classes."""
    if not dataset.has_several_labels:
        return
    total, odd = len(dataset.labels), int(((dataset.labels == 1).sum(axis=1) != 1).sum())
    if 0 < odd <= total * _FEW_ODD:
        verb = "has" if odd == 1 else "have"
        reason = f"{odd:,} of {total:,} images {verb} several labels or none"
        warnings.warn(f"{dataset.name}: {reason}: if that is a mistake, correct the labels", stacklevel=3)


def require_label_names(names: Sequence[str], source: str) -> None:
    """RefusedError for names that cannot be those of labels; `source` says where they are."""
    problems = []
    for name in names:
        fault = class_name_fault(name)
        if fault is not None:
            problems.append(Problem(f"{source}: {name}", fault.reason, "write it differently"))
        elif SEPARATOR in name:
            reason = f"is a label with {SEPARATOR}, which stands between labels in predictions.csv"
            problems.append(Problem(f"{source}: {name}", reason, "write it differently"))
    if "" in names or len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        reason = f"names {listed(twice)} twice" if twice else "has a label without a name"
        problems.append(Problem(source, reason, "name each label differently"))
    if len(names) < 2:
        problems.append(Problem(source, "has only one label", "give two or more, or a column of 0 and 1"))
    if problems:
        raise RefusedError(problems)
