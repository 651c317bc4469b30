"""Scores of classes that are in order, such as grades: an answer one grade off is less wrong than one that is three off."""

import numpy as np
from jaxtyping import Float64, Int

from medjax.evaluation.bootstrap import draw_units, percentile_interval
from medjax.evaluation.score_records import OrdinalScores
from medjax.records import Predictions


def score_order(
    predictions: Predictions,
    num_classes: int,
    units: Int[np.ndarray, "m"],
    *,
    resamples: int,
    seed: int,
) -> OrdinalScores:
    """Quadratic-weighted kappa and mean absolute error of classes in the order of their numbers.

    The intervals are of a percentile bootstrap over `units`, which number the unit (image or group) of each prediction
    from 0; None with 0 `resamples`, or where a resample leaves a score undefined. Kappa is None where all labels and all
    answers are of one class.

    Reference: Cohen, "Weighted kappa: nominal scale agreement with provision for scaled disagreement or partial credit",
    1968, https://doi.org/10.1037/h0026256.
    """
    sums = _sums_by_unit(predictions, num_classes, units)
    kappa, error = (float(values[0]) for values in _measure(sums.sum(axis=1, keepdims=True)))
    draws = draw_units(sums.shape[1], resamples, np.random.default_rng(seed))
    drawn = [_measure(sums @ block) for block in draws]
    intervals = [percentile_interval(np.concatenate(values)) for values in zip(*drawn, strict=True)] or [
        None,
        None,
    ]
    return OrdinalScores(None if np.isnan(kappa) else kappa, intervals[0], error, intervals[1])


def _sums_by_unit(
    predictions: Predictions, num_classes: int, units: Int[np.ndarray, "m"]
) -> Float64[np.ndarray, "sum unit"]:
    """Of each unit: squared and absolute distances between label and answer, then labels and answers of each class."""
    labels, predicted = predictions.labels.astype(np.int64), predictions.probabilities.argmax(axis=1)
    distances = np.abs(labels - predicted)
    sums = np.zeros((2 + 2 * num_classes, int(units.max()) + 1))
    np.add.at(sums[0], units, distances**2)
    np.add.at(sums[1], units, distances)
    np.add.at(sums, (2 + labels, units), 1)
    np.add.at(sums, (2 + num_classes + predicted, units), 1)
    return sums


def _measure(
    sums: Float64[np.ndarray, "sum block"],
) -> tuple[Float64[np.ndarray, "block"], Float64[np.ndarray, "block"]]:
    """Kappa and mean absolute error; kappa is NaN where chance agrees always."""
    squared, absolute = sums[:2]
    actual, predicted = sums[2:].reshape(2, -1, sums.shape[1])
    classes = np.arange(len(actual))
    n = actual.sum(axis=0)
    by_chance = (actual * ((classes[:, None] - classes) ** 2 @ predicted)).sum(axis=0) / n
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa = 1 - squared / by_chance
    return np.where(by_chance > 0, kappa, np.nan), absolute / n
