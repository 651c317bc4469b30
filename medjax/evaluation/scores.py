"""Compute all metrics of a set of predictions, with a 95 % interval wherever one can be trusted."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from medjax.errors import counted, refuse
from medjax.evaluation.auc import Area, area_interval, class_area, mean_area
from medjax.evaluation.calibration import (
    BINNING,
    NUM_BINS,
    brier_scores,
    calibrated_range,
    expected_calibration_error,
)
from medjax.evaluation.calibration_tests import assess_calibration
from medjax.evaluation.comparison import difference_interval
from medjax.evaluation.intervals import wilson_interval
from medjax.evaluation.roc import average_precision
from medjax.evaluation.score_records import Bootstrap, ClassScores, LargestClass, OrdinalScores, Scores
from medjax.evaluation.units import Units, grouped_interval, image_interval, make_units
from medjax.metrics import class_rates
from medjax.records import Names, Predictions

RESAMPLES = 1000
"""Default number of bootstrap resamples."""
SEED = 0
"""Seed of the bootstrap: the same predictions always get the same intervals."""
FEWEST_UNITS = 30
"""With fewer images (or groups) that hold an error, or that hold a correct prediction, the bootstrap is withheld: at 99.97 %
of 8,844 images a percentile interval of the accuracy covers 91.8 % where it says 95 %, and Wilson's 94.7 %."""


def score(
    predictions: Predictions,
    class_names: Sequence[str] | None = None,
    *,
    groups: Names | None = None,
    resamples: int = RESAMPLES,
    ordinal: bool = False,
) -> Scores:
    """Compute every metric of `predictions` with its 95 % interval.

    `class_names` default to those of the predictions, else to "class 0", "class 1", … `groups` names the group (patient,
    lesion, scan) of each prediction. Several predictions of one image (equal `indices`) count as one unit in every
    interval, because predicting an image again adds no information. `resamples` 0 turns the bootstrap off. `ordinal` says
    that the classes are in order: their quadratic-weighted kappa and mean absolute error are added.

    Raises RefusedError for predictions that cannot be scored: none at all, without labels, labels out of range, rows
    that are no probabilities, or names and groups that do not fit them.
    """
    names = _check(predictions, class_names, groups)
    labels, probabilities = predictions.labels, predictions.probabilities
    units = make_units(predictions, groups)
    is_correct = probabilities.argmax(axis=1) == labels
    n, correct, num_images = len(labels), int(is_correct.sum()), int(units.images.max()) + 1
    confusion = count_confusion(predictions, len(names))
    areas = [
        class_area(labels == label, probabilities[:, label], units.clusters) for label in range(len(names))
    ]
    area = mean_area(areas)
    intervals = _bootstrap(predictions, len(names), units, is_correct, resamples)
    per_class = {
        name: _score_class(predictions, label, confusion, units, areas[label])
        for label, name in enumerate(names)
    }
    return Scores(
        n=n,
        errors=n - correct,
        accuracy=correct / n,
        accuracy_ci95=wilson_interval(correct * num_images / n, num_images),
        accuracy_ci95_grouped=grouped_interval(is_correct, np.ones(n, bool), units),
        leading_ci95="accuracy_ci95" if groups is None else "accuracy_ci95_grouped",
        largest_class=_largest_class(labels, names, is_correct, units),
        never_predicted=tuple(
            name
            for name, actual, predicted in zip(names, confusion.sum(1), confusion.sum(0), strict=True)
            if actual and not predicted
        ),
        **_mean_rates(confusion),
        **describe_area(area, units),
        average_precision=_mean([row.average_precision for row in per_class.values()]),
        loss=_defined(predictions.losses.astype(np.float64).mean()),
        brier=float(brier_scores(predictions).mean()),
        ece=expected_calibration_error(predictions),
        ece_binning={"bins": NUM_BINS, "kind": BINNING},
        ece_if_calibrated=calibrated_range(predictions, units.images, resamples=resamples, seed=SEED)
        if resamples
        else None,
        calibration=assess_calibration(
            predictions, names, "image" if groups is None else "group", units.clusters
        )
        if resamples
        else None,
        **intervals,
        confusion_matrix=confusion,
        per_class=per_class,
        ordinal=_score_order(predictions, len(names), units, intervals["bootstrap"]) if ordinal else None,
    )


def _check(
    predictions: Predictions, class_names: Sequence[str] | None, groups: Names | None
) -> tuple[str, ...]:
    """The class names; RefusedError for what cannot be scored."""
    labels, probabilities = predictions.labels, predictions.probabilities
    if labels is None or predictions.losses is None:
        raise refuse("predictions", "have no labels to be scored by", "predict images whose labels are known")
    if np.ndim(labels) == 2:
        raise refuse("predictions", "are of several labels an image", "score them by score_labels")
    if len(labels) == 0:
        raise refuse("predictions", "there are none", "score at least one image")
    if np.ndim(probabilities) != 2 or len({len(each) for each in predictions[:4]}) > 1:
        shapes = ", ".join(str(np.shape(each)) for each in predictions[:4])
        remedy = "give one index, label, row of probabilities and loss for each image"
        raise refuse("predictions", f"have arrays that do not fit together: {shapes}", remedy)
    _check_values(labels, probabilities)
    n, num_classes = probabilities.shape
    if groups is not None and len(groups) != n:
        raise refuse(
            "groups",
            f"{len(groups):,} are given for {counted(n, 'prediction')}",
            "give one for each prediction",
        )
    names = class_names or predictions.class_names or [f"class {label}" for label in range(num_classes)]
    if len(set(names)) != num_classes:
        raise refuse("class_names", f"are {len(set(names))}", f"give {num_classes} different names")
    return tuple(names)


def _check_values(labels: Int[np.ndarray, "m"], probabilities: Float[np.ndarray, "m class"]) -> None:
    num_classes = probabilities.shape[1]
    if labels.min() < 0 or labels.max() >= num_classes:
        reason = f"have labels from {labels.min()} to {labels.max()}"
        raise refuse("predictions", reason, f"{num_classes} classes are numbered 0 to {num_classes - 1}")
    require_finite(probabilities)
    if probabilities.min() < 0 or np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3:
        raise refuse(
            "predictions", "have rows that are no probabilities", "each row must sum to 1: apply softmax"
        )


def require_finite(probabilities: Float[np.ndarray, "m class"]) -> None:
    """RefusedError where a network answered with what is no number."""
    n, is_finite = len(probabilities), np.isfinite(probabilities).all(axis=1)
    if not is_finite.all():
        reason = f"have probabilities that are not finite for {n - is_finite.sum()} of {n} images"
        raise refuse(
            "predictions", reason, "the network diverged: train again with a smaller --learning-rate"
        )


def count_confusion(predictions: Predictions, num_classes: int) -> Int[np.ndarray, "class class"]:
    """Predictions by their true class (row) and their predicted class (column)."""
    cells = predictions.labels.astype(np.int64) * num_classes + predictions.probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def _score_class(
    predictions: Predictions,
    label: int,
    confusion: Int[np.ndarray, "class class"],
    units: Units,
    area: Area | None,
) -> ClassScores:
    """Score one class against the others."""
    rates: dict[str, Any] = {
        key: _defined(values[label]) for key, values in class_rates(confusion)._asdict().items()
    }
    is_class, probabilities = predictions.labels == label, predictions.probabilities[:, label]
    is_predicted = predictions.probabilities.argmax(axis=1) == label
    proportions = {  # which predictions are right, among which
        "sensitivity": (is_predicted, is_class),
        "specificity": (~is_predicted, ~is_class),
        "precision": (is_class, is_predicted),
    }
    intervals: dict[str, Any] = {}
    for name, masks in proportions.items():
        intervals[f"{name}_ci95"] = image_interval(*masks, units)
        intervals[f"{name}_ci95_grouped"] = grouped_interval(*masks, units)
    return ClassScores(
        n=int(is_class.sum()),
        **rates,
        sensitivity=rates["recall"],
        **intervals,
        **describe_area(area, units),
        average_precision=average_precision(is_class, probabilities),
    )


def describe_area(area: Area | None, units: Units) -> dict[str, Any]:
    """An area and its interval, under the names of the records."""
    if area is None:
        return {"auc": None, "auc_ci95": None}
    return {"auc": area.value, "auc_ci95": area_interval(area, units.clusters)}


def _largest_class(
    labels: Int[np.ndarray, "m"], names: Sequence[str], is_correct: Bool[np.ndarray, "m"], units: Units
) -> LargestClass:
    largest = int(np.bincount(labels).argmax())
    is_largest = labels == largest
    gain = difference_interval(is_correct, is_largest, units.clusters)
    return LargestClass(names[largest], float(is_largest.mean()), gain)


def _mean_rates(confusion: Int[np.ndarray, "class class"]) -> dict[str, Any]:
    """Balanced accuracy and macro F1 as scikit-learn defines them: classes that do not occur are left out."""
    rates = class_rates(confusion)
    return {
        "balanced_accuracy": float(np.nanmean(rates.recall)),
        "macro_f1": float(np.nanmean(rates.f1)),
    }


def _bootstrap(
    predictions: Predictions,
    num_classes: int,
    units: Units,
    is_correct: Bool[np.ndarray, "m"],
    resamples: int,
) -> dict[str, Any]:
    """The bootstrap intervals, and how they were made."""
    from medjax.evaluation.bootstrap import METRICS, bootstrap_intervals

    unit, resampled = "image" if units.groups is None else "group", units.resampled
    withheld = _reason_to_withhold(unit, resampled, is_correct) if resamples else "not asked for"
    intervals = (
        {}
        if withheld
        else bootstrap_intervals(predictions, num_classes, resampled, resamples=resamples, seed=SEED)
    )
    return {
        **{f"{name}_ci95": intervals.get(name) for name in METRICS},
        "bootstrap": Bootstrap(resamples, SEED, unit, int(resampled.max()) + 1, withheld),
    }


def _score_order(
    predictions: Predictions, num_classes: int, units: Units, bootstrap: Bootstrap
) -> OrdinalScores:
    from medjax.evaluation.ordinal import score_order

    resamples = 0 if bootstrap.withheld else bootstrap.resamples
    return score_order(predictions, num_classes, units.resampled, resamples=resamples, seed=SEED)


def _reason_to_withhold(
    unit: str, resampled: Int[np.ndarray, "m"], is_correct: Bool[np.ndarray, "m"]
) -> str | None:
    for chosen, what in ((~is_correct, "an error"), (is_correct, "a right answer")):
        count = len(np.unique(resampled[chosen]))
        if count < FEWEST_UNITS:
            holders = f"{counted(count, unit)} hold{'s' if count == 1 else ''}"
            return f"{holders} {what}: with fewer than {FEWEST_UNITS} no bootstrap can be trusted"
    return None


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, or None if one of them is undefined."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None


def _defined(value: float | Float[np.ndarray, ""]) -> float | None:
    return float(value) if math.isfinite(value) else None
