"""Read a table of labels: for each image that it names the label, and the group and part where it has such columns."""

import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from medjax.config import ReadingConfig
from medjax.data.splitting.match_ids import tidy_id
from medjax.data.tables.columns import (
    Columns,
    find_group_column,
    find_image_column,
    find_label_columns,
    find_part_column,
    refuse_labels,
)
from medjax.data.tables.open_table import QUOTE, OpenTable, open_table, table_digest
from medjax.data.tables.several_labels import ABSENT, BLANK, PRESENT, UNCERTAIN_MARK
from medjax.errors import listed, refuse

_ROWS_LOOKED_AT, _MOST_COLUMNS = 100, 1_000  # of 0 and 1
_SHOWN = 40  # characters of a cell
UNCERTAIN = frozenset(["-1", "-1.0"])
"""Labels in the place of 0 or 1, as in CheXpert."""
_BLANK = -2
_NUMBERS = {"0": 0, "0.0": 0, "1": 1, "1.0": 1, "-1": -1, "-1.0": -1, "": _BLANK}


class Row(NamedTuple):
    """What a table says of an image; "" for what it leaves open."""

    label: str  # of several columns of 0 and 1, a character for each: see `several_labels`
    group: str
    part: str


class LabelTable(NamedTuple):
    """The content of a table of labels."""

    name: str
    sha256: str
    columns: Columns
    num_rows: int
    rows: dict[str, Row]  # by the id in the table, tidied
    contradicted: dict[str, Row]  # of ids with rows that differ one that differs from the first


def read_labels(source: Any, config: ReadingConfig) -> LabelTable:
    """The table at a path, or of a mapping of columns, by the columns that `config` names or that their names tell.

    Raises RefusedError for what is no such table, and for columns that are missing or not clear.
    """
    columns = _find_columns(source, config)
    with _open(source, config) as table:
        rows, contradicted, count = _collect(table, columns, config)
        if table.ragged:
            reason = f"{len(table.ragged)} lines have more or fewer fields than the header"
            raise refuse(table.name, f"{reason}: {listed(table.ragged)}", QUOTE)
    return LabelTable(table.name, table_digest(source), columns, count, rows, contradicted)


def _open(source: Any, config: ReadingConfig) -> Any:
    wanted = (config.image_column, config.label_column, *config.label_columns, config.part_column)
    named = [name for name in wanted if name is not None]
    return open_table(source, config.table_encoding, wanted=named, flag="--labels")


def _find_columns(source: Any, config: ReadingConfig) -> Columns:
    with _open(source, config) as table:
        name, header = table.name, table.header
        image = find_image_column(name, header, config.image_column)
        # With --groups the groups, and the name of their column, are those of that file.
        group = (
            None if config.groups is not None else find_group_column(name, header, config.group_column, image)
        )
        part = find_part_column(name, header, config.part_column, (image, group))
        several = config.label_columns
        labels = find_label_columns(name, header, config.label_column, several, (image, group, part))
        labels = labels or _one_hot(table, (image, group, part))
        if not labels:
            raise refuse_labels(name, header)
    return Columns(image, labels, group, part)


def _one_hot(table: OpenTable, others: Sequence[str | None]) -> tuple[str, ...]:
    """The columns that hold 0 and 1 in all of the first rows, if each row has a single 1; else none."""
    rows = list(itertools.islice(table.rows, _ROWS_LOOKED_AT))
    numbers = [number for number, name in enumerate(table.header) if name not in others]
    binary = [number for number in numbers if all(_NUMBERS.get(row[number].strip(), -1) >= 0 for row in rows)]
    sums = {sum(_NUMBERS[row[number].strip()] for number in binary) for row in rows}
    is_one_hot = 1 < len(binary) <= _MOST_COLUMNS and sums == {1}
    return tuple(table.header[number] for number in binary) if is_one_hot else ()


def _collect(
    table: OpenTable, columns: Columns, config: ReadingConfig
) -> tuple[dict[str, Row], dict[str, Row], int]:
    """The rows by id, of ids with rows that differ another one, and how many rows there are."""
    place = table.header.index
    image, group, part = place(columns.image), columns.group, columns.part
    label_of = (
        operator.itemgetter(place(columns.labels[0]))
        if len(columns.labels) == 1
        else _one_hot_label(table.name, columns.labels, [place(name) for name in columns.labels], config)
    )
    group_of = (lambda row: "") if group is None else operator.itemgetter(place(group))
    part_of = (lambda row: "") if part is None else operator.itemgetter(place(part))
    rows: dict[str, Row] = {}
    contradicted: dict[str, Row] = {}
    known: dict[tuple[str, str, str], Row] = {}  # without groups a million rows say few different things
    count = 0
    for cells in table.rows:
        count += 1
        id = tidy_id(cells[image].strip())
        said = label_of(cells), group_of(cells), part_of(cells)
        row = known.get(said)
        if row is None:
            row = Row(*(cell.strip() for cell in said))
            if group is None:
                known[said] = row
        if rows.setdefault(id, row) is not row and rows[id] != row:
            contradicted[id] = row
    return rows, contradicted, count


def _one_hot_label(
    table: str, names: Sequence[str], places: Sequence[int], config: ReadingConfig
) -> Callable[[Sequence[str]], str]:
    """A function of a row: what each of its cells says, as one text (see `several_labels`); "" if all are blank."""

    pick = operator.itemgetter(*places)
    uncertain = {"positive": PRESENT, "negative": ABSENT}.get(config.uncertain, UNCERTAIN_MARK)
    mark_of: dict[int | None, str] = {1: PRESENT, 0: ABSENT, -1: uncertain, _BLANK: BLANK}

    def label(row: Sequence[str]) -> str:
        cells = pick(row)
        if cells.count("1") + cells.count("0") == len(cells):  # quick, as there may be many columns
            return "".join(cells)
        numbers = [_NUMBERS.get(cell.strip()) for cell in cells]
        if None in numbers:
            place = numbers.index(None)
            reason = f"column {names[place]} holds {cells[place][:_SHOWN]!r}, not 0 or 1"
            raise refuse(table, reason, "name columns of 0 and 1: --label-columns NAME NAME ...")
        if -1 in numbers and config.uncertain == "refuse":
            reason = f"column {names[numbers.index(-1)]} holds -1"
            raise refuse(table, reason, "--uncertain ignore, positive or negative")
        marks = "".join(mark_of[number] for number in numbers)
        return marks if marks.strip(BLANK) else ""

    return label
