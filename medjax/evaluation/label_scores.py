"""Compute all metrics of predictions of several labels an image, with a 95 % interval wherever one can be trusted."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from medjax.errors import counted, refuse
from medjax.evaluation.auc import Area, mean_area
from medjax.evaluation.comparison import difference_interval
from medjax.evaluation.intervals import Interval, wilson_interval
from medjax.evaluation.label_areas import label_areas
from medjax.evaluation.label_records import MACRO, LabelIntervals, LabelScores, MicroScores, OneLabelScores
from medjax.evaluation.roc import area_under_roc, average_precision
from medjax.evaluation.score_records import Bootstrap, LargestClass
from medjax.evaluation.scores import FEWEST_UNITS, RESAMPLES, SEED, describe_area
from medjax.evaluation.units import Units, grouped_interval, image_interval, make_units
from medjax.records import NO_LABEL, LabelMatrix, Names, Predictions, Probabilities, name_labels


def score_labels(
    predictions: Predictions,
    class_names: Sequence[str] | None = None,
    *,
    groups: Names | Sequence[Any] | None = None,
    resamples: int = RESAMPLES,
) -> LabelScores:
    """Compute every metric of `predictions` of several labels with its 95 % interval.

    The arguments are those of `score`. Labels are 1, 0, or -1 where they are not known, which counts nowhere; predictions of
    images of which no label is known are left out. A label is predicted where its probability reaches the threshold that the
    predictions carry (0.5 without any). Raises RefusedError for predictions that cannot be scored.
    """
    names, predictions, groups = _check(predictions, class_names, groups)
    is_known, is_positive = predictions.labels >= 0, predictions.labels == 1
    is_right = ((predictions.decisions == is_positive) | ~is_known).all(axis=1)
    units = make_units(predictions, groups)
    n, right, num_images = len(is_right), int(is_right.sum()), int(units.images.max()) + 1
    unit, num_units = "image" if groups is None else "group", int(units.resampled.max()) + 1
    withheld = _reason_to_withhold(unit, num_units) if resamples else "not asked for"
    intervals = _intervals(predictions, units, 0 if withheld else resamples)
    areas = label_areas(predictions, units.clusters)
    rows = [_score_one(predictions, label, units, intervals, area) for label, area in enumerate(areas)]
    macro = {
        name: _mean([getattr(row, name) for row in rows])
        for name in ("sensitivity", "specificity", "precision")
    }
    return LabelScores(
        n=n,
        errors=n - right,
        accuracy=right / n,
        accuracy_ci95=wilson_interval(right * num_images / n, num_images),
        accuracy_ci95_grouped=grouped_interval(is_right, np.ones(n, bool), units),
        leading_ci95="accuracy_ci95" if groups is None else "accuracy_ci95_grouped",
        largest_class=_commonest(predictions, names, is_right, units),
        never_predicted=tuple(
            name
            for label, (name, row) in enumerate(zip(names, rows, strict=True))
            if row.n and not (predictions.decisions & is_known)[:, label].any()
        ),
        balanced_accuracy=_mean([macro["sensitivity"], macro["specificity"]]) or 0.0,
        macro_f1=_mean([row.f1 for row in rows]) or 0.0,
        **describe_area(mean_area([area for area in areas if area is not None]), units),
        average_precision=_mean([row.average_precision for row in rows]),
        loss=float(predictions.losses.astype(np.float64).mean()),
        **_named(intervals.macro),
        bootstrap=Bootstrap(resamples, SEED, unit, num_units, withheld),
        macro=macro,
        micro=_pool(predictions),
        per_class=dict(zip(names, rows, strict=True)),
    )


def _named(intervals: Mapping[str, Interval | None]) -> dict[str, Any]:
    return {f"{name}_ci95": interval for name, interval in intervals.items()}


def binary_losses(probabilities: Probabilities, labels: LabelMatrix) -> Float32[np.ndarray, "m"]:
    """The mean binary cross-entropy of the known labels of each image, in nats; 0 where none is known."""
    is_known = labels >= 0
    of_truth = np.where(labels == 1, probabilities, 1 - probabilities)
    losses = -np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)) * is_known
    return (losses.sum(axis=1) / np.maximum(is_known.sum(axis=1), 1)).astype(np.float32)


def _check(
    predictions: Predictions, class_names: Sequence[str] | None, given_groups: Names | Sequence[Any] | None
) -> tuple[tuple[str, ...], Predictions, Names | None]:
    """The names of the labels, and the predictions of images of which one is known; RefusedError where there are none."""
    labels, probabilities = predictions.labels, predictions.probabilities
    if labels is None or predictions.losses is None or np.ndim(labels) != 2:
        raise refuse("predictions", "have no matrix of labels", "predict images whose labels are known")
    if labels.shape != probabilities.shape or len(predictions.losses) != len(labels):
        shapes = f"{labels.shape} and {probabilities.shape}"
        raise refuse("predictions", f"have labels and probabilities of shapes {shapes}", "give one for each")
    if labels.size and not (np.isin(labels, (-1, 0, 1)).all() and np.isfinite(probabilities).all()):
        raise refuse(
            "predictions", "have other labels than 1, 0 and -1, or answers that are not finite", "train again"
        )
    if probabilities.size and not (probabilities.min() >= 0 and probabilities.max() <= 1):
        raise refuse("predictions", "have values that are no probabilities", "apply a sigmoid")
    groups = None if given_groups is None else np.asarray(given_groups)
    if groups is not None and len(groups) != len(labels):
        reason = f"{len(groups):,} are given for {counted(len(labels), 'prediction')}"
        raise refuse("groups", reason, "give one for each prediction")
    names = class_names or predictions.class_names or [f"label {label}" for label in range(labels.shape[1])]
    if len(set(names)) != labels.shape[1]:
        raise refuse("class_names", f"are {len(set(names))}", f"give {labels.shape[1]} different names")
    has_label = np.max(labels, axis=1) >= 0
    if not has_label.any():
        raise refuse("predictions", "are of no image with a known label", "score at least one image")
    if has_label.all():
        return tuple(names), predictions, groups
    return (
        tuple(names),
        predictions.take(has_label),
        None if groups is None else groups[has_label],
    )


def _reason_to_withhold(unit: str, num_units: int) -> str | None:
    if num_units >= FEWEST_UNITS:
        return None
    verb = "is" if num_units == 1 else "are"
    reason = f"there {verb} {counted(num_units, unit)}: with fewer than {FEWEST_UNITS}"
    return f"{reason} no bootstrap can be trusted"


def _intervals(predictions: Predictions, units: Units, resamples: int) -> LabelIntervals:
    if resamples:
        from medjax.evaluation.label_bootstrap import bootstrap_labels  # imported here: SciPy takes a while

        return bootstrap_labels(predictions, units.resampled, resamples=resamples, seed=SEED)
    none: list[Interval | None] = [None] * predictions.labels.shape[1]
    return LabelIntervals(dict.fromkeys(MACRO), none)


def _score_one(
    predictions: Predictions, label: int, units: Units, intervals: LabelIntervals, area: Area | None
) -> OneLabelScores:
    known, positive = predictions.labels[:, label] >= 0, predictions.labels[:, label] == 1
    predicted = predictions.decisions[:, label] & known
    probabilities = predictions.probabilities[:, label]
    thresholds = np.unique(predictions.all_thresholds[:, label])
    proportions = {  # which predictions are right, among which
        "sensitivity": (predicted, positive),
        "specificity": (~predicted, known & ~positive),
        "precision": (positive, predicted),
    }
    bounds: dict[str, Any] = {}
    for name, masks in proportions.items():
        bounds[f"{name}_ci95"] = image_interval(*masks, units)
        bounds[f"{name}_ci95_grouped"] = grouped_interval(*masks, units)
    return OneLabelScores(
        n=int(positive.sum()),
        known=int(known.sum()),
        threshold=float(thresholds[0]) if len(thresholds) == 1 else None,
        **_rates(positive[known], predicted[known]),
        **bounds,
        **describe_area(area, units),
        average_precision=None
        if area is None
        else average_precision(positive[known], probabilities[known].astype(np.float64)),
        average_precision_ci95=intervals.average_precision[label],
        mean_probability=float(probabilities[known].mean(dtype=np.float64)) if known.any() else None,
    )


def _pool(predictions: Predictions) -> MicroScores:
    known = predictions.labels >= 0
    positive, probabilities = predictions.labels[known] == 1, predictions.probabilities[known]
    area = area_under_roc(positive, probabilities)
    return MicroScores(
        n=len(positive),
        auc=area,
        average_precision=None if area is None else average_precision(positive, probabilities),
        **_rates(positive, predictions.decisions[known]),
    )


def _rates(positive: Bool[np.ndarray, "m"], predicted: Bool[np.ndarray, "m"]) -> dict[str, Any]:
    right, n, called = int((positive & predicted).sum()), int(positive.sum()), int(predicted.sum())
    without = len(positive) - n

    def share(count: int, total: int) -> float | None:
        return count / total if total else None

    return {
        "sensitivity": share(right, n),
        "specificity": share(without - (called - right), without),
        "precision": share(right, called),
        "f1": share(2 * right, n + called),
    }


def _commonest(
    predictions: Predictions, names: Sequence[str], is_right: Bool[np.ndarray, "m"], units: Units
) -> LargestClass:
    """The combination of labels that most images have, unknown ones taken as absent, and how often it would be right."""
    combinations, counts = np.unique(predictions.labels == 1, axis=0, return_counts=True)
    commonest = combinations[counts.argmax()]
    would_be_right = ((predictions.labels == commonest) | (predictions.labels < 0)).all(axis=1)
    gain = difference_interval(is_right, would_be_right, units.clusters)
    return LargestClass(name_labels(commonest, names) or NO_LABEL, float(would_be_right.mean()), gain)


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of those that are defined; None if none is."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
