"""Percentile bootstrap of the metrics without an interval formula, over images or over groups of images.

No array is resampled. A resample is represented by how often it contains each unit, and every metric is computed from
sums weighted by these counts, so that a thousand resamples take a few sparse matrix products.

References:
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 (units of several observations) and 13
    (percentile intervals). https://doi.org/10.1201/9780429246593.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy.sparse import csr_array

from medjax.evaluation.calibration import brier_scores
from medjax.evaluation.intervals import Interval
from medjax.records import Predictions

METRICS = ("balanced_accuracy", "macro_f1", "average_precision", "loss", "brier")
"""Metrics that get an interval. The expected calibration error does not: it is biased upwards, a resample adds the same
bias again, and the interval of a calibrated model would miss the truth (400 of 400 simulated ones did)."""
_BLOCK = 50  # resamples computed at a time: 24 MB at 60,000 images


class Ranking(NamedTuple):
    """Predictions ranked by the probability of one class, in steps from the highest, as counts [step, unit]."""

    members: csr_array  # predictions of images of this class
    others: csr_array  # all other predictions


def bootstrap_intervals(
    predictions: Predictions,
    num_classes: int,
    units: Int[np.ndarray, "m"],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Interval | None]:
    """95 % percentile intervals of the metrics in `METRICS`.

    `units` numbers, from 0, the unit (image or group) of each prediction; a unit is drawn with all of its predictions. An
    interval is None if the metric is undefined in a resample, for instance because no image of a rare class was drawn.
    """
    num_units = int(units.max()) + 1
    sums = _sums_by_unit(predictions, num_classes, units)
    rankings = [_rank(predictions, label, units) for label in range(num_classes)]
    present = np.bincount(predictions.labels, minlength=num_classes) > 0
    blocks = [
        _metrics_of(sums @ draws, num_classes, present)
        | {"average_precision": _precision_of(rankings, draws)}
        for draws in draw_units(num_units, resamples, np.random.default_rng(seed))
    ]
    return {name: percentile_interval(np.concatenate([block[name] for block in blocks])) for name in METRICS}


def percentile_interval(values: Float64[np.ndarray, "resample"]) -> Interval | None:
    """The 95 % interval of a score from its values in all resamples; None if one of them is undefined."""
    if not np.isfinite(values).all():
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def resample_sensitivity(
    predictions: Predictions,
    classes: Sequence[int],
    units: Int[np.ndarray, "m"],
    *,
    specificities: Float64[np.ndarray, "specificity"],
    resamples: int,
    seed: int,
) -> tuple[Float64[np.ndarray, "specificity"], Float64[np.ndarray, "specificity {resamples}"]]:
    """The mean sensitivity of `classes`, each at the threshold where its specificity is at least so much: the values, and those
    of each resample; NaN where a class has no image, or all.

    With the same units, resamples and seed the same units are drawn, so that the difference of two models' sensitivities,
    resample by resample, is a paired bootstrap.
    """
    rankings = [_rank(predictions, label, units) for label in classes]
    num_units = int(units.max()) + 1
    draws = draw_units(num_units, resamples, np.random.default_rng(seed))
    drawn = [_sensitivity_of(rankings, block, specificities) for block in draws]
    values = _sensitivity_of(rankings, np.ones((num_units, 1)), specificities)
    return values[:, 0], np.concatenate(drawn, axis=1)


def draw_units(
    num_units: int, resamples: int, generator: np.random.Generator
) -> Iterator[Float64[np.ndarray, "unit block"]]:
    """How often each of the units, numbered from 0, occurs in each resample, a block of resamples at a time."""
    for first in range(0, resamples, _BLOCK):
        counts = [
            np.bincount(generator.integers(num_units, size=num_units), minlength=num_units)
            for _ in range(min(_BLOCK, resamples - first))
        ]
        yield np.ascontiguousarray(np.array(counts, np.float64).T)


def _sums_by_unit(predictions: Predictions, num_classes: int, units: Int[np.ndarray, "m"]) -> csr_array:
    """Sums over the predictions of each unit, [sum, unit], in the order of rows that `_metrics_of` reads."""
    labels, predicted = predictions.labels, predictions.probabilities.argmax(axis=1)
    is_correct = labels == predicted
    ones, zeros = np.ones(len(labels)), np.zeros(len(labels), int)
    entries = [  # row of each prediction, and the value added there
        (labels, is_correct),
        (num_classes + labels, ones),
        (2 * num_classes + predicted, ones),
        (3 * num_classes + zeros, predictions.losses),
        (3 * num_classes + 1 + zeros, brier_scores(predictions)),
    ]
    rows = np.concatenate([row for row, _ in entries])
    values = np.concatenate([value for _, value in entries]).astype(np.float64)
    shape = (3 * num_classes + 2, int(units.max()) + 1)
    return csr_array((values, (rows, np.tile(units, len(entries)))), shape=shape)


def _metrics_of(
    sums: Float64[np.ndarray, "sum block"], num_classes: int, present: Bool[np.ndarray, "class"]
) -> dict[str, Float64[np.ndarray, "block"]]:
    """The metrics of each resample that are functions of sums over its predictions."""
    correct, actual, predicted = sums[: 3 * num_classes].reshape(3, num_classes, -1)
    loss, brier = sums[3 * num_classes :]
    n = actual.sum(axis=0)
    occurs = present | (predicted.sum(axis=1) > 0)
    with np.errstate(invalid="ignore"):
        return {
            "balanced_accuracy": (correct / actual)[present].mean(axis=0),
            "macro_f1": (2 * correct / (actual + predicted))[occurs].mean(axis=0),
            "loss": loss / n,
            "brier": brier / n,
        }


def _rank(predictions: Predictions, label: int, units: Int[np.ndarray, "m"]) -> Ranking:
    is_member, num_units = predictions.labels == label, int(units.max()) + 1
    return rank_members(is_member, predictions.probabilities[:, label], units, num_units)


def rank_members(
    is_member: Bool[np.ndarray, "m"],
    probabilities: Float[np.ndarray, "m"],
    units: Int[np.ndarray, "m"],
    num_units: int,
) -> Ranking:
    """Rank by probability, ties in one step; adjacent steps whose merging changes no average precision are merged."""
    order = np.argsort(-probabilities, kind="stable")
    probabilities, is_member = probabilities[order], is_member[order]
    level = np.cumsum(np.diff(probabilities, prepend=probabilities[0]) != 0)
    has_member, has_other = np.bincount(level, is_member) > 0, np.bincount(level, ~is_member) > 0
    # Members ranked before all others have a precision of 1, and a run of others adds no true positive.
    is_needed = np.logical_or.accumulate(has_other)[1:] & (has_member[1:] | has_member[:-1])
    step = np.concatenate([[0], np.cumsum(is_needed)])[level]
    shape = (int(step[-1]) + 1, num_units)
    members, others = (
        csr_array((np.ones(mask.sum()), (step[mask], units[order][mask])), shape=shape)
        for mask in (is_member, ~is_member)
    )
    return Ranking(members, others)


def _precision_of(
    rankings: list[Ranking], draws: Float64[np.ndarray, "unit block"]
) -> Float64[np.ndarray, "block"]:
    """The macro-averaged average precision of each resample."""
    return np.mean(precisions_of(rankings, draws), axis=0)


def precisions_of(
    rankings: list[Ranking], draws: Float64[np.ndarray, "unit block"]
) -> list[Float64[np.ndarray, "block"]]:
    """The average precision of each ranking, in each resample."""
    precisions = []
    for members, others in rankings:
        positives, negatives = members @ draws, others @ draws
        true_positives, false_positives = positives.cumsum(axis=0), negatives.cumsum(axis=0)
        precision = true_positives / np.maximum(true_positives + false_positives, 1)
        with np.errstate(invalid="ignore"):
            precisions.append((positives * precision).sum(axis=0) / true_positives[-1])
    return precisions


def _sensitivity_of(
    rankings: list[Ranking],
    draws: Float64[np.ndarray, "unit block"],
    specificities: Float64[np.ndarray, "specificity"],
) -> Float64[np.ndarray, "specificity block"]:
    """The mean sensitivity over the rankings at each specificity, in each resample."""
    found = np.zeros((len(specificities), draws.shape[1]))
    for members, others in rankings:
        true_positives, false_positives = ((each @ draws).cumsum(axis=0) for each in (members, others))
        for column, (true, false) in enumerate(zip(true_positives.T, false_positives.T, strict=True)):
            # Counts of whole predictions: less than one of them is rounding.
            steps = np.searchsorted(false, (1 - specificities) * false[-1] + 1e-6)
            is_defined = true[-1] > 0 and false[-1] > 0
            found[:, column] += np.append(0, true)[steps] / true[-1] if is_defined else np.nan
    return found / len(rankings)
