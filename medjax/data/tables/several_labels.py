"""Several labels an image in a table: columns of 0 and 1, or one column with labels that are joined by "|"."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medjax.data.label_matrix import require_label_names
from medjax.errors import listed
from medjax.records import SEPARATOR, UNKNOWN, LabelMatrix

PRESENT, ABSENT, BLANK, UNCERTAIN_MARK = "1", "0", "_", "?"
"""What a cell of a column of 0 and 1 says, in a text with a character for each column."""
_NO_FINDING = re.compile("no finding(s)?", re.IGNORECASE)
"""A label that says that an image has none of the others, as in ChestX-ray14."""


class SeveralLabels(NamedTuple):
    """The labels of all images, and what the columns stand for."""

    matrix: LabelMatrix
    names: tuple[str, ...]


def read_several(labels: Sequence[str], columns: Sequence[str], table: str) -> SeveralLabels | None:
    """The labels of images that may have several; None where each has a single one. Images without any are "" in `labels`.

    Of one column, several are told by "|". Of columns of 0 and 1, by rows with several ones or none. A blank cell, and one
    that is uncertain, is then not known; but where no cell of any row is 0, a blank one says 0.
    """
    if len(columns) > 1:
        if all(marks.count(PRESENT) == 1 for marks in labels if marks and UNCERTAIN_MARK not in marks):
            return None
        return _of_marks(labels, columns, table)
    if not any(SEPARATOR in label for label in labels):
        return None
    found = [[part.strip() for part in label.split(SEPARATOR)] for label in labels]
    names = tuple(
        sorted({name for parts in found for name in parts if name and not _NO_FINDING.fullmatch(name)})
    )
    require_label_names(names, f"{table}: column {columns[0]}")
    number = {name: label for label, name in enumerate(names)}
    matrix = np.zeros((len(labels), len(names)), np.int32)
    for row, parts in enumerate(found):
        matrix[row, [number[name] for name in parts if name in number]] = 1
    return SeveralLabels(matrix, names)


def single_label(marks: str, columns: Sequence[str]) -> str:
    """The name of the one column that a row marks; "" for an image without a label, or with an uncertain one."""
    return "" if UNCERTAIN_MARK in marks or PRESENT not in marks else columns[marks.index(PRESENT)]


def describe_marks(marks: str, columns: Sequence[str]) -> str:
    """The labels of a row, for a message."""
    return listed([name for mark, name in zip(marks, columns, strict=True) if mark == PRESENT]) or "none"


def _of_marks(labels: Sequence[str], columns: Sequence[str], table: str) -> SeveralLabels:
    require_label_names(columns, f"{table}: --label-columns")
    blank = UNKNOWN if any(ABSENT in marks for marks in labels) else 0
    value = {PRESENT: 1, ABSENT: 0, BLANK: blank, UNCERTAIN_MARK: UNKNOWN}
    empty = BLANK * len(columns)
    codes = np.frombuffer("".join(marks or empty for marks in labels).encode("ascii"), np.uint8)
    value_of = np.zeros(128, np.int32)
    value_of[[ord(mark) for mark in value]] = [*value.values()]
    matrix = value_of[codes].reshape(len(labels), len(columns))
    return SeveralLabels(matrix, tuple(columns))
