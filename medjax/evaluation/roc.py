"""ROC and precision-recall curves of one class against all others: the areas under them, and points for a figure.

They are scikit-learn's, to the last bit, which takes more than a second to import.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from medjax.records import Predictions

MOST_POINTS = 200
"""Longer curves are thinned to this many points; the ends are kept."""
BAND_RESAMPLES = 500


Points = Float64[np.ndarray, "_"]
Probability = Float[np.ndarray, "m"]
"""Of the class, for each image."""


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


class RocBand(NamedTuple):
    """The 95 % interval of the sensitivity at each of some specificities."""

    false_positive_rate: Float64[np.ndarray, "_"]
    low: Float64[np.ndarray, "_"]
    high: Float64[np.ndarray, "_"]


def area_under_roc(is_class: Bool[np.ndarray, "m"], probabilities: Probability) -> float | None:
    """Area under the ROC curve of a class with these members; None if all images, or none, belong to it."""
    if is_class.all() or not is_class.any():
        return None
    false_positive_rate, true_positive_rate = _roc(is_class, probabilities)
    return float(np.trapezoid(true_positive_rate, false_positive_rate))


def average_precision(is_class: Bool[np.ndarray, "m"], probabilities: Probability) -> float | None:
    """Mean precision at the members of a class, each at its own probability as threshold; None if there are none.

    It is the area under the precision-recall curve, without interpolation.
    """
    if not is_class.any():
        return None
    recall, precision = _precision_recall(*_count(is_class, probabilities))
    return float(-np.sum(np.diff(recall) * precision[:-1]))


def roc_curve(predictions: Predictions, label: int) -> RocCurve | None:
    """ROC curve of the class with this label, or of one of several labels over the images of which it is known.

    None if all images, or none, belong to it.
    """
    is_class, probabilities = _one_against_others(predictions, label)
    area = area_under_roc(is_class, probabilities)
    if area is None:
        return None
    false_positive_rate, true_positive_rate = _roc(is_class, probabilities)
    kept = _thin(len(false_positive_rate))
    return RocCurve(false_positive_rate[kept], true_positive_rate[kept], area)


def roc_band(predictions: Predictions, label: int, units: Int[np.ndarray, "m"]) -> RocBand | None:
    """Percentile bootstrap of the ROC curve of a class, point by point; None where there is no curve, or a resample has none.

    `units` numbers, from 0, the unit (image or group) of each prediction.
    """
    # Imported here: it loads SciPy, which takes a while, and scores need no band.
    from medjax.evaluation.bootstrap import resample_sensitivity

    rates = np.linspace(0, 1, 51)
    _, drawn = resample_sensitivity(
        predictions, [label], units, specificities=1 - rates, resamples=BAND_RESAMPLES, seed=0
    )
    if not np.isfinite(drawn).all():
        return None
    low, high = np.quantile(drawn, [0.025, 0.975], axis=1)
    return RocBand(rates, low, high)


def precision_recall_curve(predictions: Predictions, label: int) -> PrecisionRecallCurve | None:
    """Precision-recall curve of the class with this label; None if no image belongs to it."""
    is_class, probabilities = _one_against_others(predictions, label)
    average = average_precision(is_class, probabilities)
    if average is None:
        return None
    true, false = _count(is_class, probabilities)
    # Of points of equal recall only the first and the last: those between lie on a vertical line.
    is_end = _with_ends((np.diff(true)[:-1] > 0) | (np.diff(true)[1:] > 0), len(true))
    recall, precision = _precision_recall(true[is_end], false[is_end])
    kept = _thin(len(recall))
    return PrecisionRecallCurve(recall[kept], precision[kept], average, float(is_class.mean()))


def _roc(is_class: Bool[np.ndarray, "m"], probabilities: Probability) -> tuple[Points, Points]:
    """The false and the true positive rate, from 0 to 1, without points on a line of equal steps."""
    true, false = _count(is_class, probabilities)
    is_corner = _with_ends((np.diff(false, 2) != 0) | (np.diff(true, 2) != 0), len(true))
    true, false = (np.concatenate([[0.0], counts[is_corner]]) for counts in (true, false))
    return false / false[-1], true / true[-1]


def _precision_recall(true: Points, false: Points) -> tuple[Points, Points]:
    """Recall and precision, from the lowest threshold to above the highest, where they are 0 and 1."""
    recall, precision = true / true[-1], true / (true + false)
    return np.append(recall[::-1], 0.0), np.append(precision[::-1], 1.0)


def _count(is_class: Bool[np.ndarray, "m"], probabilities: Probability) -> tuple[Points, Points]:
    """How many members of a class, and how many others, are at or above each probability that occurs, the highest first."""
    order = np.argsort(-probabilities, kind="stable")
    last = np.flatnonzero(np.diff(probabilities[order], append=-1))
    true = np.cumsum(is_class[order], dtype=np.float64)[last]
    return true, last + 1 - true


def _with_ends(is_inner: Bool[np.ndarray, "_"], count: int) -> Bool[np.ndarray, "{count}"]:
    """A mask of `count` points that are the ends, and those between them for which it is true."""
    is_kept = np.ones(count, bool)
    is_kept[1:-1] = is_inner
    return is_kept


def _one_against_others(
    predictions: Predictions, label: int
) -> tuple[Bool[np.ndarray, "m"], Float64[np.ndarray, "m"]]:
    probabilities = predictions.probabilities[:, label].astype(np.float64)
    if predictions.labels.ndim == 1:
        return predictions.labels == label, probabilities
    is_known = predictions.labels[:, label] >= 0
    return predictions.labels[is_known, label] == 1, probabilities[is_known]


def _thin(n: int) -> Int[np.ndarray, "points"]:
    """Indices of at most `MOST_POINTS` of `n` points, evenly spaced."""
    return np.linspace(0, n - 1, min(n, MOST_POINTS)).round().astype(int)
