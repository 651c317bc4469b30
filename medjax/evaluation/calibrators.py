"""Maps of probabilities to better calibrated ones, fitted on images that nothing is scored on.

A map sees probabilities only, so it serves a single network and an average over augmentations alike; their logarithms take
the place of logits. Work is in float64.

References:
    Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017, https://arxiv.org/abs/1706.04599:
    temperature and vector scaling.
    Zadrozny and Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates", 2002,
    https://doi.org/10.1145/775047.775151: isotonic regression of each class against the others, then normalized.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from medjax.config import CalibrationMethod
from medjax.evaluation.scores import require_finite
from medjax.records import Predictions, Probabilities

FEWEST_IMAGES = {"temperature": 30, "vector": 100, "isotonic": 1000}
"""Validation images that a method wants at least: of one, two a class, and very many parameters."""
FEWEST_OF_CLASS = 20
"""Vector scaling wants as many a class as well: ten for each of its parameters."""
_TEMPERATURES = 0.05, 20.0
_SMALLEST = np.finfo(np.float32).tiny  # stands for a probability that float32 rounded to 0

Wide = Float64[np.ndarray, "m class"]


class Temperature(NamedTuple):
    """Logits of all classes divided by one number; above 1 it makes probabilities less extreme."""

    value: float

    def apply(self, probabilities: Probabilities) -> Probabilities:
        """Calibrated probabilities; the most probable class of an image stays the same."""
        if self.value == 1:
            return probabilities
        found = _softmax(_logarithms(probabilities) / self.value)
        # Rounding to float32 may make the two largest equal, and the first of them would be predicted.
        rows = np.arange(len(found))
        leading = probabilities.argmax(axis=1)
        is_lost = found.argmax(axis=1) != leading
        above = np.nextafter(found.max(axis=1), np.float32(2))
        found[rows[is_lost], leading[is_lost]] = above[is_lost]
        return found


class LabelTemperatures(NamedTuple):
    """Of several labels an image: the logit of each label divided by a number of its own."""

    values: Float64[np.ndarray, "label"]

    def apply(self, probabilities: Probabilities) -> Probabilities:
        """Calibrated probabilities; one stays on its side of 0.5."""
        from scipy.special import expit  # imported here: it takes a quarter of a second

        found = expit(_logits(probabilities) / self.values).astype(np.float32)
        # Rounding to float32 may lift one to 0.5, from which on a label is predicted.
        found = np.where(probabilities < 0.5, np.minimum(found, np.nextafter(np.float32(0.5), 0)), found)
        return np.where(self.values == 1, probabilities, found).astype(np.float32)


class Vector(NamedTuple):
    """The logarithm of each class's probability scaled and shifted by numbers of its own."""

    scales: Float64[np.ndarray, "class"]
    offsets: Float64[np.ndarray, "class"]

    def apply(self, probabilities: Probabilities) -> Probabilities:
        """Calibrated probabilities, whose most probable class may be another."""
        return _softmax(_logarithms(probabilities) * self.scales + self.offsets)


class Isotonic(NamedTuple):
    """For each class a rising line, by its corners, from its probability to the share of images that are of it."""

    probabilities: tuple[Float64[np.ndarray, "corner"], ...]
    shares: tuple[Float64[np.ndarray, "corner"], ...]

    def apply(self, probabilities: Probabilities) -> Probabilities:
        """Calibrated probabilities, whose most probable class may be another."""
        shares = np.stack(
            [
                np.interp(column, corners, values)
                for column, corners, values in zip(
                    probabilities.T.astype(np.float64), self.probabilities, self.shares, strict=True
                )
            ],
            axis=1,
        )
        return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


Calibrator = Temperature | LabelTemperatures | Vector | Isotonic


def fewest_images(method: CalibrationMethod, num_classes: int) -> int:
    """How many validation images a method wants."""
    if method == "vector":
        return max(FEWEST_IMAGES[method], FEWEST_OF_CLASS * num_classes)
    return FEWEST_IMAGES[method]


def fit_calibrator(method: CalibrationMethod, predictions: Predictions) -> Calibrator:
    """Fit a map to predictions with labels; of several labels an image `method` must be "temperature".

    Give predictions of images that nothing is scored on. A temperature minimizes the cross-entropy; where no image is
    predicted wrongly it is 1, because ever smaller ones would fit ever better. Vector scaling minimizes the sum of the
    cross-entropies and half of the squares of offsets and of scales less 1, which keeps it finite. Shares of isotonic regression
    stay between 1/(n+2) and (n+1)/(n+2) for n images, so that nothing is called impossible. RefusedError for probabilities that
    are not finite.
    """
    require_finite(predictions.probabilities)
    if np.ndim(predictions.labels) == 2:
        return _fit_labels(predictions)
    if method == "vector":
        return _fit_vector(predictions)
    return _fit_temperature(predictions) if method == "temperature" else _fit_isotonic(predictions)


def _fit_temperature(predictions: Predictions) -> Temperature:
    logarithms, labels = _logarithms(predictions.probabilities), predictions.labels
    if (predictions.probabilities.argmax(axis=1) == labels).all():
        return Temperature(1.0)
    return Temperature(_best_temperature(logarithms, labels))


def _fit_labels(predictions: Predictions) -> LabelTemperatures:
    """Of a label all of whose known images are right, and of one that too few are known of, 1."""
    logits, values = _logits(predictions.probabilities), []
    for label, column in enumerate(logits.T):
        known = predictions.labels[:, label] >= 0
        is_there = predictions.labels[known, label] == 1
        is_too_few = known.sum() < FEWEST_IMAGES["temperature"]
        if is_too_few or (is_there == (column[known] >= 0)).all():
            values.append(1.0)
            continue
        pair = np.stack([np.zeros(known.sum()), column[known]], axis=1)
        values.append(_best_temperature(pair, is_there.astype(int)))
    return LabelTemperatures(np.array(values))


def _best_temperature(logits: Wide, labels: Int[np.ndarray, "m"]) -> float:
    from scipy.optimize import minimize_scalar  # imported here: it takes half a second

    def loss(logarithm: float) -> float:
        return _cross_entropy(logits / np.exp(logarithm), labels)

    found = minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded", options={"xatol": 1e-7})
    return float(np.exp(found.x))


def _fit_vector(predictions: Predictions) -> Vector:
    from scipy.optimize import minimize

    logarithms, labels = _logarithms(predictions.probabilities), predictions.labels
    num_classes = logarithms.shape[1]
    truth = np.eye(num_classes)[labels]
    start = np.concatenate([np.ones(num_classes), np.zeros(num_classes)])

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scales, offsets = np.split(parameters, 2)
        logits = logarithms * scales + offsets
        logits -= logits.max(axis=1, keepdims=True)
        values = np.exp(logits)
        excess = values / values.sum(axis=1, keepdims=True) - truth
        slope = np.concatenate([(excess * logarithms).sum(axis=0), excess.sum(axis=0)])
        penalty = parameters - start
        total = _cross_entropy(logits, labels) * len(labels) + 0.5 * penalty @ penalty
        return total, slope + penalty

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    return Vector(*np.split(found.x, 2))


def _fit_isotonic(predictions: Predictions) -> Isotonic:
    from sklearn.isotonic import IsotonicRegression  # imported here: it takes over a second

    n, probabilities = len(predictions.labels), predictions.probabilities.astype(np.float64)
    bounds = {"y_min": 1 / (n + 2), "y_max": (n + 1) / (n + 2)}
    fits = [
        IsotonicRegression(**bounds).fit(column, predictions.labels == label)
        for label, column in enumerate(probabilities.T)
    ]
    return Isotonic(
        tuple(fit.X_thresholds_.astype(np.float64) for fit in fits),
        tuple(fit.y_thresholds_.astype(np.float64) for fit in fits),
    )


def _logarithms(probabilities: Probabilities) -> Wide:
    return np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))


def _logits(probabilities: Probabilities) -> Wide:
    wide = np.clip(probabilities.astype(np.float64), _SMALLEST, 1 - 2.0**-25)
    return np.log(wide) - np.log1p(-wide)


def _softmax(logits: Wide) -> Probabilities:
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (values / values.sum(axis=1, keepdims=True)).astype(np.float32)


def _cross_entropy(logits: Wide, labels: Int[np.ndarray, "m"]) -> float:
    """Mean over the images, in nats."""
    highest = logits.max(axis=1, keepdims=True)
    normalizers = highest[:, 0] + np.log(np.exp(logits - highest).sum(axis=1))
    return float((normalizers - logits[np.arange(len(labels)), labels]).mean())
