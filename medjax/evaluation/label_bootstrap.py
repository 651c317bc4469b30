"""Bootstrap intervals of the scores of several labels, over images or over groups of images (see `bootstrap`)."""

import warnings

import numpy as np
from jaxtyping import Bool, Float64, Int

from medjax.evaluation.bootstrap import draw_units, percentile_interval, precisions_of, rank_members
from medjax.evaluation.label_records import LabelIntervals
from medjax.evaluation.scores import FEWEST_UNITS
from medjax.records import Predictions


def bootstrap_labels(
    predictions: Predictions, units: Int[np.ndarray, "m"], *, resamples: int, seed: int
) -> LabelIntervals:
    """The intervals; `units` numbers, from 0, the unit (image or group) of each prediction.

    A label gets one of its average precision if at least 30 units have it, and 30 do not; their mean, if all its labels do.
    """
    is_known, is_positive = predictions.labels >= 0, predictions.labels == 1
    num_units, num_labels = int(units.max()) + 1, is_known.shape[1]
    has_both = is_positive.any(axis=0) & (is_known & ~is_positive).any(axis=0)
    ranked = np.flatnonzero(has_both)
    rankings = [
        rank_members(
            is_positive[known, label], predictions.probabilities[known, label], units[known], num_units
        )
        for label, known in zip(ranked.tolist(), is_known.T[ranked], strict=True)
    ]
    sums = _sums_by_unit(predictions, units, num_units)
    precisions = np.full((num_labels, resamples), np.nan)
    blocks, done = [], 0
    for draws in draw_units(num_units, resamples, np.random.default_rng(seed)):
        blocks.append(_rates_of(sums @ draws, sums.sum(axis=1)))
        if len(ranked):
            precisions[ranked, done : done + draws.shape[1]] = precisions_of(rankings, draws)
        done += draws.shape[1]
    macro = {
        name: percentile_interval(np.concatenate([block[name] for block in blocks])) for name in blocks[0]
    }
    trusted = [_has_enough(units, is_known[:, label], is_positive[:, label]) for label in range(num_labels)]
    is_mean_trusted = len(ranked) > 0 and all(trusted[label] for label in ranked)
    means = precisions[ranked].mean(axis=0) if is_mean_trusted else None
    macro["average_precision"] = None if means is None else percentile_interval(means)
    each = [
        percentile_interval(values) if is_trusted else None
        for values, is_trusted in zip(precisions, trusted, strict=True)
    ]
    return LabelIntervals(macro, each)


def _has_enough(
    units: Int[np.ndarray, "m"], is_known: Bool[np.ndarray, "m"], is_positive: Bool[np.ndarray, "m"]
) -> bool:
    kinds = is_positive, is_known & ~is_positive
    return min(len(np.unique(units[kind])) for kind in kinds) >= FEWEST_UNITS


def _sums_by_unit(
    predictions: Predictions, units: Int[np.ndarray, "m"], num_units: int
) -> Float64[np.ndarray, "sum unit"]:
    """Of each unit: predictions and their losses; of each label right positives, positives, those predicted, and known ones."""
    is_known, is_positive = predictions.labels >= 0, predictions.labels == 1
    is_predicted = predictions.decisions & is_known
    counts = [is_positive & is_predicted, is_positive, is_predicted, is_known]
    values = np.hstack([np.ones((len(units), 1)), predictions.losses[:, None], *counts]).astype(np.float64)
    order = np.argsort(units, kind="stable")
    starts = np.searchsorted(units[order], np.arange(num_units))
    return np.ascontiguousarray(np.add.reduceat(values[order], starts, axis=0).T)


def _rates_of(
    sums: Float64[np.ndarray, "sum block"], whole: Float64[np.ndarray, "sum"]
) -> dict[str, Float64[np.ndarray, "block"]]:
    """The scores of each resample that are functions of sums over its predictions; `whole` are those over all of them."""
    n, loss = sums[:2]
    right, positive, predicted, known = sums[2:].reshape(4, -1, sums.shape[1])
    # Labels that have no such images at all are in no mean.
    _, all_positive, all_predicted, all_known = whole[2:].reshape(4, -1)
    has_positive, has_negative = all_positive > 0, all_known > all_positive
    occurs = (all_positive + all_predicted) > 0
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of means over no label
        sensitivity = (right / positive)[has_positive].mean(axis=0)
        specificity = (1 - (predicted - right) / (known - positive))[has_negative].mean(axis=0)
        f1 = (2 * right / (positive + predicted))[occurs].mean(axis=0)
    return {"balanced_accuracy": (sensitivity + specificity) / 2, "macro_f1": f1, "loss": loss / n}
