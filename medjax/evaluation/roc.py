"""Curves of one class against all others, over every threshold on its probability: points for a figure."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int

from medjax.records import Predictions

MOST_POINTS = 200
"""A curve of more points is thinned to so many, its ends kept."""


class RocCurve(NamedTuple):
    """From (0, 0) to (1, 1): nothing called this class, and everything."""

    false_positive_rate: Float64[np.ndarray, "points"]  # 1 - specificity
    true_positive_rate: Float64[np.ndarray, "points"]  # sensitivity
    area: float  # under the whole curve, before it was thinned


class PrecisionRecallCurve(NamedTuple):
    """From the lowest threshold to the highest, at which recall is 0 and precision 1 by convention."""

    recall: Float64[np.ndarray, "points"]
    precision: Float64[np.ndarray, "points"]
    average_precision: float  # of the whole curve
    prevalence: float  # share of the images that are of the class: the precision of chance


def roc_curve(predictions: Predictions, label: int) -> RocCurve | None:
    """Sensitivity against false alarms; None where all images, or none, are of the class."""
    from sklearn import metrics  # imported here: it takes over a second

    is_class, probabilities = _one_against_others(predictions, label)
    if is_class.all() or not is_class.any():
        return None
    false, true, _ = metrics.roc_curve(is_class, probabilities)
    kept = _thin(len(false))
    return RocCurve(false[kept], true[kept], float(metrics.auc(false, true)))


def precision_recall_curve(predictions: Predictions, label: int) -> PrecisionRecallCurve | None:
    """Precision against recall; None where no image is of the class."""
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
    """Positions of at most `MOST_POINTS` of `n` points, evenly spread."""
    return np.linspace(0, n - 1, min(n, MOST_POINTS)).round().astype(int)
