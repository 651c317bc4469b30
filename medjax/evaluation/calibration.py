"""Calibration: whether predictions with a probability of 80 % are correct 80 times in 100.

References:
    Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017.
    https://arxiv.org/abs/1706.04599.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from medjax.evaluation.intervals import Interval
from medjax.evaluation.units import Units, grouped_interval, image_interval
from medjax.records import UNKNOWN, Predictions, Probabilities

NUM_BINS = 15
"""Bins of equal width over the probability of the predicted class, as in the reference."""
BINNING = "equal width on the top probability"
"""Kind of the bins, in words."""


class Reliability(NamedTuple):
    """Predictions by bin of their confidence, the probability of the predicted class; NaN for an empty bin.

    Of several labels an image a prediction is one of one label, and its confidence the probability of that label.
    """

    edges: Float64[np.ndarray, "bins+1"]  # a bin includes its upper edge
    n: Int[np.ndarray, "bins"]  # predictions in the bin
    confidence: Float64[np.ndarray, "bins"]  # their mean confidence
    accuracy: Float64[np.ndarray, "bins"]  # share that is correct; of several labels, that has the label


def bin_numbers(probabilities: Probabilities, num_bins: int = NUM_BINS) -> Int[np.ndarray, "m"]:
    """The bin of each prediction, from 0, by its confidence."""
    return _bins_of(probabilities.max(axis=1).astype(np.float64), num_bins)


def _bins_of(confidence: Float64[np.ndarray, "m"], num_bins: int) -> Int[np.ndarray, "m"]:
    return np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)


def reliability(predictions: Predictions, num_bins: int = NUM_BINS) -> Reliability:
    """The points of a reliability diagram; of several labels over all pairs of an image and a label that is known of it."""
    if predictions.labels.ndim == 2:
        is_known = predictions.labels != UNKNOWN
        confidence, is_correct = predictions.probabilities[is_known], predictions.labels[is_known] == 1
    else:
        confidence = predictions.probabilities.max(axis=1)
        is_correct = predictions.probabilities.argmax(axis=1) == predictions.labels
    confidence = confidence.astype(np.float64)
    bins = _bins_of(confidence, num_bins)
    count = np.bincount(bins, minlength=num_bins)
    sums = (np.bincount(bins, values, num_bins) for values in (confidence, is_correct))
    with np.errstate(invalid="ignore"):
        return Reliability(np.linspace(0, 1, num_bins + 1), count, *(each / count for each in sums))


def reliability_bands(
    predictions: Predictions, units: Units, num_bins: int = NUM_BINS
) -> Float64[np.ndarray, "bins 2"]:
    """The 95 % interval of the accuracy in each bin: Wilson's, with groups as independent where there are any.

    NaN where there is none: in an empty bin, and in one of a single group.
    """
    bins = bin_numbers(predictions.probabilities, num_bins)
    is_correct = predictions.probabilities.argmax(axis=1) == predictions.labels
    interval = image_interval if units.groups is None else grouped_interval
    bounds = [interval(is_correct, bins == each, units) for each in range(num_bins)]
    return np.array([(np.nan, np.nan) if each is None else each for each in bounds])


def expected_calibration_error(predictions: Predictions, num_bins: int = NUM_BINS) -> float:
    """Mean over the predictions of |accuracy - confidence| of their bin, 0 to 1.

    It is biased upwards: positive even for a perfectly calibrated model, and the more so the fewer images there are.
    """
    bins = reliability(predictions, num_bins)
    gaps = np.abs(bins.accuracy - bins.confidence)
    return float(np.nansum(gaps * bins.n) / bins.n.sum())


def calibrated_range(
    predictions: Predictions, images: Int[np.ndarray, "m"], *, resamples: int, seed: int
) -> Interval:
    """Range of 95 % of the expected calibration errors of a perfectly calibrated model with these probabilities.

    In each resample an image is predicted correctly with probability equal to the confidence of its prediction. `images`
    numbers, from 0, the image of each prediction; predictions of one image share their random number.

    Reference: Bröcker and Smith, "Increasing the Reliability of Reliability Diagrams", 2007,
    https://doi.org/10.1175/WAF993.1 ("consistency resampling").
    """
    generator = np.random.default_rng(seed)
    confidence = predictions.probabilities.max(axis=1).astype(np.float64)
    bins = bin_numbers(predictions.probabilities)
    errors = []
    for _ in range(resamples):
        is_correct = generator.random(int(images.max()) + 1)[images] < confidence
        gaps = np.bincount(bins, is_correct - confidence, NUM_BINS)
        errors.append(np.abs(gaps).sum() / len(bins))
    low, high = np.quantile(errors, [0.025, 0.975])
    return float(low), float(high)


def brier_scores(predictions: Predictions) -> Float64[np.ndarray, "m"]:
    """Squared difference between probabilities and truth, summed over the classes: 0 (certain and correct) to 2 (certain and wrong).

    Reference: Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950.
    https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """
    probabilities = predictions.probabilities.astype(np.float64)
    of_truth = probabilities[np.arange(len(probabilities)), predictions.labels]
    return (probabilities**2).sum(axis=1) - of_truth**2 + (1 - of_truth) ** 2
