"""CSV as medjax writes it: UTF-8 that a spreadsheet opens safely, and that reads back exactly.

A text that a spreadsheet would take for a formula, and one that begins with an apostrophe, gets an apostrophe in front,
which `read_csv` takes off again. Numbers are left alone. Source: OWASP, "CSV Injection"
(https://owasp.org/www-community/attacks/CSV_Injection).
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence

from medjax.errors import is_unicode, refuse

_APOSTROPHE = "'"
# Some spreadsheets take the wide forms of Chinese and Japanese keyboards, too.
_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
# The csv module of Python 3.11 quotes no carriage return, though it ends a row. Some readers take ; or a tab for the
# separator, some the line ends of Unicode for the end of a row.
_QUOTED = re.compile('[",;\t\r\n\v\f\0\x1c-\x1f\x85\u2028\u2029]')


def write_csv(rows: Iterable[Sequence[object]]) -> str:
    """Rows of texts and numbers as CSV, the lines ended by a line feed.

    Raises RefusedError for a text with an unpaired surrogate, which no file in UTF-8 can hold.
    """
    # A row of one empty cell is quoted, because an empty line is no row.
    return "".join((",".join(map(_cell, row)) or '""') + "\n" for row in rows)


def read_csv(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """The rows of what `write_csv` wrote, by the names in the first; a file is to be opened with newline="".

    Raises ValueError for a row that has more or fewer cells than the first, csv.Error for what is no CSV.
    """
    rows = csv.reader(lines, strict=True)
    header = next(rows, None)
    if header is None:
        return
    names = [_plain(name) for name in header]
    for row in filter(None, rows):
        yield dict(zip(names, map(_plain, row), strict=True))


def _cell(value: object) -> str:
    if not isinstance(value, str):
        return "" if value is None else str(value)
    text = value
    if text.startswith(_APOSTROPHE) or (text.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(text)):
        text = _APOSTROPHE + text
    if not is_unicode(text):
        raise refuse(value, "holds half a character (an unpaired surrogate)", "rename it")
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _plain(cell: str) -> str:
    return cell.removeprefix(_APOSTROPHE)
