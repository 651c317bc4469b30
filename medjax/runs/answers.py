"""Read what a run, which may be a stranger's, answered for its test images."""

import csv
import io
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medjax.csv_text import read_csv
from medjax.errors import RefusedError, refuse
from medjax.files import open_bounded
from medjax.runs.schema import RESTORE

MAX_BYTES = 256 * 2**20
_ID_BYTES = 4096  # of an id and the numbers of its row
_PROBABILITY_BYTES = 32


class Answer(NamedTuple):
    """What a run said of an image."""

    label: str
    predicted: str
    probabilities: tuple[float, ...]  # of the classes in the order of run.json


def read_answers(directory: Path, record: Mapping[str, Any]) -> dict[str, Answer]:
    """The answers of predictions.csv for each test image, by id; of a repeated cross-validation the first repeat counts.

    `record` is the run.json beside it. RefusedError where the file cannot be read, is larger than that of such a run can
    be, or holds an answer that such a run cannot have given.
    """
    path = directory / "predictions.csv"
    try:
        rows = list(_read_rows(path, record["class_names"], _limit(record)))
    except RefusedError:
        raise
    except FileNotFoundError:
        raise refuse(str(path), "not found", "name a run that was scored, by its directory") from None
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise refuse(str(path), f"cannot be read ({type(error).__name__})", RESTORE) from error
    first = min((repeat for repeat, *_ in rows), default=0)
    names = set(record["class_names"])
    answers: dict[str, Answer] = {}
    for repeat, id, answer in rows:
        for name in answer[:2]:
            if name not in names:
                raise refuse(path, f"names {reprlib.repr(name)}, none of the classes in run.json", RESTORE)
        if repeat == first and answers.setdefault(id, answer) is not answer:
            raise refuse(path, f"has the image {id} twice", RESTORE)
    return answers


def _read_rows(path: Path, class_names: Sequence[str], max_bytes: int) -> Iterator[tuple[int, str, Answer]]:
    """Repeat, id and answer of each test row; ValueError for what is no probability."""
    with open_bounded(path, max_bytes) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as lines:
        for row in read_csv(lines):
            if row["split"] == "test":
                probabilities = tuple(float(row[f"p_{name}"]) for name in class_names)
                if not all(0 <= each <= 1 for each in probabilities):
                    raise ValueError("no probability")
                yield int(row["repeat"]), row["id"], Answer(row["label"], row["predicted"], probabilities)


def _limit(record: Mapping[str, Any]) -> int:
    """The most bytes that predictions.csv may have: a row for each image, of each repeat and of each part."""
    longest = max(len(name.encode()) for name in record["class_names"])
    row_bytes = _ID_BYTES + 2 * longest + _PROBABILITY_BYTES * len(record["class_names"])
    repeats = record["config"].get("repeats", 1)
    num_rows = record["data"]["n"] * (1 + (repeats if isinstance(repeats, int) and repeats > 0 else 1))
    header_bytes = (longest + 8) * len(record["class_names"])
    return min(header_bytes + num_rows * row_bytes, MAX_BYTES)
