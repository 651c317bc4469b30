"""Open a table that a stranger wrote, CSV or TSV, or columns in memory: its header, then its rows one after another.

Comma, semicolon or tab; quotes, CRLF and byte order marks are taken as they come. No more than a row is held in memory, and
every size is bounded, so that a hostile table is refused quickly.
"""

import csv
import hashlib
import io
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from medjax.data.reading.names import TABLE_SUFFIXES
from medjax.errors import RefusedError, refuse
from medjax.files import open_regular

MAX_BYTES = 256 * 2**20
"""Larger files are refused; a million rows take a quarter of this."""
MAX_ROWS = 1_200_000
MAX_COLUMNS = 10_000
# What takes seconds is bounded as well: all cells, and the lines, of which a row in quotes may have many.
MAX_CELLS = 20_000_000
MAX_LINES = 5_000_000
MAX_ROW_CHARACTERS = 2**20
IN_MEMORY = "labels"
"""What refusals call a table that is no file: the argument of `medjax.load`."""

_SEPARATORS = ",;\t"
_OTHER_SUFFIXES = tuple(suffix for suffix in TABLE_SUFFIXES if suffix not in (".csv", ".tsv"))
_NO_VALUES = ("NAType", "NaTType")  # of pandas; they compare to nothing
QUOTE = 'put names with a separator in "quotes"'
_SMALLER = "keep only the columns of images, labels and groups"
_TEXT = "save it as CSV in UTF-8, or say what it is: --table-encoding cp1252, utf-16 or another"


class OpenTable(NamedTuple):
    """A table that is being read."""

    name: str  # of the file, as refusals call it
    header: tuple[str, ...]
    rows: Iterator[Sequence[str]]  # each with as many cells as the header, in their order
    ragged: list[str]  # line numbers of the rows read so far that have more or fewer cells, and are left out


@contextmanager
def open_table(
    source: Any, encoding: str | None = None, *, wanted: Sequence[str] = (), flag: str
) -> Iterator[OpenTable]:
    """The table at a path, or of a mapping of column names to values, such as a pandas DataFrame.

    `wanted` columns decide between separators that fit equally well; `flag` is the option that names the file. Raises
    RefusedError for what cannot be read or is no table.
    """
    if not isinstance(source, str | os.PathLike):
        yield _open_columns(source)
        return
    path = Path(source)
    if path.name.lower().endswith(_OTHER_SUFFIXES):
        raise refuse(path, "is no CSV", "save it as CSV in UTF-8")
    with ExitStack() as stack:
        with _refusing(path, flag):
            binary = stack.enter_context(open_regular(path))
            size = os.fstat(binary.fileno()).st_size
            if size > MAX_BYTES:
                raise refuse(path, f"is larger than {MAX_BYTES / 2**20:,.0f} MiB", _SMALLER)
            # newline="": the csv module handles line ends itself, as quoted names may contain them.
            handle = stack.enter_context(io.TextIOWrapper(binary, _known(encoding), newline=""))
            lines = _Lines(handle, path)
            start = next(iter(lines), "")
        reader = csv.reader(itertools.chain([start], lines), delimiter=_separator(start, wanted), strict=True)
        rows = _rows(path, flag, reader, lines)
        header = tuple(name.strip() for name in next(rows, []))
        _require_header(path, header)
        ragged: list[str] = []
        yield OpenTable(str(path), header, _whole(rows, reader, len(header), ragged), ragged)


def table_digest(source: Any) -> str:
    """The sha256 of a table in hexadecimal: of the bytes of a file, or of the cells of columns in memory."""
    if isinstance(source, str | os.PathLike):
        with open_regular(Path(source)) as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    table = _open_columns(source)
    state = hashlib.sha256()
    for row in itertools.chain([table.header], table.rows):
        state.update("".join(f"{len(cell)}:{cell}" for cell in row).encode("utf-8", "surrogatepass"))
    return state.hexdigest()


class _Lines:
    """The lines of a text, as long as no row of a table becomes too long."""

    def __init__(self, handle: io.TextIOWrapper, path: Path) -> None:
        self._handle, self._path = handle, path
        self.characters = 0  # since the last row began; whoever takes the row sets it back
        self._left = MAX_LINES

    def __iter__(self) -> Iterator[str]:
        while line := self._handle.readline(MAX_ROW_CHARACTERS):
            self.characters += len(line)
            if self.characters >= MAX_ROW_CHARACTERS:
                raise refuse(self._path, f"has a row of {MAX_ROW_CHARACTERS:,} characters or more", _SMALLER)
            self._left -= 1
            if self._left < 0:
                raise refuse(self._path, f"has more than {MAX_LINES:,} lines", "keep the rows of the images")
            if "\0" in line:
                raise refuse(self._path, "contains a NUL, so it is no text", _TEXT)
            yield line


def _rows(path: Path, flag: str, reader: Any, lines: _Lines) -> Iterator[list[str]]:
    """The rows of a CSV reader, the header first; whatever is wrong with them is refused."""
    with _refusing(path, flag):
        try:
            cells = 0
            for number, row in enumerate(reader):
                lines.characters = 0
                cells += len(row)
                if cells > MAX_CELLS:
                    raise refuse(path, f"has more than {MAX_CELLS:,} cells", _SMALLER)
                if number > MAX_ROWS:
                    raise refuse(path, f"has more than {MAX_ROWS:,} rows", "keep those of the images")
                yield row
        except csv.Error as error:
            raise refuse(path, f"is not CSV, line {reader.line_num}: {error}", QUOTE) from None


def _whole(
    rows: Iterable[Sequence[str]], reader: Any, width: int, ragged: list[str]
) -> Iterator[Sequence[str]]:
    """The rows of so many cells; the line numbers of the others go to `ragged`."""
    for row in rows:
        if len(row) == width:
            yield row
        elif row:  # an empty line has no cells
            ragged.append(str(reader.line_num))


@contextmanager
def _refusing(path: Path, flag: str) -> Iterator[None]:
    """Make what is wrong with a file a RefusedError."""
    try:
        yield
    except UnicodeError as error:
        byte = f" (byte {error.object[error.start]:#04x})" if isinstance(error, UnicodeDecodeError) else ""
        name = getattr(error, "encoding", "in this encoding").upper()
        raise refuse(path, f"is not {name}{byte}", _TEXT) from None
    except RefusedError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        remedy = f"check the path and its permissions, or give another: {flag} FILE"
        raise refuse(path, reason, remedy) from None


def _known(encoding: str | None) -> str:
    """The encoding; RefusedError if it is none of text."""
    try:
        if encoding is not None:
            "".encode(encoding)
            io.TextIOWrapper(io.BytesIO(), encoding)  # refuses those that are not of text
    except (LookupError, ValueError):
        remedy = "give one, such as cp1252, utf-16 or gbk"
        raise refuse("--table-encoding", f"{encoding} is not an encoding of text", remedy) from None
    return encoding or "utf-8-sig"


def _separator(line: str, wanted: Sequence[str]) -> str:
    """The separator under which the first line has most of the columns, then the one that makes most fields."""

    def count(separator: str) -> tuple[int, int]:
        try:
            header = next(csv.reader([line], delimiter=separator), [])
        except csv.Error:  # said when it is read
            return 0, 0
        return len({*wanted}.intersection(name.strip() for name in header)), len(header)

    return max(_SEPARATORS, key=count)  # of equals the first, the comma


def _require_header(path: Path, header: Sequence[str]) -> None:
    if len(header) < 2:  # not shown: it may be of any file, which a stranger's run.json names
        reason = "has not two columns in its first line" if header else "is empty"
        raise refuse(path, reason, "name them there, such as id,group, separated by comma, semicolon or tab")
    if len(header) > MAX_COLUMNS:
        raise refuse(path, f"has {len(header):,} columns, more than {MAX_COLUMNS:,}", _SMALLER)


def _open_columns(source: Any) -> OpenTable:
    """A mapping of column names to values, one for each row."""
    if not (hasattr(source, "keys") and hasattr(source, "__getitem__")):
        remedy = "give a path, or columns by their names, such as a dict of lists or a pandas DataFrame"
        raise refuse(IN_MEMORY, f"are a {type(source).__name__}", remedy)
    columns = {str(name): _values(source[name]) for name in source.keys()}  # noqa: SIM118 (of a DataFrame, too)
    lengths = {len(cells) for cells in columns.values()}
    if len(columns) < 2 or len(lengths) != 1:
        reason = "have fewer than two columns" if len(columns) < 2 else "have columns of different lengths"
        raise refuse(IN_MEMORY, reason, "give a value for each image in each column")
    rows = zip(*(map(_text, cells) for cells in columns.values()), strict=True)
    return OpenTable(IN_MEMORY, tuple(columns), rows, [])


def _values(column: Any) -> list[Any]:
    return column.tolist() if hasattr(column, "tolist") else list(column)


def _text(cell: Any) -> str:
    """A cell in memory as a CSV would have it: "" for None and NaN, "1" for 1.0, as columns with a gap hold whole numbers."""
    if cell is None or type(cell).__name__ in _NO_VALUES or (isinstance(cell, float) and cell != cell):
        return ""
    if isinstance(cell, bool):
        return str(int(cell))
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
