"""The files of a run directory. Each is written whole or not at all."""

import csv
import io
import itertools
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, UInt8
from numpy.lib import format as npy

from medjax.csv_text import write_csv
from medjax.errors import Problem, RefusedError, refuse
from medjax.files import Folder, open_bounded, open_folder, read_bounded, write_whole
from medjax.problem_list import as_csv
from medjax.records import Dataset, Predictions, name_labels
from medjax.runs.formats import MAX_METRICS_BYTES, MAX_RECORD_BYTES, METRICS, RECORD
from medjax.runs.schema import plain, require
from medjax.runs.seed_directories import list_seeds, seed_directory

HISTORY_FIELDS = (
    "fold",
    "epoch",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "seconds",
)

# Two lines of run.json of the same length; the indentation is that of no nested field.
_INTERRUPTED = '\n  "status": "interrupted",'
_RUNNING = '\n  "status": "running",'.ljust(len(_INTERRUPTED))
MAX_HISTORY_BYTES = 64 * 2**20
MAX_DIGESTS = 2**22
_MAX_EPOCHS = 10**6
_MAX_NPY_HEADER = 1024
_RESTORE = "restore it from a copy"


class PredictedPart(NamedTuple):
    """Predictions of one part, as rows of predictions.csv."""

    split: str
    predictions: Predictions
    folds: Int[np.ndarray, "m"]  # the fold whose network made each prediction
    repeat: int


def file_name(name: str) -> str:
    """`name` with characters replaced that a file system may not take."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "data"


def create_run_dir(requested: Path | None, name: str, parent: Path = Path("runs")) -> Path:
    """A new, empty directory: the one requested, else the first free `<name>-<number>` in `parent`.

    A requested directory that holds something raises RefusedError: runs never overwrite one another.
    """
    if requested is not None:
        try:
            requested.mkdir(parents=True, exist_ok=True)
            is_taken = any(requested.iterdir())
        except OSError as error:
            raise refuse(
                str(requested), f"cannot be made a run directory ({error.strerror})", "choose another --run"
            ) from error
        if is_taken:
            remedy = (
                "choose another --run, or continue the run in it with --resume; runs are never overwritten"
            )
            raise refuse(str(requested), "is not empty", remedy)
        return requested
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with open_folder(parent) as folder:
            return make_numbered(folder, name)
    except OSError as error:
        reason = f"cannot be made a run directory ({error.strerror})"
        raise refuse(str(parent / f"{name}-000"), reason, "name another: --run DIR") from error


def take_out_dir(directory: Path) -> Path:
    """A new or empty directory that a user names by --out; RefusedError for any other."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        is_taken = any(directory.iterdir())
    except OSError as error:
        raise refuse(directory, f"cannot be made ({error.strerror})", "choose another --out") from error
    if is_taken:
        raise refuse(directory, "is not empty, and nothing is overwritten", "choose another --out")
    return directory


def make_numbered(folder: Folder, name: str) -> Path:
    """A new directory in an open folder: the first free `<name>-<number>`."""
    for number in itertools.count():
        candidate = f"{name}-{number:03d}"
        try:
            os.mkdir(folder.at(candidate), dir_fd=folder.descriptor)
        except FileExistsError:
            continue
        return folder.path / candidate
    raise AssertionError  # numbers do not end


def write_json(path: Path, value: Mapping[str, Any], *, root: Path | None = None) -> None:
    """Write `value` as JSON; NaN and infinity raise ValueError. `root` is that of `write_whole`."""
    write_text(path, _as_json(value), root=root)


def _as_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_record(directory: Path, record: Mapping[str, Any]) -> None:
    """Write run.json; one of a running run leaves room in its line of the status for `mark_interrupted`."""
    text = _as_json(record).replace(_RUNNING.rstrip(), _RUNNING, 1)
    write_text(directory / "run.json", text)


def mark_interrupted(directory: Path) -> None:
    """Let run.json, if it says that the run is running, say that it was interrupted.

    The line is overwritten where it is, which takes no room: the disk may be full.
    """
    path = directory / "run.json"
    with open(
        path, "r+b", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NOFOLLOW", 0))
    ) as file:
        start = file.read().find(_RUNNING.encode())
        if start >= 0:
            file.seek(start)
            file.write(_INTERRUPTED.encode())


def read_json(path: Path, max_bytes: int = MAX_METRICS_BYTES) -> dict[str, Any]:
    """Read a JSON object of a run, which may be a stranger's; RefusedError where there is none that medjax could have written."""
    try:
        value = json.loads(read_bounded(path, max_bytes))
    except RefusedError:
        raise
    except FileNotFoundError as error:
        raise refuse(str(path), "not found", "name a run directory that `medjax train` made") from error
    except (OSError, ValueError, RecursionError) as error:
        raise refuse(str(path), f"cannot be read ({type(error).__name__})", _RESTORE) from error
    if not isinstance(value, dict):
        raise refuse(str(path), "does not hold a JSON object", _RESTORE)
    require(plain, value, path)
    return value


def read_record(directory: Path) -> dict[str, Any]:
    """Read run.json of a run directory, which may be a stranger's; RefusedError where a field is missing or malformed.

    The settings under `config` are checked by `config_checks.from_dict`.
    """
    path = directory / "run.json"
    if not path.exists() and (seeds := list_seeds(directory)):
        raise refuse(
            directory, "holds runs of several seeds", f"name one: {seed_directory(directory, seeds[0])}"
        )
    record = read_json(path, MAX_RECORD_BYTES)
    require(RECORD, record, path)
    names = record["class_names"]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise refuse(str(path), f"class_names has {twice} twice", _RESTORE)
    return record


def read_metrics(directory: Path) -> dict[str, Any]:
    """Read metrics.json of a run directory, as `read_record` reads run.json."""
    path = directory / "metrics.json"
    metrics = read_json(path)
    require(METRICS, metrics, path)
    return metrics


def write_text(path: Path, text: str, *, root: Path | None = None) -> None:
    """Write a text file; the old one stays until the new one is complete. `root` is that of `write_whole`."""
    with write_whole(path, root=root) as file:
        # A path may hold bytes that are no UTF-8, which Python keeps as unpaired surrogates: the escapes of JSON.
        file.write(text.encode(errors="backslashreplace"))


def write_skipped(directory: Path, bad: Sequence[Problem], *, root: Path | None = None) -> None:
    """Write skipped.csv, a row for each image that was left out because it cannot be used; nothing if there is none.

    `root` is that of `write_whole`.
    """
    if bad:
        write_text(directory / "skipped.csv", as_csv(bad), root=root)


def write_history(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write history.csv: a row for each fold and epoch; epochs count from 0, seconds are of the epoch."""
    write_text(path, write_csv([HISTORY_FIELDS, *([row[name] for name in HISTORY_FIELDS] for row in rows)]))


def read_history(path: Path, *, at_least: int = 1) -> list[dict[str, float]]:
    """The rows of history.csv; a value that was not finite reads as such. RefusedError where there are fewer rows."""
    try:
        with (
            open_bounded(path, MAX_HISTORY_BYTES) as file,
            io.TextIOWrapper(file, "utf-8", newline="") as lines,
        ):
            rows = [{name: float(row[name]) for name in HISTORY_FIELDS} for row in csv.DictReader(lines)]
    except RefusedError:
        raise
    except FileNotFoundError as error:
        raise refuse(str(path), "not found", "train again") from error
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise refuse(str(path), f"cannot be read ({type(error).__name__})", _RESTORE) from error
    if len(rows) < at_least:
        raise refuse(str(path), "has no epoch", "train again")
    for row in rows:
        if not all(row[name].is_integer() and 0 <= row[name] < _MAX_EPOCHS for name in ("fold", "epoch")):
            raise refuse(str(path), "has a fold or an epoch that is no number", _RESTORE)
    return rows


def write_predictions(
    path: Path, dataset: Dataset, parts: Sequence[PredictedPart], *, root: Path | None = None
) -> None:
    """Write predictions.csv: a row for each image of each part, in the order of its predictions.

    Of several labels `label` and `predicted` are names joined by "|", and a column `unknown` names those that are not known.
    `root` is that of `write_whole`.
    """
    names = dataset.class_names
    answers = ["label", "predicted", *(["unknown"] if dataset.has_several_labels else [])]
    rows: list[Sequence[object]] = [
        ("id", "split", "fold", "repeat", *answers, *(f"p_{name}" for name in names))
    ]
    for split, predictions, folds, repeat in parts:
        named = _name_answers(predictions, names)
        for row, index in enumerate(predictions.indices):
            classes = named(row)
            probabilities = exact_text(predictions.probabilities[row])
            rows.append((dataset.ids[index], split, folds[row], repeat, *classes, *probabilities))
    write_text(path, write_csv(rows), root=root)


def _name_answers(predictions: Predictions, names: Sequence[str]) -> Callable[[int], tuple[str, ...]]:
    """A function from a row to the names of its class and of the predicted one; of several labels also of unknown ones."""
    labels = predictions.labels
    if labels.ndim == 2:
        decisions = predictions.decisions
        return lambda row: tuple(
            name_labels(chosen, names) for chosen in (labels[row] == 1, decisions[row], labels[row] < 0)
        )
    predicted = predictions.probabilities.argmax(axis=1)
    return lambda row: (names[labels[row]], names[predicted[row]])


def exact_text(values: Float32[np.ndarray, "n"]) -> list[str]:
    """The shortest decimals that read back as the same float32."""
    return values.astype(str).tolist()


def write_digests(path: Path, digests: UInt8[np.ndarray, "n 32"]) -> None:
    """Write digests of images, sorted and each once, as a NumPy file."""
    with write_whole(path) as file:
        np.save(file, np.unique(digests, axis=0), allow_pickle=False)


def read_digests(path: Path, at_most: int = MAX_DIGESTS) -> UInt8[np.ndarray, "n 32"]:
    """Read the digests that `write_digests` wrote, of at most so many images.

    RefusedError where the file cannot be read or holds anything else. What its header claims is compared with its size
    before anything is allocated.
    """
    try:
        stream = io.BytesIO(read_bounded(path, 32 * min(at_most, MAX_DIGESTS) + _MAX_NPY_HEADER))
        if npy.read_magic(stream) != (1, 0):
            raise ValueError("not written by write_digests")
        shape, is_fortran, dtype = npy.read_array_header_1_0(stream)
    except RefusedError:
        raise
    # NumPy evaluates the header as a Python literal, which fails in many ways.
    except Exception as error:
        raise refuse(str(path), f"cannot be read ({type(error).__name__})", _RESTORE) from error
    content = stream.read()
    if is_fortran or dtype != np.uint8 or shape[1:] != (32,) or len(content) != shape[0] * 32:
        raise refuse(str(path), "does not hold digests of images", _RESTORE)
    return np.frombuffer(content, np.uint8).reshape(-1, 32)
