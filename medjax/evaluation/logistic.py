"""Multinomial logistic regression whose penalty is chosen on some of the training images.

The model and the tolerance are those of scikit-learn's `LogisticRegression`, which takes three times as long: it begins each
fit anew, and on one core.
"""

from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int

from medjax.evaluation.worker_threads import blocks

INVERSE_PENALTIES = (0.001, 0.01, 0.1, 1.0)
"""Candidates for scikit-learn's C."""
_MOST_STEPS = 100  # a fit that has not converged by then is still a baseline
_TOLERANCE = 1e-4  # largest slope of the mean loss at which a fit ends: scikit-learn's
_ROWS_OF_TASK = 8192  # images whose losses a thread sums at a time
_ROWS = 1024  # whose logits it holds at a time: they stay in the cache of a core

Features = Float32[np.ndarray, "n feature"]
Classes = Int[np.ndarray, "n"]
Weights = Float64[np.ndarray, "class weight"]  # the last of a class is its intercept


class Regression(NamedTuple):
    """A fitted regression."""

    classes: Int[np.ndarray, "class"]  # present in the images it was fitted to, in ascending order
    weights: Weights

    def predict(self, features: Features, num_classes: int) -> Float[np.ndarray, "n _"]:
        """Probabilities of all classes; 0 for those that the regression was not fitted to."""
        logits = features @ self.weights[:, :-1].T + self.weights[:, -1]
        values = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = np.zeros((len(features), num_classes))
        probabilities[:, self.classes] = values / values.sum(axis=1, keepdims=True)
        return probabilities


# Features of some images, in columns; the last row is of ones, for the intercepts.
Block = Float32[np.ndarray, "weight _"]


class _Images(NamedTuple):
    """Images to sum over, as tasks of several blocks each."""

    num: int
    tasks: list[list[Block]]
    of_truths: Weights  # sum of the features of each class; its product with the weights sums the logits of the truths


def fit_best_regression(features: Features, labels: Classes, workers: Executor) -> Regression:
    """The regression with the best of `INVERSE_PENALTIES`; `workers` are those of `worker_threads`.

    That is the one which, fitted to nine images in ten, has the lowest mean cross-entropy on the tenth. Each fit starts
    from the last one's weights, which lie near its own.
    """
    classes, codes = np.unique(labels, return_inverse=True)
    weights = np.zeros((len(classes), features.shape[1] + 1))
    is_inner = np.arange(len(labels)) % 10 == 9
    inner, outer = (
        _divide(features[chosen], codes[chosen], len(classes)) for chosen in (is_inner, ~is_inner)
    )
    best = np.inf, INVERSE_PENALTIES[-1], weights
    if inner.num and len(np.unique(labels[~is_inner])) > 1:
        for inverse_penalty in INVERSE_PENALTIES:
            weights = _fit(outer, inverse_penalty, weights, workers)
            loss, _ = _mean_cross_entropy(weights, inner, workers)
            best = min(best, (loss, inverse_penalty, weights), key=lambda candidate: candidate[0])
    _, inverse_penalty, weights = best
    everything = _Images(len(labels), outer.tasks + inner.tasks, outer.of_truths + inner.of_truths)
    return Regression(classes, _fit(everything, inverse_penalty, weights, workers))


def _divide(features: Features, codes: Classes, num_classes: int) -> _Images:
    of_truths = np.zeros((num_classes, features.shape[1] + 1))

    def divide(rows: range) -> list[Block]:
        parts = []
        for first in rows[::_ROWS]:
            part = slice(first, min(first + _ROWS, rows.stop))
            columns = np.concatenate([features[part].T, np.ones((1, part.stop - first), np.float32)])
            is_class = codes[part] == np.arange(num_classes)[:, None]
            of_truths[:] += is_class.astype(np.float32) @ columns.T
            parts.append(columns)
        return parts

    whole = range(len(codes))
    tasks = [divide(whole[task]) for task in blocks(len(codes), _ROWS_OF_TASK)]
    return _Images(len(codes), tasks, of_truths)


def _fit(images: _Images, inverse_penalty: float, start: Weights, workers: Executor) -> Weights:
    """Minimize the mean cross-entropy plus half of the squared weights over `inverse_penalty` and the number of images.

    The intercepts are free. Of two classes scikit-learn penalizes the difference of the weights: twice what it is here.
    """
    from scipy.optimize import minimize  # imported here: it takes a fifth of a second

    penalties = np.full(start.shape, (2 if len(start) == 2 else 1) / (inverse_penalty * images.num))
    penalties[:, -1] = 0

    def evaluate(flat: Float64[np.ndarray, "_"]) -> tuple[float, Float64[np.ndarray, "_"]]:
        weights = flat.reshape(start.shape)
        loss, slopes = _mean_cross_entropy(weights, images, workers)
        return loss + (penalties * weights**2).sum() / 2, (slopes + penalties * weights).ravel()

    options: dict[str, Any] = {"maxiter": _MOST_STEPS, "gtol": _TOLERANCE, "ftol": 64 * np.finfo(float).eps}
    found = minimize(evaluate, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(start.shape)


def _mean_cross_entropy(weights: Weights, images: _Images, workers: Executor) -> tuple[float, Weights]:
    """The mean of the images' cross-entropies, and its gradient."""
    single = weights.astype(np.float32)
    sums = list(workers.map(lambda task: _sum_norms(single, task), images.tasks))
    loss = sum(norms for norms, _ in sums) - float((weights * images.of_truths).sum())
    slopes = np.sum([slopes for _, slopes in sums], axis=0) - images.of_truths
    return loss / images.num, slopes / images.num


def _sum_norms(weights: Float32[np.ndarray, "class weight"], task: list[Block]) -> tuple[float, Weights]:
    """The sum of the logarithms of the sums of the exponentials of an image's logits, and its gradient."""
    sum_norms, slopes = 0.0, np.zeros(weights.shape)
    for columns in task:
        values = weights @ columns
        largest = values.max(axis=0)
        values -= largest
        np.exp(values, out=values)
        totals = values.sum(axis=0)
        values /= totals
        slopes += values @ columns.T
        largest += np.log(totals, out=totals)
        sum_norms += float(largest.sum(dtype=np.float64))
    return sum_norms, slopes
