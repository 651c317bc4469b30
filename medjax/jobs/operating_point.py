"""The operating point of a run: a threshold chosen where nothing is scored, kept in metrics.json and applied later."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from medjax.config import CrossvalConfig
from medjax.config_checks import threshold_rule
from medjax.errors import listed, refuse
from medjax.evaluation.operating_point import choose_threshold, score_decisions
from medjax.evaluation.units import make_units
from medjax.jobs.from_config import Config, training_of
from medjax.records import Dataset, Predictions, Probabilities, Split
from medjax.runs.schema import RESTORE

Point = Mapping[str, Any]
"""The block `operating_point` of metrics.json: positive (a class), threshold; of a cross-validation also fold_thresholds, one
for each fold; rule, prevalence (as they were asked for), and chosen_on (part, n, positives)."""
Folds = Int[np.ndarray, "m"]


def require_positive(config: Config, dataset: Dataset, splits: Sequence[Split]) -> None:
    """RefusedError before training where `positive` is no class, or where a threshold would be chosen on one kind alone."""
    positive = training_of(config).positive
    if positive is None:
        return
    if positive not in dataset.class_names:
        raise refuse(
            "--positive", f"{positive} is no class of these data", f"one of {listed(dataset.class_names)}"
        )
    parts = [splits[0].val]
    if isinstance(config, CrossvalConfig):
        if config.only_fold is not None:
            raise refuse("--positive", "needs the other folds to choose by", "leave --only-fold out")
        parts = []
        for first in range(0, len(splits), config.folds):  # of each repeat
            tested = [split.test for split in splits[first : first + config.folds]]
            parts += [np.concatenate(tested[:fold] + tested[fold + 1 :]) for fold in range(config.folds)]
    is_positive = dataset.labels == dataset.class_names.index(positive)
    if not all(is_positive[part].any() and not is_positive[part].all() for part in parts):
        where = "the other folds hold" if isinstance(config, CrossvalConfig) else "the val part holds"
        reason = f"{where} no image of {positive}, or no other, to choose a threshold by"
        raise refuse("--positive", reason, "give more images to it (--fractions), or leave --positive out")


def choose_point(
    config: Config, class_names: Sequence[str], predictions: Predictions, folds: Folds | None = None
) -> dict[str, Any]:
    """The point of a run, from its validation predictions.

    Of a cross-validation these are the out-of-fold predictions, by `folds`: the threshold of a fold is chosen on those of the
    other folds of its repeat, and that of the run, for new images, on all.
    """
    training = training_of(config)
    assert training.positive is not None
    rule = threshold_rule(training.threshold)
    assert rule is not None, "the configuration was checked"
    label = list(class_names).index(training.positive)
    is_positive, probabilities = predictions.labels == label, predictions.probabilities[:, label]

    def choose(chosen: Bool[np.ndarray, "m"] | slice) -> float:
        return choose_threshold(is_positive[chosen], probabilities[chosen], *rule, training.prevalence)

    by_fold = None
    if folds is not None and isinstance(config, CrossvalConfig):
        repeats = folds // config.folds
        by_fold = [
            choose((folds != fold) & (repeats == fold // config.folds))
            for fold in range(config.folds * config.repeats)
        ]
    return {
        "positive": training.positive,
        "rule": training.threshold,
        "prevalence": training.prevalence,
        "threshold": choose(slice(None)),
        "fold_thresholds": by_fold,
        "chosen_on": {
            "part": "val" if folds is None else "out of fold",
            "n": len(is_positive),
            "positives": int(is_positive.sum()),
        },
    }


def require_point(point: Point | None, config: Config, class_names: Sequence[str]) -> Point | None:
    """The point of metrics.json, which may be a stranger's; RefusedError where it is none of such a run."""
    if point is None:
        return None
    by_fold = point["fold_thresholds"]
    num_folds = config.folds * config.repeats if isinstance(config, CrossvalConfig) else None
    if point["positive"] not in class_names or (None if by_fold is None else len(by_fold)) != num_folds:
        raise refuse("metrics.json", "holds the operating point of another run", RESTORE)
    return point


def decide(
    point: Point, class_names: Sequence[str], probabilities: Probabilities, folds: Folds | None = None
) -> Bool[np.ndarray, "m"]:
    """Which images are called positive; with `folds` by the threshold of the fold that predicted each."""
    label = list(class_names).index(point["positive"])
    by_fold = None if folds is None else point["fold_thresholds"]
    threshold = point["threshold"] if by_fold is None else np.array(by_fold)[folds]
    # In float64: a threshold rounded to float32 may be 1, or may be one of the probabilities that it lies between.
    return probabilities[:, label].astype(np.float64) >= threshold


def score_point(
    point: Point, dataset: Dataset, predictions: Predictions, folds: Folds | None = None
) -> dict[str, Any]:
    """How good the decisions are on images of the data set (see `score_decisions`), and positive and threshold, which is None
    where each fold has its own.
    """
    groups = None if dataset.groups is None else dataset.groups[predictions.indices]
    is_positive = predictions.labels == dataset.class_names.index(point["positive"])
    is_called = decide(point, dataset.class_names, predictions.probabilities, folds)
    found = score_decisions(is_positive, is_called, make_units(predictions, groups), point["prevalence"])
    has_own = folds is not None and point["fold_thresholds"] is not None
    threshold = None if has_own else point["threshold"]
    return {"positive": point["positive"], "threshold": threshold, **found}
