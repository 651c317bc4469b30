"""What the networks of the folds answer to images that nothing is scored on, and what is made of their answers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from medjax.evaluation.label_thresholds import choose_thresholds
from medjax.jobs.calibration import Calibrators, calibrate, describe_calibrators, fit_calibrators, losses_of
from medjax.jobs.from_config import Config, training_of
from medjax.jobs.label_thresholds import Thresholds
from medjax.jobs.prediction_sets import Conformals, describe_sets, fit_run_sets, set_parts
from medjax.models.network import Variables
from medjax.records import Dataset, Indices, Predictions, Split
from medjax.training.learner import Learner
from medjax.training.predict import predict

Arrays = tuple[Any, Any]  # images and labels


class Answers(NamedTuple):
    """For each fold what its network's answers to validation and conformal images settle."""

    calibrators: Calibrators
    thresholds: Mapping[int, Thresholds]  # of several labels an image
    conformals: Conformals
    validation: Mapping[int, Predictions]  # not calibrated; only of folds whose val part is asked

    def describe(self, config: Config, dataset: Dataset) -> dict[str, Any]:
        """The blocks of metrics.json that say so; none of what was not asked for."""
        blocks: dict[str, Any] = {}
        if self.calibrators:
            blocks["calibrators"] = describe_calibrators(self.calibrators, self.validation)
        if self.conformals:
            blocks["prediction_sets"] = describe_sets(config, self.conformals, dataset.num_classes)
        return blocks


def ask_networks(
    config: Config,
    dataset: Dataset,
    arrays: tuple[jax.Array, jax.Array],
    splits: Sequence[Split],
    learner: Learner,
    models: Mapping[int, Variables],
) -> Answers:
    """Ask the network of each fold for what the configuration wants; probabilities are calibrated before all else."""
    is_asked = training_of(config).calibrate is not None or dataset.has_several_labels
    validation = {
        fold: predict(learner, model, arrays, splits[fold].val)
        for fold, model in (models if is_asked else {}).items()
    }
    calibrators = fit_calibrators(config, validation)
    thresholds = {
        fold: choose_thresholds(calibrate(calibrators, fold, each))
        for fold, each in (validation if dataset.has_several_labels else {}).items()
    }
    conformal = {
        fold: calibrate(calibrators, fold, predict(learner, models[fold], arrays, part))
        for fold, part in set_parts(config, dataset, splits).items()
        if fold in models
    }
    return Answers(calibrators, thresholds, fit_run_sets(config, dataset, conformal), validation)


def predict_each(
    learner: Learner,
    models: Mapping[int, Variables],
    arrays: Arrays,
    indices: Indices,
    calibrators: Calibrators,
) -> dict[int, Predictions]:
    """The calibrated predictions of the network of each fold."""
    return {
        fold: calibrate(calibrators, fold, predict(learner, variables, arrays, indices))
        for fold, variables in models.items()
    }


def average_predictions(each: Mapping[int, Predictions]) -> Predictions:
    """Predictions by the mean of several networks' probabilities, of the same images."""
    first = next(iter(each.values()))
    probabilities = np.stack([predictions.probabilities for predictions in each.values()]).mean(axis=0)
    return Predictions(first.indices, first.labels, probabilities, losses_of(probabilities, first.labels))
