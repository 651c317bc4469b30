"""Score trained folds: metrics.json and the rows of predictions.csv."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from medjax.config import CrossvalConfig, TrainConfig
from medjax.evaluation.label_scores import score_labels
from medjax.evaluation.label_thresholds import choose_thresholds
from medjax.evaluation.scores import score
from medjax.jobs.calibration import BEFORE, calibrate, describe_before
from medjax.jobs.fold_answers import Answers, ask_networks, average_predictions, predict_each
from medjax.jobs.from_config import Config, folds_of, kept_test, training_of
from medjax.jobs.label_thresholds import Thresholds, apply_thresholds, describe_thresholds
from medjax.jobs.operating_point import Point, choose_point, score_point
from medjax.jobs.prediction_sets import (
    Conformals,
    expected_range,
    merged_sets,
    score_run_sets,
    sets_of_folds,
)
from medjax.jobs.train_folds import TrainedFolds
from medjax.models.network import Variables
from medjax.records import Dataset, Predictions, Split, concatenate_predictions
from medjax.runs.directory import PredictedPart
from medjax.training.predict import predict

NO_FOLD = -1  # in predictions.csv: predicted by the networks of all folds together


class FoldScores(NamedTuple):
    """Scores and predictions of all folds."""

    metrics: dict[str, Any]  # metrics.json, but for the seconds
    parts: list[PredictedPart]  # rows of predictions.csv
    shown: Predictions | None  # the predictions that the figures show; None if a fold diverged
    folds: Int[np.ndarray, "m"]  # the fold whose network made each of them; empty where there are none
    before: Predictions | None  # the same before calibration; None without it
    conformals: Conformals  # what prediction sets are made of, by fold; empty without them


def score_folds(
    config: Config,
    dataset: Dataset,
    arrays: tuple[jax.Array, jax.Array],
    splits: Sequence[Split],
    trained: TrainedFolds,
) -> FoldScores:
    """Score every fold that did not diverge."""
    training = training_of(config)
    models = {
        fold: trained.variables(index, training)
        for index, fold in enumerate(folds_of(config))
        if not trained.state.diverged[index]
    }
    answers = ask_networks(config, dataset, arrays, splits, trained.learner, models)
    if isinstance(config, CrossvalConfig):
        return _score_crossval(dataset, arrays, splits, trained, models, config, answers)
    return _score_holdout(dataset, arrays, splits[0], trained, models[0], config, answers)


def _score_crossval(
    dataset: Dataset,
    arrays: tuple[jax.Array, jax.Array],
    splits: Sequence[Split],
    trained: TrainedFolds,
    models: Mapping[int, Variables],
    config: CrossvalConfig,
    answers: Answers,
) -> FoldScores:
    plain = {
        fold: predict(trained.learner, model, arrays, splits[fold].test) for fold, model in models.items()
    }
    predictions = {fold: calibrate(answers.calibrators, fold, each) for fold, each in plain.items()}
    thresholds = answers.thresholds
    predictions |= {fold: apply_thresholds(predictions[fold], each) for fold, each in thresholds.items()}
    metrics: dict[str, Any] = {
        **answers.describe(config, dataset),
        "folds": [
            {
                **_describe_fold(config, index, fold, trained, predictions.get(fold), dataset),
                **_describe_cuts(thresholds.get(fold), dataset),
            }
            for index, fold in enumerate(folds_of(config))
        ],
        "mean": None,  # withheld, as `pooled` is, where a fold diverged
        "pooled": None,
    }
    parts = _merge_repeats(config, predictions)
    if len(predictions) < len(folds_of(config)):
        return FoldScores(metrics, parts, None, np.zeros(0, np.int64), None, answers.conformals)
    shown = concatenate_predictions([part.predictions for part in parts])
    numbers = np.concatenate([part.folds for part in parts])
    metrics["mean"] = describe_mean(metrics["folds"])
    metrics["pooled"] = pooled = score_part(shown, dataset, "test", ordinal=config.training.ordinal)
    before, point = None, None
    if answers.calibrators:
        before = concatenate_predictions([part.predictions for part in _merge_repeats(config, plain)])
        pooled[BEFORE] = describe_before(before, dataset)
    if answers.conformals:
        sets = sets_of_folds(config, answers.conformals, shown, numbers)
        pooled["prediction_sets"] = score_run_sets(config, dataset, shown, sets)
    if config.training.positive is not None:
        metrics["operating_point"] = point = choose_point(config, dataset.class_names, shown, numbers)
        pooled["operating_point"] = score_point(point, dataset, shown, numbers)
    if config.keep_test:
        each = predict_each(trained.learner, models, arrays, kept_test(config, dataset), answers.calibrators)
        test, metrics["test"] = _score_together(dataset, each, config, answers, point)
        parts.append(PredictedPart("official_test", test, np.full(len(test.labels), NO_FOLD), 0))
    return FoldScores(metrics, parts, shown, numbers, before, answers.conformals)


def _score_together(
    dataset: Dataset,
    each: Mapping[int, Predictions],
    config: CrossvalConfig,
    answers: Answers,
    point: Point | None,
) -> tuple[Predictions, dict[str, Any]]:
    """The predictions of all networks together, from those of each, and their scores."""
    test = average_predictions(each)
    if answers.thresholds:
        test = apply_thresholds(test, np.mean([*answers.thresholds.values()], axis=0))
    scores = score_part(test, dataset, "test", ordinal=config.training.ordinal)
    if point is not None:
        scores["operating_point"] = score_point(point, dataset, test)
    if answers.conformals:
        sets = merged_sets(config, answers.conformals, each)
        scores["prediction_sets"] = score_run_sets(config, dataset, test, sets)
    return test, scores


def _score_holdout(
    dataset: Dataset,
    arrays: tuple[jax.Array, jax.Array],
    split: Split,
    trained: TrainedFolds,
    variables: Variables,
    config: TrainConfig,
    answers: Answers,
) -> FoldScores:
    plain = {
        part: predict(trained.learner, variables, arrays, getattr(split, part))
        for part in reversed(Split._fields)
    }
    predictions = {part: calibrate(answers.calibrators, 0, each) for part, each in plain.items()}
    thresholds = answers.thresholds.get(0)
    if thresholds is not None:
        predictions = {part: apply_thresholds(each, thresholds) for part, each in predictions.items()}
    metrics: dict[str, Any] = {
        part: score_part(predictions[part], dataset, part, ordinal=config.ordinal) for part in predictions
    }
    metrics |= {
        "training": _describe_training(0, trained, config),
        **_describe_cuts(thresholds, dataset),
        **answers.describe(config, dataset),
    }
    if answers.calibrators:
        metrics["test"][BEFORE] = describe_before(plain["test"], dataset)
    if answers.conformals:
        test = predictions["test"]
        sets = merged_sets(config, answers.conformals, {0: test})
        expected = expected_range(config, dataset, answers.conformals, len(test.labels))
        scores = score_run_sets(config, dataset, test, sets)
        metrics["test"]["prediction_sets"] = {**scores, "expected_range": expected}
    if config.positive is not None:
        point = choose_point(config, dataset.class_names, predictions["val"])
        metrics["operating_point"] = point
        for part in ("val", "test"):
            metrics[part]["operating_point"] = score_point(point, dataset, predictions[part])
    parts = [
        PredictedPart(part, predictions[part], np.zeros(len(predictions[part].labels), int), 0)
        for part in ("val", "test")
    ]
    before = plain["test"] if answers.calibrators else None
    return FoldScores(metrics, parts, predictions["test"], parts[-1].folds, before, answers.conformals)


def score_validation(
    config: Config,
    dataset: Dataset,
    arrays: tuple[jax.Array, jax.Array],
    split: Split,
    trained: TrainedFolds,
) -> tuple[dict[str, Any], list[PredictedPart]]:
    """metrics.json and rows of predictions.csv of the val part of a holdout, by which a configuration is chosen.

    Before any calibration, which would be fitted on the same part. Nothing is predicted of the test part.
    """
    training = training_of(config)
    predictions = predict(trained.learner, trained.variables(0, training), arrays, split.val)
    thresholds = choose_thresholds(predictions) if dataset.has_several_labels else None
    if thresholds is not None:
        predictions = apply_thresholds(predictions, thresholds)
    metrics = {
        "val": score_part(predictions, dataset, "val", ordinal=training.ordinal),
        "training": _describe_training(0, trained, training),
    }
    part = PredictedPart("val", predictions, np.zeros(len(predictions.labels), int), 0)
    return metrics, [part]


def _describe_cuts(thresholds: Thresholds | None, dataset: Dataset) -> dict[str, Any]:
    """The thresholds of several labels; nothing of one class an image."""
    if thresholds is None:
        return {}
    return {"thresholds": describe_thresholds(thresholds, dataset.class_names)}


def _describe_training(index: int, trained: TrainedFolds, config: TrainConfig) -> dict[str, Any]:
    best = int(trained.state.best.epoch[index])
    is_chosen = config.keep != "last" and best >= 0
    return {"epochs": int(trained.state.epoch[index]), "best_epoch": best if is_chosen else None}


def _describe_fold(
    config: CrossvalConfig,
    index: int,
    fold: int,
    trained: TrainedFolds,
    predictions: Predictions | None,
    dataset: Dataset,
) -> dict[str, Any]:
    names = ("n", "errors", "accuracy", "loss")
    scoring: Any = score_labels if dataset.has_several_labels else score
    scores = None if predictions is None else scoring(predictions, dataset.class_names, resamples=0)
    return {
        "fold": fold,
        "repeat": fold // config.folds,
        **{name: None if scores is None else getattr(scores, name) for name in names},
        **_describe_training(index, trained, config.training),
        "diverged": bool(trained.state.diverged[index]),
    }


def describe_mean(folds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and sample standard deviation over folds; None where undefined, as of a single fold's deviation."""
    mean: dict[str, Any] = {}
    for key in ("accuracy", "loss"):
        values = [fold[key] for fold in folds]
        is_defined = None not in values
        mean[key] = statistics.fmean(values) if is_defined else None
        mean[f"{key}_sd"] = statistics.stdev(values) if is_defined and len(values) > 1 else None
    return mean


def score_part(
    predictions: Predictions, dataset: Dataset, part: str, *, ordinal: bool = False
) -> dict[str, Any]:
    """The scores of predictions that may be of several folds and repeats.

    Groups of the data set are units of the intervals; `ordinal` says that the classes are in order. Only of images that
    nothing was learned or chosen by ("test") is there a bootstrap.
    """
    # In the order of the images, so that the mean loss is the same to the last bit however they were merged.
    ordered = predictions.take(np.argsort(predictions.indices, kind="stable"))
    groups = None if dataset.groups is None else dataset.groups[ordered.indices]
    options = {} if part == "test" else {"resamples": 0}
    if dataset.has_several_labels:
        return score_labels(ordered, dataset.class_names, groups=groups, **options).to_json()
    return score(ordered, dataset.class_names, groups=groups, ordinal=ordinal, **options).to_json()


def _merge_repeats(config: CrossvalConfig, predictions: dict[int, Predictions]) -> list[PredictedPart]:
    """Out-of-fold predictions of each repeat, in the order of the data set."""
    parts = []
    for repeat in range(config.repeats):
        folds = [fold for fold in predictions if fold // config.folds == repeat]
        if not folds:
            continue
        merged = concatenate_predictions([predictions[fold] for fold in folds])
        numbers = np.concatenate([np.full(len(predictions[fold].labels), fold) for fold in folds])
        order = np.argsort(merged.indices)
        parts.append(PredictedPart("test", merged.take(order), numbers[order], repeat))
    return parts
