"""The calibration of a run: maps of probabilities, fitted on validation images, kept in metrics.json and applied ever after."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import refuse
from medjax.evaluation.calibration import brier_scores, expected_calibration_error
from medjax.evaluation.calibration_tests import assess_calibration
from medjax.evaluation.calibrators import (
    Calibrator,
    Isotonic,
    LabelTemperatures,
    Temperature,
    Vector,
    fewest_images,
    fit_calibrator,
)
from medjax.evaluation.label_scores import binary_losses
from medjax.evaluation.score_records import as_plain
from medjax.evaluation.units import make_units
from medjax.jobs.from_config import Config, folds_of, training_of
from medjax.records import Dataset, Predictions, Probabilities, Split
from medjax.runs.schema import RESTORE

Calibrators = Mapping[int, Calibrator]
"""The map of each fold's network; empty where nothing is calibrated."""
BEFORE = "before_calibration"
"""Block of the scores of a part: what its probabilities were worth before calibration (see `describe_before`)."""


def require_calibration(config: Config, dataset: Dataset, splits: Sequence[Split]) -> None:
    """RefusedError before training where `calibrate` cannot be done with these labels, or with so few validation images."""
    method = training_of(config).calibrate
    if method is None:
        return
    if dataset.has_several_labels and method != "temperature":
        reason = f"{method} is of one class an image, and {dataset.name} has several labels an image"
        raise refuse("--calibrate", reason, "give temperature: one for each label")
    n, wanted = (
        min(len(splits[fold].val) for fold in folds_of(config)),
        fewest_images(method, dataset.num_classes),
    )
    if n < wanted:
        fewer = "leave it out" if method == "temperature" else "take --calibrate temperature"
        raise refuse(
            "--calibrate",
            f"{method} wants {wanted:,} validation images, and there {'is' if n == 1 else 'are'} {n:,}",
            f"give more images to the val part (--fractions), or {fewer}",
        )


def fit_calibrators(config: Config, validation: Mapping[int, Predictions]) -> dict[int, Calibrator]:
    """The map of each fold, from the predictions of its validation part; none unless the configuration asks for them."""
    method = training_of(config).calibrate
    if method is None:
        return {}
    return {fold: fit_calibrator(method, predictions) for fold, predictions in validation.items()}


def calibrate(calibrators: Calibrators, fold: int, predictions: Predictions) -> Predictions:
    """The predictions of a fold's network with calibrated probabilities, and the losses that follow from them."""
    if fold not in calibrators:
        return predictions
    probabilities = calibrators[fold].apply(predictions.probabilities)
    return predictions._replace(
        probabilities=probabilities, losses=losses_of(probabilities, predictions.labels)
    )


def losses_of(probabilities: Probabilities, labels: Any) -> Any:
    """The cross-entropy of each image, in nats; None without labels."""
    if labels is None:
        return None
    if np.ndim(labels) == 2:
        return binary_losses(probabilities, labels)
    of_truth = probabilities[np.arange(len(labels)), labels]
    return -np.log(np.maximum(of_truth, np.finfo(np.float32).tiny))


def describe_calibrators(
    calibrators: Calibrators, validation: Mapping[int, Predictions]
) -> list[dict[str, Any]]:
    """The block `calibrators` of metrics.json: of each fold its map, and the number of images that it was fitted to."""
    return [
        {"fold": fold, "n": len(validation[fold].labels), **_describe(calibrator)}
        for fold, calibrator in calibrators.items()
    ]


def _describe(calibrator: Calibrator) -> dict[str, Any]:
    if isinstance(calibrator, Temperature):
        return {"method": "temperature", "temperature": calibrator.value}
    if isinstance(calibrator, LabelTemperatures):
        return {"method": "temperature", "temperatures": as_plain(calibrator.values)}
    method = "vector" if isinstance(calibrator, Vector) else "isotonic"
    return {
        "method": method,
        **{name: as_plain(value) for name, value in calibrator._asdict().items()},
    }


def recorded_calibrators(
    metrics: Mapping[str, Any], config: Config, num_classes: int, *, several_labels: bool
) -> dict[int, Calibrator]:
    """The maps in metrics.json, which may be a stranger's; RefusedError where they are none of such a run."""
    method = training_of(config).calibrate
    if method is None:
        return {}
    blocks = {block["fold"]: block for block in metrics.get("calibrators", [])}
    try:
        return {
            fold: _restore(blocks[fold], method, num_classes, several_labels)
            for fold in folds_of(config)
            if fold in blocks or not _has_diverged(metrics, fold)
        }
    except (KeyError, ValueError):
        reason = "does not hold the calibration of this run"
        raise refuse("metrics.json", reason, RESTORE) from None


def _has_diverged(metrics: Mapping[str, Any], fold: int) -> bool:
    return any(each["fold"] == fold and each["diverged"] for each in metrics.get("folds", []))


def _restore(block: Mapping[str, Any], method: str, num_classes: int, several_labels: bool) -> Calibrator:
    """KeyError or ValueError where the block is of another method or other classes."""
    if block["method"] != method:
        raise ValueError(block["method"])

    def numbers(name: str) -> np.ndarray:
        values = np.array(block[name], np.float64)
        if values.shape != (num_classes,):
            raise ValueError(name)
        return values

    if several_labels:
        return LabelTemperatures(numbers("temperatures"))
    if method == "temperature":
        return Temperature(float(block["temperature"]))
    if method == "vector":
        return Vector(numbers("scales"), numbers("offsets"))
    corners = zip(block["probabilities"], block["shares"], strict=True)
    lines = [(np.array(x, np.float64), np.array(y, np.float64)) for x, y in corners]
    if len(lines) != num_classes or any(len(x) != len(y) or (np.diff(x) < 0).any() for x, y in lines):
        raise ValueError("corners")
    return Isotonic(tuple(x for x, _ in lines), tuple(y for _, y in lines))


def describe_before(predictions: Predictions, dataset: Dataset) -> dict[str, Any]:
    """The block `before_calibration`: n, errors and loss; of one class an image also brier, ece, slope and intercept.

    `predictions` are those before calibration. Slope and intercept are tests as in the block `calibration`.
    """
    loss = float(predictions.losses.astype(np.float64).mean())
    if dataset.has_several_labels:
        return {"n": len(predictions.labels), "loss": loss}
    groups = None if dataset.groups is None else dataset.groups[predictions.indices]
    unit = "image" if groups is None else "group"
    clusters = make_units(predictions, groups).clusters
    tests = as_plain(assess_calibration(predictions, dataset.class_names, unit, clusters))
    return {
        "n": len(predictions.labels),
        "errors": int((predictions.probabilities.argmax(axis=1) != predictions.labels).sum()),
        "loss": loss,
        "brier": float(brier_scores(predictions).mean()),
        "ece": expected_calibration_error(predictions),
        "slope": tests["slope"],
        "intercept": tests["intercept"],
    }
