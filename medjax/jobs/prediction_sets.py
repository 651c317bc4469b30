"""The prediction sets of a run: thresholds from images kept out of training, stored in conformal.json and applied ever after."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.config import CrossvalConfig
from medjax.errors import counted, refuse
from medjax.evaluation.prediction_sets import (
    Conformal,
    Sets,
    count_units,
    coverage_range,
    fewest_units,
    fit_sets,
    merge_sets,
    score_sets,
)
from medjax.evaluation.units import make_units
from medjax.jobs.from_config import Config, conformal_parts, folds_of, training_of
from medjax.records import Dataset, Indices, Predictions, Probabilities, Split
from medjax.runs import directory as run_files
from medjax.runs.formats import CONFORMAL, MAX_CONFORMAL_BYTES
from medjax.runs.schema import RESTORE, require

FILE = "conformal.json"
"""File in a run directory: of each fold the scores that set its thresholds."""

Conformals = Mapping[int, Conformal]
"""Of the network of each fold; empty in a run without `coverage`."""


def set_parts(config: Config, dataset: Dataset, splits: Sequence[Split]) -> dict[int, Indices]:
    """The images that set the thresholds of each fold that is trained: its conformal part, else its val part; none unless asked for."""
    training = training_of(config)
    if training.coverage is None:
        return {}
    parts = conformal_parts(config, dataset) if training.conformal_share else [split.val for split in splits]
    return {fold: parts[fold] for fold in folds_of(config)}


def require_sets(config: Config, dataset: Dataset, splits: Sequence[Split]) -> None:
    """RefusedError before training where `coverage` cannot be had: of several labels, or with too few images or groups."""
    training = training_of(config)
    if training.coverage is None:
        return
    if dataset.has_several_labels:
        reason = f"is of one class an image, and {dataset.name} has several labels an image"
        raise refuse("--coverage", reason, "leave it out")
    wanted = fewest_units(training.coverage)
    unit = "image" if dataset.groups is None else "group"
    for part in set_parts(config, dataset, splits).values():
        names = np.arange(len(dataset.labels)) if dataset.groups is None else dataset.groups
        kinds = range(dataset.num_classes) if training.sets == "class" else [None]
        for label in kinds:
            chosen = part if label is None else part[dataset.labels[part] == label]
            n = len(np.unique(names[chosen]))
            if n < wanted:
                of = "" if label is None else f" of {dataset.class_names[label]}"
                raise refuse(
                    "--coverage",
                    f"{training.coverage:g} takes {counted(wanted, unit)}{of} to set thresholds by, and there are {n}",
                    "lower it, or keep more for it: a larger --conformal-share",
                )


def fit_run_sets(
    config: Config, dataset: Dataset, predictions: Mapping[int, Predictions]
) -> dict[int, Conformal]:
    """What sets are made of, from the predictions of each fold's part (see `set_parts`)."""
    method = training_of(config).sets
    return {
        fold: fit_sets(method, each, None if dataset.groups is None else dataset.groups[each.indices])
        for fold, each in predictions.items()
    }


def describe_sets(config: Config, conformals: Conformals, num_classes: int) -> dict[str, Any]:
    """The block `prediction_sets` of metrics.json: how the sets are made, and of how many images."""
    training = training_of(config)
    units = [count_units(each, num_classes) for each in conformals.values()]
    return {
        "coverage": training.coverage,
        "sets": training.sets,
        "part": "conformal" if training.conformal_share else "val",
        "folds": [
            {"fold": fold, "n": len(each.scores), "units": count}
            for (fold, each), count in zip(conformals.items(), units, strict=True)
        ],
    }


def write_sets(directory: Path, conformals: Conformals) -> None:
    """Write conformal.json; nothing for a run without sets."""
    if conformals:
        folds = [
            {
                "fold": fold,
                **{name: getattr(each, name).tolist() for name in ("scores", "labels", "groups")},
            }
            for fold, each in conformals.items()
        ]
        run_files.write_json(directory / FILE, {"folds": folds})


def read_sets(directory: Path, config: Config, num_classes: int) -> dict[int, Conformal]:
    """What `write_sets` wrote, which may be a stranger's; none of a run without sets. RefusedError where it is none of such a run."""
    training, path = training_of(config), directory / FILE
    if training.coverage is None:
        return {}
    blocks = run_files.read_json(path, MAX_CONFORMAL_BYTES)
    require(CONFORMAL, blocks, path)
    found = {}
    for block in blocks["folds"]:
        scores = np.array(block["scores"], np.float64)
        labels, groups = (np.array(block[name], np.int64) for name in ("labels", "groups"))
        if not len(scores) == len(labels) == len(groups) or labels.max() >= num_classes:
            raise refuse(path, "holds scores that do not fit its labels", RESTORE)
        found[block["fold"]] = Conformal(training.sets, scores, labels, groups)
    if not set(found) <= set(folds_of(config)):
        raise refuse(path, "holds folds of another run", RESTORE)
    return found


def make_sets(conformals: Conformals, probabilities: Mapping[int, Probabilities], coverage: float) -> Sets:
    """The set of each image by the probabilities of one fold's network; of several, the classes in more than half of their sets."""
    if missing := [fold for fold in probabilities if fold not in conformals]:
        raise refuse(FILE, f"lacks fold {missing[0]}", RESTORE)
    each = [conformals[fold].sets(rows, coverage) for fold, rows in probabilities.items()]
    return each[0] if len(each) == 1 else merge_sets(each)


def require_coverage(conformals: Conformals, coverage: float, num_classes: int) -> None:
    """RefusedError for a coverage that the images of a run are too few for, or in a run without sets."""
    if not conformals:
        raise refuse("--coverage", "this run keeps no scores for prediction sets", "train with --coverage")
    if not 0 < coverage < 1:
        raise refuse("--coverage", f"{coverage:g} is out of range", "more than 0 to less than 1")
    fewest = min(min(count_units(each, num_classes)) for each in conformals.values())
    if fewest < fewest_units(coverage):
        highest = np.floor(1000 * fewest / (fewest + 1)) / 1000
        reason = f"{coverage:g} takes {counted(fewest_units(coverage), 'image or group')} a threshold, and this run has {fewest}"
        raise refuse("--coverage", reason, f"at most {highest:g}, or train with a larger --conformal-share")


def score_run_sets(config: Config, dataset: Dataset, predictions: Predictions, sets: Sets) -> dict[str, Any]:
    """How good sets are on images of the data set (see `score_sets`), and `wanted`, the coverage that was asked for."""
    groups = None if dataset.groups is None else dataset.groups[predictions.indices]
    scores = score_sets(sets, predictions, dataset.class_names, make_units(predictions, groups))
    return {"wanted": training_of(config).coverage, **scores}


def expected_range(config: Config, dataset: Dataset, conformals: Conformals, num_scored: int) -> Any:
    """Where the coverage of so many test images lies in 95 % of all runs; None where no law says so.

    It is known of one network, a part of its own, independent images and a single threshold ("lac") that one image alone has:
    of equal scores, as isotonic regression makes them, more images are covered.
    """
    training = training_of(config)
    if isinstance(config, CrossvalConfig) or dataset.groups is not None or not training.conformal_share:
        return None
    if training.sets != "lac" or training.coverage is None:
        return None
    scores, threshold = conformals[0].scores, conformals[0].thresholds(training.coverage, 1)[0]
    if (scores == threshold).sum() > 1:
        return None
    return list(coverage_range(len(scores), num_scored, training.coverage))


def sets_of_folds(
    config: Config, conformals: Conformals, predictions: Predictions, folds: np.ndarray
) -> Sets:
    """The set of each prediction by the thresholds of the fold whose network made it."""
    sets = np.zeros(predictions.probabilities.shape, bool)
    for fold in np.unique(folds).tolist():
        rows = folds == fold
        sets[rows] = merged_sets(config, conformals, {fold: predictions.take(rows)})
    return sets


def merged_sets(config: Config, conformals: Conformals, each: Mapping[int, Predictions]) -> Sets:
    """The set of each image by the predictions of the networks of several folds, at the coverage of the run."""
    coverage = training_of(config).coverage
    assert coverage is not None, "there are sets"
    return make_sets(conformals, {fold: found.probabilities for fold, found in each.items()}, coverage)
