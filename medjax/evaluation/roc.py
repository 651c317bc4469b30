"""ROC and precision-recall curves of one class against all others, as points for a figure."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int

from medjax.records import Predictions

MOST_POINTS = 200
"""Longer curves are thinned to this many points; the ends are kept."""


class RocCurve(NamedTuple):
    """From (0, 0), no image predicted as the class, to (1, 1), every image predicted as the class."""

    false_positive_rate: Float64[np.ndarray, "points"]  # 1 - specificity
    true_positive_rate: Float64[np.ndarray, "points"]  # sensitivity
    area: float  # under the curve before thinning


class PrecisionRecallCurve(NamedTuple):
    """From the lowest threshold to the highest; there recall is 0 and precision 1 by convention."""

    recall: Float64[np.ndarray, "points"]
    precision: Float64[np.ndarray, "points"]
    average_precision: float  # of the curve before thinning
    prevalence: float  # share of the images that belong to the class: the precision of chance


def roc_curve(predictions: Predictions, label: int) -> RocCurve | None:
    """ROC curve of the class with this label; None if all images, or none, belong to it."""
    from sklearn import metrics  # imported here: it takes over a second

    is_class, probabilities = _one_against_others(predictions, label)
    if is_class.all() or not is_class.any():
        return None
    false_positive_rate, true_positive_rate, _ = metrics.roc_curve(is_class, probabilities)
    kept = _thin(len(false_positive_rate))
    area = float(metrics.auc(false_positive_rate, true_positive_rate))
    return RocCurve(false_positive_rate[kept], true_positive_rate[kept], area)


def precision_recall_curve(predictions: Predictions, label: int) -> PrecisionRecallCurve | None:
    """Precision-recall curve of the class with this label; None if no image belongs to it."""
    from sklearn import metrics

    is_class, probabilities = _one_against_others(predictions, label)
    if not is_class.any():
        return None
    precision, recall, _ = metrics.precision_recall_curve(is_class, probabilities, drop_intermediate=True)
    kept = _thin(len(recall))
    average = metrics.average_precision_score(is_class, probabilities)
    return PrecisionRecallCurve(recall[kept], precision[kept], float(average), float(is_class.mean()))


def _one_against_others(
    predictions: Predictions, label: int
) -> tuple[Bool[np.ndarray, "m"], Float64[np.ndarray, "m"]]:
    return predictions.labels == label, predictions.probabilities[:, label].astype(np.float64)


def _thin(n: int) -> Int[np.ndarray, "points"]:
    """Indices of at most `MOST_POINTS` of `n` points, evenly spaced."""
    return np.linspace(0, n - 1, min(n, MOST_POINTS)).round().astype(int)
