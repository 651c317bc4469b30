"""Baselines of several labels an image, and how the network's mean area compares.

They are compared by the mean AUC over the labels: exact matches depend on thresholds, which the network chose on validation
images and the baselines have not.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from medjax.evaluation.auc import Area, area_interval, compare_areas, mean_area
from medjax.evaluation.baselines import (
    BaselinePredictions,
    Data,
    Fitted,
    Fold,
    Probabilities,
    find_nearest,
    have_differences,
    transform,
)
from medjax.evaluation.components import fit_components
from medjax.evaluation.label_areas import label_areas
from medjax.evaluation.logistic import fit_best_regression
from medjax.records import EVEN_THRESHOLD, UNKNOWN, LabelMatrix, Predictions


def score_label_baselines(
    baselines: Mapping[str, BaselinePredictions],
    predictions: Predictions,
    groups: Int[np.ndarray, "m"] | None,
) -> dict[str, Any] | None:
    """Score baselines beside the network that made `predictions` of the same images, as JSON values for metrics.json.

    Keys: models (by name: n, auc (macro average), auc_ci95 (None if all images get the same answer)), best (name of the
    largest area), gain_over_best_baseline (n, measure "auc", unit, and difference (network minus baseline), ci95 and p of
    `compare_areas`). None where no label is known to be there of some images and known to be absent of others. `groups` are
    numbered from 0.
    """
    own = _mean_area(predictions, groups)
    answers = {name: np.asarray(each.probabilities) for name, each in baselines.items()}
    areas = {
        name: _mean_area(predictions._replace(probabilities=each), groups) for name, each in answers.items()
    }
    known = {name: area for name, area in areas.items() if area is not None}
    if own is None or not known:
        return None
    best = max(known, key=lambda name: known[name].value)
    n = len(predictions.labels)
    models = {
        name: {
            "n": n,
            "auc": area.value,
            "auc_ci95": area_interval(area, groups) if _ranks(answers[name]) else None,
        }
        for name, area in known.items()
    }
    unit = "image" if groups is None else "group"
    gain = {"n": n, "measure": "auc", "unit": unit, **compare_areas(own, known[best], groups)}
    return {"models": models, "best": best, "gain_over_best_baseline": gain}


def _ranks(probabilities: Probabilities) -> bool:
    """Whether they tell any image from another; else the area is 0.5 whatever the images, without an interval."""
    return bool(np.ptp(probabilities, axis=0).any())


def _mean_area(predictions: Predictions, groups: Int[np.ndarray, "m"] | None) -> Area | None:
    return mean_area([area for area in label_areas(predictions, groups) if area is not None])


def _shares(labels: LabelMatrix) -> Float64[np.ndarray, "label"]:
    """The share of the images with each label, among those of which it is known; 0 where it is known of none."""
    return (labels == 1).sum(axis=0) / np.maximum((labels != UNKNOWN).sum(axis=0), 1)


def _decided(probabilities: Probabilities) -> Fitted:
    return (probabilities >= EVEN_THRESHOLD).astype(np.int64), probabilities


def _frequency(data: Data, folds: Sequence[Fold]) -> Iterator[Fitted]:
    """How often each label is there, whatever the image."""
    for train, test in folds:
        yield _decided(np.tile(_shares(data.labels[train]), (len(test), 1)))


def _nearest_neighbour(data: Data, folds: Sequence[Fold]) -> Iterator[Fitted]:
    """The labels of the nearest training image, by Euclidean distance; how often a label is there where it is not known."""
    for (train, _), nearest in zip(folds, find_nearest(data, folds), strict=True):
        labels = data.labels[nearest]
        yield _decided(np.where(labels == UNKNOWN, _shares(data.labels[train]), labels))


def _logistic_regression(data: Data, folds: Sequence[Fold]) -> Iterator[Fitted]:
    """The baseline of one class an image for each label alone, on the training images of which it is known.

    All share the components. A label that is everywhere or nowhere gets its share.
    """
    can_learn = [have_differences(data.pixels, train) for train, _ in folds]
    learnt = fit_components(
        data.pixels, [train for (train, _), can in zip(folds, can_learn, strict=True) if can], data.workers
    )
    for (train, test), can in zip(folds, can_learn, strict=True):
        probabilities = np.tile(_shares(data.labels[train]), (len(test), 1))
        if can:
            components = next(learnt)
            of_train, of_test = (transform(data, components, rows) for rows in (train, test))
            for label, values in enumerate(data.labels[train].T):
                known = np.flatnonzero(values != UNKNOWN)
                if len(np.unique(values[known])) == 2:
                    regression = fit_best_regression(of_train[known], values[known], data.workers)
                    probabilities[:, label] = regression.predict(of_test, 2)[:, 1]
        yield _decided(probabilities)


LABEL_BASELINES = {
    "frequency": _frequency,
    "nearest_neighbour": _nearest_neighbour,
    "logistic_regression": _logistic_regression,
}
"""`medjax.evaluation.baselines.BASELINES` of several labels an image."""
