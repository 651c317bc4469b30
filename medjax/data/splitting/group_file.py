"""Read a groups file: a table that maps image ids to groups (patient, lesion, scan)."""

import csv
import io
import stat
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medjax.data.splitting.match_ids import match_ids, tidy_id
from medjax.errors import Problem, RefusedError, listed, refuse
from medjax.records import Names

MAX_BYTES = 256 * 2**20
"""Larger files are refused; a million images need a tenth of this."""
_SEPARATORS = ",;\t"
_QUOTE = 'put names with a separator in "quotes"'
_WHOLE_PATHS = "give the ids as paths that are as long as in the data"
_NAME_ONE = "name one; an image that is alone has its own group"
_CHOOSE = "name two of them: --image-column NAME --group-column NAME"


class Table(NamedTuple):
    """The content of the file."""

    groups: dict[str, str]  # by id, "" where it is empty
    contradicted: list[str]  # ids with two groups
    ragged: list[str]  # line numbers of rows with more or fewer fields than the header


def read_groups(path: Path, ids: Names, *, image_column: str = "id", group_column: str = "group") -> Names:
    """The group of each image, in the order of `ids`.

    The file at `path` is UTF-8, separated by comma, semicolon or tab, with a header that names `image_column` and
    `group_column`, in any order; other columns are ignored. Ids are those of the data set (a path relative to the
    source, `cat/0001.png`), or have the end of the path in common with one image only, with or without file suffix (see
    `match_ids`). Those of no image are named in a warning. Raises RefusedError with everything that is wrong.
    """
    wanted = [str(id) for id in ids]
    table = _read_table(path, image_column, group_column)
    matches = match_ids(wanted, table.groups)
    found, used = matches.found, set(matches.found.values())
    ambiguous = set(matches.ambiguous)
    missing = [id for id in wanted if id not in found and id not in ambiguous]
    empty = [id for id in wanted if id in found and not table.groups[found[id]]]
    contradicted = [id for id in table.contradicted if id in used]
    unknown = [id for id in table.groups if id not in used]
    # Where nothing fits, the wrong column was named, or other data: two examples say which.
    example = f"; {image_column} holds {listed(unknown, 2)}" if unknown and not used and missing else ""
    other = "name the column with their ids: --image-column NAME" if example else "add a line for each"
    problems = [
        Problem(str(path), f"{len(names)} {reason}: {listed(names)}{more}", remedy)
        for names, reason, more, remedy in (
            (table.ragged, "lines have more or fewer fields than the header", "", _QUOTE),
            (contradicted, "images have two groups", "", "keep one line for each"),
            (matches.ambiguous, "images fit several lines, or one line several images", "", _WHOLE_PATHS),
            (empty, "images have an empty group", "", _NAME_ONE),
            (missing, "images of the data have no group", example, f"{other}, with the id as written here"),
        )
        if names
    ]
    if problems:
        raise RefusedError(problems)
    if unknown:
        warnings.warn(f"{path}: {len(unknown)} ids are not in the data: {listed(unknown)}", stacklevel=2)
    if matches.elsewhere:
        pairs = [f"{id} for {image}" for image, id in matches.elsewhere]
        text = f"{path}: {len(pairs)} ids are in other folders than their images: {listed(pairs, 3)}"
        warnings.warn(text, stacklevel=2)
    return np.array([table.groups[found[id]] for id in wanted])


def _read_table(path: Path, image_column: str, group_column: str) -> Table:
    text = _read_text(path)
    table = Table({}, [], [])
    separator = _separator(text, image_column, group_column)
    # newline="": the csv module handles line ends itself, as quoted names may contain them.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _require_columns(path, header, (image_column, group_column))
        first, second = header.index(image_column), header.index(group_column)
        for row in filter(None, reader):  # an empty line has no fields
            if len(row) != len(header):
                table.ragged.append(str(reader.line_num))
                continue
            id, group = tidy_id(row[first]), row[second].strip()
            if table.groups.setdefault(id, group) != group:
                table.contradicted.append(id)
    except csv.Error as error:
        raise refuse(path, f"is not CSV, line {reader.line_num}: {error}", _QUOTE) from None
    return table._replace(contradicted=list(dict.fromkeys(table.contradicted)))


def _separator(text: str, *columns: str) -> str:
    """The separator under which the first line has most of the columns, then the one that makes most fields."""
    start = text[: csv.field_size_limit()]  # what is longer is refused when it is read

    def count(separator: str) -> tuple[int, int]:
        header = next(csv.reader(io.StringIO(start, newline=""), delimiter=separator), [])
        return len({*columns}.intersection(name.strip() for name in header)), len(header)

    return max(_SEPARATORS, key=count)  # of equals the first, the comma


def _require_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    if len(header) < 2:  # not shown: it may be of any file, which a stranger's run.json names
        reason = "has not two columns in its first line" if header else "is empty"
        raise refuse(path, reason, "name them there, such as id,group, separated by comma, semicolon or tab")
    for column in columns:
        if header.count(column) != 1:
            times = "no column" if column not in header else "more than one column"
            raise refuse(path, f"has {times} {column}; it has {listed(header, 20)}", _CHOOSE)


def _read_text(path: Path) -> str:
    """The text of the file, without the byte order mark that spreadsheets write."""
    data = None
    try:
        if stat.S_ISREG(path.stat().st_mode):  # opening a FIFO would block
            with open(path, "rb") as handle:
                data = handle.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        remedy = "check the path and its permissions, or give another: --groups FILE"
        raise refuse(path, reason, remedy) from None
    if data is None:
        raise refuse(path, "is not a regular file", "give a CSV: --groups FILE")
    if len(data) > MAX_BYTES:
        raise refuse(
            path, f"is larger than {MAX_BYTES / 2**20:,.0f} MiB", "keep only the columns of images and groups"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8: byte {error.start:,} is {data[error.start]:#04x}"
        raise refuse(path, reason, "save it as CSV in UTF-8") from None
