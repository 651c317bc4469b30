"""Tables beside the images: not read for labels, but looked into, because the labels may stand there and not in folders."""

import csv
import io
import itertools
from collections.abc import Iterable, Iterator

from medjax.data.reading.layout import ImageEntry
from medjax.data.reading.layout_problems import SORT_REMEDY
from medjax.data.reading.listing import Entry, Fault, Listing, problem_of
from medjax.errors import Problem

_READABLE_SUFFIXES = (".csv", ".tsv", ".txt")
# What is looked at of hostile tables: enough to know any other.
_MAX_TABLES = 20
_MAX_BYTES = 4 * 2**20
_MAX_ROWS = 10_000
_MAX_COLUMNS = 100
_DELIMITERS = ",;\t| "
_FEW = 0.1
"""Of the images: a table that names fewer does not hold the labels, but lists some of them."""
_MOST = 0.95
"""Of the rows, where a column says the same as the folders; some may be wrong."""


def table_problems(
    listing: Listing, tables: Iterable[Entry], images: Iterable[ImageEntry]
) -> Iterator[Problem]:
    """A problem for each table whose rows name the images, unless a column of it agrees with their folders."""
    readable = (entry for entry in tables if entry.name.lower().endswith(_READABLE_SUFFIXES))
    texts = {entry.key: entry.name for entry in itertools.islice(readable, _MAX_TABLES)}
    if not texts:
        return
    classes = _classes_by_name(images)
    for key, data in listing.read(texts):
        if not isinstance(data, Fault) and (example := _named_image(_read_rows(data), classes)) is not None:
            reason = f"names the images in its rows, such as {example}: the labels may be there, not in the folders"
            remedy = f"{SORT_REMEDY}; if the folders are the classes, leave it out"
            yield problem_of(texts[key], Fault(reason, remedy))


def _classes_by_name(images: Iterable[ImageEntry]) -> dict[str, str | None]:
    """The class of each image by its file name without suffix, in lower case; None for names that several have."""
    classes: dict[str, str | None] = {}
    for image in images:
        stem = _stem(image.id)
        classes[stem] = None if stem in classes else image.class_name.lower()
    return classes


def _stem(name: str) -> str:
    file = name.replace("\\", "/").rpartition("/")[2].strip().lower()
    stem, dot, _ = file.rpartition(".")
    return stem if dot else file


def _folders(cell: str) -> list[str]:
    """A label as it stands, or the folders of a path."""
    return cell.replace("\\", "/").lower().split("/")


def _read_rows(data: bytes) -> list[list[str]]:
    """The first rows below the header; none if the table is no CSV."""
    text = data[:_MAX_BYTES].decode("utf-8-sig", "replace")
    header = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=header.count))
    rows = []
    try:
        for row in reader:
            rows.append(row[:_MAX_COLUMNS])
            if len(rows) > _MAX_ROWS:
                break
    except csv.Error:
        return []
    return rows[1:]


def _named_image(rows: list[list[str]], classes: dict[str, str | None]) -> str | None:
    """An image that a row names, if half of the rows name one, not of few images only, and no column says their folders."""
    fewest = max(len(rows) / 2, min(len(classes), _MAX_ROWS) * _FEW)
    width = max(map(len, rows), default=0)
    columns = [[row[number].strip() if number < len(row) else "" for row in rows] for number in range(width)]
    for column in columns:
        found = [classes.get(_stem(cell)) for cell in column]
        named = [number for number, label in enumerate(found) if label is not None]
        if named and len(named) >= fewest:
            agreeing = (sum(found[number] in _folders(each[number]) for number in named) for each in columns)
            return None if max(agreeing) >= _MOST * len(named) else column[named[0]]
    return None
