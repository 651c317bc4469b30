"""Make classes of the labels that a table holds: names stay as they are, grades are in the order of their numbers."""

import re
from collections.abc import Sequence

from medjax.config import ReadingConfig
from medjax.data.reading.names import class_name_fault
from medjax.data.tables.read_labels import UNCERTAIN
from medjax.errors import Problem, RefusedError, listed, refuse

MAX_CLASSES = 1_000
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?")


def name_classes(
    labels: Sequence[str], table: str, column: str, config: ReadingConfig
) -> tuple[list[str], tuple[str, ...]]:
    """The class of each image, "" where it has none, and all classes in order.

    `labels` are cells of the `column`. Numbers lose zeros behind their point ("1.0" is "1") and are ordered by value; -1
    among them is what `config.uncertain` says. Raises RefusedError for what cannot name classes.
    """
    uncertain = {*labels} & UNCERTAIN
    found = {*labels} - UNCERTAIN - {""}
    are_numbers = all(map(_NUMBER.fullmatch, found))
    class_of = {label: _plain_number(label) if are_numbers else label for label in found}
    class_of |= {label: _certain(table, column, config) for label in uncertain}
    class_of[""] = ""
    present = {*class_of.values()} - {""}
    names = tuple(sorted(present, key=(lambda name: (float(name), name)) if are_numbers else None))
    _require_names(table, column, names)
    return [class_of[label] for label in labels], names


def _plain_number(text: str) -> str:
    number = float(text)
    return str(int(number)) if number.is_integer() else text


def _certain(table: str, column: str, config: ReadingConfig) -> str:
    """The label in the place of an uncertain one."""
    if config.uncertain == "refuse":
        remedy = "say what is uncertain: --uncertain ignore, positive or negative"
        raise refuse(table, f"column {column} holds -1", remedy)
    return {"ignore": "", "positive": "1", "negative": "0"}[config.uncertain]


def _require_names(table: str, column: str, names: Sequence[str]) -> None:
    if len(names) < 2:
        reason = f"has {'only one class' if names else 'no class'} in {column} for these images"
        raise refuse(table, f"{reason}: {names[0]}" if names else reason, "name another: --label-column NAME")
    if len(names) > MAX_CLASSES:
        reason = f"has {len(names):,} different labels in {column}, such as {listed(names, 2)}"
        raise refuse(
            table, reason, f"at most {MAX_CLASSES:,}; name the column with the class: --label-column NAME"
        )
    first: dict[str, str] = {}
    problems = []
    for name in names:
        if (fault := class_name_fault(name)) is not None:
            problems.append(Problem(f"{table}: {name}", fault.reason, "write it differently in the table"))
        if (other := first.setdefault(name.casefold(), name)) != name:
            reason = f"is a label beside {other}, which differs in upper and lower case only"
            problems.append(Problem(f"{table}: {name}", reason, "write both alike in the table"))
    if problems:
        raise RefusedError(problems)
