"""How far several scores of two models on the same images are apart, each with its interval, in pairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int

from medjax.evaluation.auc import Area, class_area, compare_areas, mean_area
from medjax.evaluation.bootstrap import resample_sensitivity
from medjax.evaluation.comparison import compare_accuracies, difference_interval
from medjax.evaluation.label_areas import label_areas
from medjax.records import Predictions

RESAMPLES = 1000
SEED = 0
"""Of the bootstrap: the same runs are always compared alike."""

Clusters = Int[np.ndarray, "m"] | None
Row = dict[str, Any]


def compare_scores(
    first: Predictions,
    second: Predictions,
    classes: Sequence[int],
    clusters: Clusters = None,
    *,
    specificity: float = 0.9,
) -> dict[str, Row | None]:
    """Scores of two models and their differences, second minus first, as JSON values.

    Both predict the same images in the same order; `clusters` numbers, from 0, the independent unit of each. Keys: accuracy,
    balanced_accuracy, auc, sensitivity_at_specificity; each with first, second, difference, ci95 and p. The last two are means
    over `classes`, each against all others. p is of McNemar's exact test or of DeLong's; None where there is no test.

    The interval of the balanced accuracy puts those of the classes together (Newcombe's, in pairs), that of the AUC is of
    `medjax.evaluation.auc`. For the sensitivity each model has the threshold of its own at which the specificity on these
    images is at least `specificity`, and a percentile bootstrap draws the images for both, thresholds included.
    """
    before, after = (each.probabilities.argmax(axis=1) == each.labels for each in (first, second))
    return {
        "accuracy": _compare_accuracies(before, after, clusters),
        "balanced_accuracy": _compare_balanced(before, after, first.labels, clusters),
        "auc": _compare_areas(
            _mean_area(first, classes, clusters), _mean_area(second, classes, clusters), clusters
        ),
        "sensitivity_at_specificity": _compare_sensitivities(first, second, classes, clusters, specificity),
    }


def compare_label_scores(
    first: Predictions, second: Predictions, clusters: Clusters = None
) -> dict[str, Row | None]:
    """`compare_scores` of several labels an image, of exact matches (accuracy) and of the mean area over the labels (auc)."""
    before, after = (
        ((each.decisions == (each.labels == 1)) | (each.labels < 0)).all(axis=1) for each in (first, second)
    )
    areas = [
        mean_area([area for area in label_areas(each, clusters) if area is not None])
        for each in (first, second)
    ]
    return {
        "accuracy": _compare_accuracies(before, after, clusters),
        "auc": _compare_areas(areas[0], areas[1], clusters),
    }


def _mean_area(predictions: Predictions, classes: Sequence[int], clusters: Clusters) -> Area | None:
    return mean_area(
        [
            class_area(predictions.labels == label, predictions.probabilities[:, label], clusters)
            for label in classes
        ]
    )


def _row(first: float, second: float, ci95: Any, p: float | None = None) -> Row:
    return {"first": first, "second": second, "difference": second - first, "ci95": ci95, "p": p}


def _compare_accuracies(
    first: Bool[np.ndarray, "m"], second: Bool[np.ndarray, "m"], clusters: Clusters
) -> Row:
    found = compare_accuracies(second, first, clusters)
    return _row(float(first.mean()), float(second.mean()), found["ci95"], found["mcnemar_p"])


def _compare_balanced(
    first: Bool[np.ndarray, "m"],
    second: Bool[np.ndarray, "m"],
    labels: Int[np.ndarray, "m"],
    clusters: Clusters,
) -> Row:
    """The sum of the squared margins of the classes, and what groups that hold several classes add to the variance."""
    members = [labels == label for label in np.unique(labels)]
    recalls = [(float(first[each].mean()), float(second[each].mean())) for each in members]
    before, after = np.mean(recalls, axis=0).tolist()
    sums, below, above = [], 0.0, 0.0
    for chosen, (old, new) in zip(members, recalls, strict=True):
        inside = None if clusters is None else np.unique(clusters[chosen], return_inverse=True)[1]
        interval = difference_interval(second[chosen], first[chosen], inside)
        if interval is None:
            return _row(before, after, None)
        gain = new - old
        below += (gain - interval[0]) ** 2
        above += (interval[1] - gain) ** 2
        change = (second.astype(np.float64) - first - gain) * chosen / chosen.sum()
        sums.append(change if clusters is None else np.bincount(clusters, change))
    factor = _correlated(np.array(sums))
    margins = [float(np.sqrt(factor * square)) / len(members) for square in (below, above)]
    return _row(before, after, [after - before - margins[0], after - before + margins[1]])


def _correlated(sums: Float64[np.ndarray, "class unit"]) -> float:
    """The variance of a sum over classes, from the sums of units, as a multiple of that of independent classes; at least 1."""
    apart = float((sums**2).sum())
    return max(float((sums.sum(axis=0) ** 2).sum()) / apart, 1.0) if apart > 0 else 1.0


def _compare_areas(first: Area | None, second: Area | None, clusters: Clusters) -> Row | None:
    if first is None or second is None:
        return None
    found = compare_areas(second, first, clusters)
    return _row(first.value, second.value, found["ci95"], found["p"])


def _compare_sensitivities(
    first: Predictions,
    second: Predictions,
    classes: Sequence[int],
    clusters: Clusters,
    specificity: float,
) -> Row | None:
    """None if a class has no image, or all images; no interval where resamples differ in nothing, or lack a class."""
    units = np.arange(len(first.labels)) if clusters is None else clusters
    resampled = [
        resample_sensitivity(
            each, classes, units, specificities=np.array([specificity]), resamples=RESAMPLES, seed=SEED
        )
        for each in (first, second)
    ]
    before, after = (float(values[0]) for values, _ in resampled)
    if not (np.isfinite(before) and np.isfinite(after)):
        return None
    low, high = np.quantile(resampled[1][1] - resampled[0][1], [0.025, 0.975]).tolist()
    return _row(before, after, [low, high] if low < high else None)
