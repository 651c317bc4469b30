"""Reading what runs leave, and comparing two of them bit for bit."""

import csv
import filecmp

import jax
import numpy as np

from medjax.runs.checkpoint import list_checkpoints, load_checkpoint


def read_predictions(run):
    """The rows of predictions.csv."""
    with (run.directory / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_history(run):
    """The rows of history.csv."""
    with (run.directory / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def parameters_of(run, fold=0):
    """The leaves of the newest checkpoint of a fold: the parameters that are scored."""
    saved = list_checkpoints(run.directory / "checkpoints" / f"fold_{fold:02d}")
    return jax.tree.leaves(load_checkpoint(saved[-1], "variables"))


def scores_of(run):
    """metrics.json but for what depends on time."""
    return {name: value for name, value in run.metrics.items() if name != "seconds"}


def assert_same_result(first, second):
    """Parameters of every fold, predictions.csv and metrics.json are the same to the last bit."""
    folds = sorted(path.name for path in (first.directory / "checkpoints").iterdir())
    assert folds == sorted(path.name for path in (second.directory / "checkpoints").iterdir())
    for name in folds:
        number = int(name.removeprefix("fold_"))
        pairs = zip(parameters_of(first, number), parameters_of(second, number), strict=True)
        assert all(np.array_equal(mine, its) for mine, its in pairs), name
    assert filecmp.cmp(
        first.directory / "predictions.csv", second.directory / "predictions.csv", shallow=False
    )
    assert scores_of(first) == scores_of(second)
