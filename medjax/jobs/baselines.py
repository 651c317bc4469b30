"""Baselines on the splits of a run: the block `baselines` of metrics.json."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from medjax.config import CrossvalConfig
from medjax.evaluation.baselines import (
    BASELINES,
    BaselinePredictions,
    average_pixels,
    averaging_factor,
    predict_folds,
    score_baselines,
)
from medjax.evaluation.worker_threads import worker_threads
from medjax.jobs.from_config import Config, folds_of
from medjax.progress import Display
from medjax.records import Dataset, Split
from medjax.runs.directory import PredictedPart


class Baselines(NamedTuple):
    """Scores of the baselines, and the seconds that each took."""

    metrics: dict[str, Any]
    seconds: dict[str, float]  # by name of the baseline, all folds together


def fit_baselines(
    config: Config,
    dataset: Dataset,
    splits: Sequence[Split],
    parts: Sequence[PredictedPart],
    display: Display,
) -> Baselines:
    """Fit each baseline on the training images of a run, and score it on the same images as the run.

    Of `parts`, what the run predicted, those are the first test part: of a cross-validation the out-of-fold images of
    one repeat, each fold with baselines of its own.
    """
    scored = next(part for part in parts if part.split == "test")
    folds = _folds_of_repeat(config, scored.repeat)
    shape = dataset.images.shape[1:]
    factor = averaging_factor(shape, sum(len(splits[fold].train) * len(splits[fold].test) for fold in folds))
    # As they are, they take a quarter of the memory.
    averaged = dataset.images if factor == 1 else average_pixels(dataset.images, factor)
    pixels = averaged.reshape(len(averaged), -1)
    num_classes = len(dataset.class_names)
    divided = [(splits[fold].train, splits[fold].test) for fold in folds]
    predicted: dict[str, BaselinePredictions] = {}
    # In the order of the images, as the predictions of all folds are.
    order = np.argsort(np.concatenate([test for _, test in divided]), kind="stable")
    total = len(BASELINES) * len(folds)
    with worker_threads() as workers:
        for number, name in enumerate(BASELINES):
            each: list[BaselinePredictions] = []
            fits = predict_folds(name, pixels, dataset.labels, divided, num_classes, workers)
            display.advance(number * len(folds), total, name.replace("_", " "))
            for fit in fits:
                each.append(fit)
                display.advance(number * len(folds) + len(each), total, name.replace("_", " "))
            predicted[name] = _merge(each, order)
    indices = scored.predictions.indices
    groups = None if dataset.groups is None else np.unique(dataset.groups[indices], return_inverse=True)[1]
    block = {
        "part": "out of fold" if isinstance(config, CrossvalConfig) else "test",
        "image_shape": list(averaged.shape[1:]),
        **score_baselines(predicted, scored.predictions, groups),
    }
    return Baselines(block, {name: each.seconds for name, each in predicted.items()})


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
