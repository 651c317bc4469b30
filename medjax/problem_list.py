"""Problems as a table: the whole list, where a terminal shows only its beginning."""

import itertools
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from medjax.csv_text import write_csv
from medjax.errors import LINES_SHOWN, Problem, RefusedError, is_unicode, printable

NAME = "medjax-problems"


def as_csv(problems: Sequence[Problem]) -> str:
    """A table of id, reason and remedy, safe to open in a spreadsheet; what UTF-8 cannot hold is escaped."""
    rows = ([text if is_unicode(text) else printable(text) for text in problem] for problem in problems)
    return write_csv([("id", "reason", "remedy"), *rows])


def lines_of(refusal: RefusedError) -> list[str]:
    """The lines of a refusal for a terminal; where not all are shown, the last one names a new file with all of them."""
    lines = refusal.lines()
    if len(refusal.problems) > LINES_SHOWN and (path := write_problems(refusal.problems)) is not None:
        lines[-1] += f"; all are listed in {path}"
    return lines


def write_problems(problems: Sequence[Problem]) -> Path | None:
    """Write the table to a new file in the working directory, else in the folder of temporary files; None if neither works.

    Nothing is overwritten, and nothing is written through a link.
    """
    text = as_csv(problems)
    with suppress(OSError):
        return _write_new(text)
    kind = {"prefix": f"{NAME}-", "suffix": ".csv", "encoding": "utf-8", "newline": "", "delete": False}
    with suppress(OSError), tempfile.NamedTemporaryFile("w", **kind) as file:  # type: ignore[call-overload]
        file.write(text)
        return Path(file.name)
    return None


def _write_new(text: str) -> Path:
    for number in itertools.count():
        path = Path(f"{NAME}-{number}.csv" if number else f"{NAME}.csv")
        with suppress(FileExistsError), open(path, "x", encoding="utf-8", newline="") as file:
            try:
                file.write(text)
                file.flush()
            except OSError:  # no space
                path.unlink()
                raise
            return path
    raise AssertionError
