"""The thresholds of a run of several labels: chosen on validation images, kept in metrics.json, applied ever after."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from medjax.errors import refuse
from medjax.records import Predictions

Thresholds = Float32[np.ndarray, "label"]


def apply_thresholds(predictions: Predictions, thresholds: Thresholds) -> Predictions:
    """The predictions, decided by these thresholds."""
    shape = predictions.probabilities.shape
    return predictions._replace(thresholds=np.ascontiguousarray(np.broadcast_to(thresholds, shape)))


def describe_thresholds(thresholds: Thresholds, class_names: Sequence[str]) -> dict[str, float]:
    """As metrics.json holds them, by label."""
    return dict(zip(class_names, map(float, thresholds), strict=True))


def recorded_thresholds(
    metrics: Mapping[str, Any], class_names: Sequence[str], folds: Sequence[int], path: str
) -> Thresholds:
    """The thresholds in the metrics.json of a run, at `path`; of several folds their mean. RefusedError where it lacks any."""
    scored = {fold["fold"]: fold for fold in metrics.get("folds", [])}
    found = [(scored.get(fold, {}) if scored else metrics).get("thresholds") or {} for fold in folds]
    if any({*each} != {*class_names} for each in found):
        raise refuse(path, "has no threshold for each label", "restore it from a copy, or train again")
    return np.array([[each[name] for name in class_names] for each in found], np.float32).mean(axis=0)
