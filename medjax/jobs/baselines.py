"""Baselines on the splits of a run: the block `baselines` of metrics.json."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from medjax.config import CrossvalConfig
from medjax.evaluation.baselines import (
    BASELINES,
    BaselinePredictions,
    Data,
    average_pixels,
    averaging_factor,
    predict_folds,
    score_baselines,
)
from medjax.evaluation.label_baselines import LABEL_BASELINES, score_label_baselines
from medjax.evaluation.worker_threads import worker_threads
from medjax.jobs.from_config import Config, folds_of
from medjax.records import Dataset, Predictions, Split
from medjax.runs.directory import PredictedPart

Tell = Callable[[int, int, str], None]  # fits that are done, of how many, and of what


class Baselines(NamedTuple):
    """Predictions of the baselines, fitted on the training images of a run, of its test images in their order."""

    predicted: dict[str, BaselinePredictions]
    image_shape: list[int]  # of the images as the baselines saw them

    @property
    def seconds(self) -> dict[str, float]:
        """What each took, all folds together."""
        return {name: each.seconds for name, each in self.predicted.items()}


def fit_baselines(
    config: Config, dataset: Dataset, splits: Sequence[Split], repeat: int, tell: Tell
) -> Baselines:
    """Fit each baseline; of a cross-validation for the folds of one repeat, each fold with baselines of its own."""
    folds = _folds_of_repeat(config, repeat)
    shape = dataset.images.shape[1:]
    factor = averaging_factor(shape, sum(len(splits[fold].train) * len(splits[fold].test) for fold in folds))
    # As they are, they take a quarter of the memory.
    averaged = dataset.images if factor == 1 else average_pixels(dataset.images, factor)
    pixels = averaged.reshape(len(averaged), -1)
    divided = [(splits[fold].train, splits[fold].test) for fold in folds]
    predicted: dict[str, BaselinePredictions] = {}
    # In the order of the images, as the predictions of all folds are.
    order = np.argsort(np.concatenate([test for _, test in divided]), kind="stable")
    baselines = LABEL_BASELINES if dataset.has_several_labels else BASELINES
    total = len(baselines) * len(folds)
    with worker_threads() as workers:
        data = Data(pixels, dataset.labels, len(dataset.class_names), workers)
        for number, (name, baseline) in enumerate(baselines.items()):
            each: list[BaselinePredictions] = []
            fits = predict_folds(baseline, data, divided)
            tell(number * len(folds), total, name.replace("_", " "))
            for fit in fits:
                each.append(fit)
                tell(number * len(folds) + len(each), total, name.replace("_", " "))
            predicted[name] = _merge(each, order)
    return Baselines(predicted, list(averaged.shape[1:]))


def first_repeat(config: Config) -> int:
    """The repeat that baselines are fitted for, unless a fold of it diverges; 0 without repeats."""
    return folds_of(config)[0] // config.folds if isinstance(config, CrossvalConfig) else 0


def find_scored(parts: Sequence[PredictedPart]) -> PredictedPart:
    """Of what a run predicted, the part that baselines are compared on: the first test part."""
    return next(part for part in parts if part.split == "test")


def compare_baselines(
    config: Config, dataset: Dataset, baselines: Baselines, scored: Predictions
) -> dict[str, Any] | None:
    """The block of metrics.json: scores of the baselines beside the run's own on the same images.

    None where several labels an image leave nothing to compare: see `score_label_baselines`.
    """
    groups = None
    if dataset.groups is not None:
        groups = np.unique(dataset.groups[scored.indices], return_inverse=True)[1]
    scores: dict[str, Any] | None
    if dataset.has_several_labels:
        scores = score_label_baselines(baselines.predicted, scored, groups)
    else:
        scores = score_baselines(baselines.predicted, scored, groups)
    if scores is None:
        return None
    part = "out of fold" if isinstance(config, CrossvalConfig) else "test"
    return {"part": part, "image_shape": baselines.image_shape, **scores}


def _folds_of_repeat(config: Config, repeat: int) -> list[int]:
    if not isinstance(config, CrossvalConfig):
        return [0]
    return [fold for fold in folds_of(config) if fold // config.folds == repeat]


def _merge(folds: Sequence[BaselinePredictions], order: np.ndarray) -> BaselinePredictions:
    """The predictions of all folds, in the order of the images."""
    probabilities = [fold.probabilities for fold in folds if fold.probabilities is not None]
    return BaselinePredictions(
        np.concatenate([fold.predicted for fold in folds])[order],
        np.concatenate(probabilities)[order] if probabilities else None,
        sum(fold.seconds for fold in folds),
    )
