"""The parts or folds that a column of a table fixes."""

from collections.abc import Sequence

import numpy as np

from medjax.data.reading.folder_names import part_of
from medjax.data.tables.columns import NONE
from medjax.errors import counted, listed, refuse
from medjax.records import Names

_REMEDY = f"name another column: --part-column NAME, or take none: --part-column {NONE}"


def read_parts(values: Sequence[str], table: str, column: str) -> tuple[Names | None, Names | None]:
    """The part of each image ("train", "val", "test") and None, or None and the number of its fold, as text.

    Raises RefusedError where the values are neither, and where some are missing.
    """
    found = {*values}
    if "" in found:
        reason = f"column {column} is empty for {counted(list(values).count(''), 'image')}"
        raise refuse(table, reason, f"fill it; or {_REMEDY}")
    folds = {value: _fold(value) for value in found}
    if len(found) > 1 and None not in folds.values():
        return None, np.array([folds[value] for value in values])
    parts = {value: part_of(value) for value in found}
    if unknown := sorted(value for value, part in parts.items() if part is None):
        reason = (
            f"column {column} holds {listed(unknown, 3)}, no parts (train, val, test) or numbers of folds"
        )
        raise refuse(table, reason, _REMEDY)
    named = {*parts.values()}
    if "train" not in named or len(named) < 2:
        missing = "val or test" if "train" in named else "train"
        raise refuse(table, f"column {column} has no {missing} part", _REMEDY)
    return np.array([parts[value] for value in values]), None


def _fold(value: str) -> str | None:
    """The number of a fold, without zeros around it; None for another text."""
    whole = value.removesuffix(".0")
    return str(int(whole)) if whole.isascii() and whole.isdecimal() and len(whole) < 5 else None
