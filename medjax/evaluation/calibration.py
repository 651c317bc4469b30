"""Whether images that a model is 80 % sure of are right 80 times in 100.

References:
    Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017.
    https://arxiv.org/abs/1706.04599.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from medjax.evaluation.intervals import Interval
from medjax.records import Predictions, Probabilities

NUM_BINS = 15
"""Bins of equal width on the probability of the predicted class, as in the reference."""
BINNING = "equal width on the top probability"
"""What the bins are, in words."""


class Reliability(NamedTuple):
    """Images by how sure the model was, from the least sure bin; NaN where a bin is empty."""

    edges: Float64[np.ndarray, "bins+1"]  # of top probability; a bin holds its upper edge
    n: Int[np.ndarray, "bins"]  # predictions in the bin
    confidence: Float64[np.ndarray, "bins"]  # their mean top probability
    accuracy: Float64[np.ndarray, "bins"]  # share of them that are right


def bin_numbers(probabilities: Probabilities, num_bins: int = NUM_BINS) -> Int[np.ndarray, "m"]:
    """The bin of each prediction, from 0, by its top probability."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    return np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)


def reliability(predictions: Predictions, num_bins: int = NUM_BINS) -> Reliability:
    """What a reliability diagram shows."""
    bins = bin_numbers(predictions.probabilities, num_bins)
    is_right = predictions.probabilities.argmax(axis=1) == predictions.labels
    count = np.bincount(bins, minlength=num_bins)
    sure = np.bincount(bins, predictions.probabilities.max(axis=1).astype(np.float64), num_bins)
    right = np.bincount(bins, is_right, num_bins)
    with np.errstate(invalid="ignore"):
        return Reliability(np.linspace(0, 1, num_bins + 1), count, sure / count, right / count)


def expected_calibration_error(predictions: Predictions, num_bins: int = NUM_BINS) -> float:
    """Mean over predictions of |accuracy - confidence| of their bin, 0 to 1.

    It is never negative, so it is above 0 for a perfectly calibrated model too, the more so the fewer images.
    """
    bins = reliability(predictions, num_bins)
    gaps = np.abs(bins.accuracy - bins.confidence)
    return float(np.nansum(gaps * bins.n) / bins.n.sum())


def calibrated_range(
    predictions: Predictions, images: Int[np.ndarray, "m"], *, resamples: int, seed: int
) -> Interval:
    """Where the calibration error would lie, 95 times in 100, were these probabilities perfectly calibrated.

    Each time every image is right with the top probability of its prediction. `images` numbers, from 0, the image of
    each prediction; several of one are right together.

    Reference: Bröcker and Smith, "Increasing the Reliability of Reliability Diagrams", 2007,
    https://doi.org/10.1175/WAF993.1 ("consistency resampling").
    """
    generator = np.random.default_rng(seed)
    confidence = predictions.probabilities.max(axis=1).astype(np.float64)
    bins = bin_numbers(predictions.probabilities)
    errors = []
    for _ in range(resamples):
        is_right = generator.random(int(images.max()) + 1)[images] < confidence
        gaps = np.bincount(bins, is_right - confidence, NUM_BINS)
        errors.append(np.abs(gaps).sum() / len(bins))
    low, high = np.quantile(errors, [0.025, 0.975])
    return float(low), float(high)


def brier_scores(predictions: Predictions) -> Float64[np.ndarray, "m"]:
    """Squared distance of each prediction from the truth, summed over all classes: 0 (sure and right) to 2 (sure and wrong).

    Reference: Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950.
    https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """
    probabilities = predictions.probabilities.astype(np.float64)
    of_truth = probabilities[np.arange(len(probabilities)), predictions.labels]
    return (probabilities**2).sum(axis=1) - of_truth**2 + (1 - of_truth) ** 2
