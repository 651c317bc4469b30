"""Read a groups file: a CSV that maps image ids to groups (patient, lesion, scan)."""

import csv
import io
import stat
import unicodedata
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medjax.errors import Problem, RefusedError, listed, refuse
from medjax.records import Names

MAX_BYTES = 256 * 2**20
"""Larger files are refused; a million images need a tenth of this."""
_COLUMNS = ("id", "group")
_HEADER = "the first line must be id,group; other columns are ignored"


class Table(NamedTuple):
    """The content of the file, restricted to the images of the data set."""

    groups: dict[str, str]  # by id
    contradicted: list[str]  # ids with two groups
    empty: list[str]  # ids with an empty group
    ragged: list[str]  # line numbers of rows with more or fewer fields than the header
    unknown: int  # number of rows whose id is not in the data set


def read_groups(path: Path, ids: Names) -> Names:
    """The group of each image, in the order of `ids`.

    The file at `path` is UTF-8 with a header that names the columns `id` and `group`, in any order; other columns are
    ignored. Ids are those of the data set (a path relative to the source, `cat/0001.png`); unknown ones are counted in
    a warning. Raises RefusedError with everything that is wrong.
    """
    wanted = [str(id) for id in ids]
    table = _read_table(path, set(wanted))
    named = table.groups.keys() | table.empty
    missing = [id for id in wanted if id not in named]
    found = [
        (
            table.ragged,
            "lines have more or fewer fields than the header",
            'put names with a comma in "quotes"',
        ),
        (table.contradicted, "images have two groups", "keep one line for each"),
        (table.empty, "images have an empty group", "name one; an image that is alone has its own group"),
        (missing, "images of the data have no group", "add a line for each, with the id as written here"),
    ]
    problems = [
        Problem(str(path), f"{len(names)} {reason}: {listed(names)}", remedy)
        for names, reason, remedy in found
        if names
    ]
    if problems:
        raise RefusedError(problems)
    if table.unknown:
        warnings.warn(f"{path}: {table.unknown} ids are not in the data", stacklevel=2)
    return np.array([table.groups[id] for id in wanted])


def _read_table(path: Path, wanted: set[str]) -> Table:
    # newline="": the csv module handles line ends itself, as quoted names may contain them.
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    table, unknown = Table({}, [], [], [], 0), 0
    try:
        header = [name.strip() for name in next(reader, [])]
        if any(header.count(column) != 1 for column in _COLUMNS):
            raise refuse(path, f"has the columns {listed(header) or 'of an empty file'}", _HEADER)
        id_column, group_column = (header.index(column) for column in _COLUMNS)
        for row in filter(None, reader):  # an empty line has no fields
            if len(row) != len(header):
                table.ragged.append(str(reader.line_num))
                continue
            id, group = unicodedata.normalize("NFC", row[id_column]), row[group_column].strip()
            if id not in wanted:
                unknown += 1
            elif not group:
                table.empty.append(id)
            elif table.groups.setdefault(id, group) != group:
                table.contradicted.append(id)
    except csv.Error as error:
        raise refuse(path, f"is not CSV, line {reader.line_num}: {error}", _HEADER) from None
    return table._replace(
        contradicted=list(dict.fromkeys(table.contradicted)),
        empty=list(dict.fromkeys(table.empty)),
        unknown=unknown,
    )


def _read_text(path: Path) -> str:
    """The text of the file, without the byte order mark that spreadsheets write."""
    data = None
    try:
        if stat.S_ISREG(path.stat().st_mode):  # opening a FIFO would block
            with open(path, "rb") as handle:
                data = handle.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise refuse(path, reason, "check the path and its permissions") from None
    if data is None:
        raise refuse(path, "is not a regular file", "give a CSV of id,group")
    if len(data) > MAX_BYTES:
        raise refuse(
            path, f"is larger than {MAX_BYTES / 2**20:,.0f} MiB", "keep only the columns id and group"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8: byte {error.start:,} is {data[error.start]:#04x}"
        raise refuse(path, reason, "save it as CSV in UTF-8") from None
