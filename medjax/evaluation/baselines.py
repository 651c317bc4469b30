"""What simple models score on the same split: the baseline that a network must rise above to be worth its training.

All of them see the pixels and nothing else. None has a setting to tune by the images that are scored.
"""

import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int

from medjax.evaluation.comparison import compare_answers
from medjax.evaluation.intervals import grouped_wilson_interval, wilson_interval
from medjax.records import Images, Labels, Predictions

MOST_OPERATIONS = 5e12
"""Floating-point operations that finding nearest neighbours may take in all: about half a minute on 2 cores."""
MOST_VALUES = 4096
"""Values of an image that the models are given."""
NUM_COMPONENTS = 100
"""Principal components that the logistic regression is fitted to: with all 784 of 28 by 28 pixels it takes ten times
as long and is no better."""
_STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # inverse penalties (scikit-learn's C) that it chooses from
_BLOCK = 512  # images whose distances are held at a time: 84 MB to 41,000 images

Pixels = Float32[np.ndarray, "_ value"]
Positions = Int[np.ndarray, "_"]  # of images among all
Classes = Int[np.ndarray, "_"]  # labels of some images
Probabilities = Float[np.ndarray, "_ class"]


class Answers(NamedTuple):
    """What a model says of some images."""

    called: Int[np.ndarray, "m"]  # predicted labels
    probabilities: Probabilities | None  # None of a model that has none
    seconds: float


def averaging_factor(shape: tuple[int, ...], pairs: int) -> int:
    """Side of the squares of pixels that are averaged, 1 if none: the smallest that keeps to both limits above.

    `shape` is of an image [height, width, channel]; `pairs` are those of a scored and a training image.
    """
    for factor in range(1, min(shape[:2])):
        num_values = (shape[0] // factor) * (shape[1] // factor) * shape[2]
        if num_values <= MOST_VALUES and 2.0 * num_values * pairs <= MOST_OPERATIONS:
            return factor
    return min(shape[:2])


def average_pixels(images: Images, factor: int) -> Float32[np.ndarray, "n rows columns channel"]:
    """Images with values of 0 to 1, squares of `factor` pixels averaged; what is left at the far edges is cut off."""
    n, height, width, channels = images.shape
    height, width = height // factor, width // factor
    cut = images[:, : height * factor, : width * factor]
    squares = cut.reshape(n, height, factor, width, factor, channels)
    return squares.mean(axis=(2, 4), dtype=np.float32) / np.float32(255)


def answer(
    name: str, pixels: Pixels, labels: Labels, train: Positions, test: Positions, num_classes: int
) -> Answers:
    """Fit the baseline of this name to the training images, and ask it of the others."""
    started = time.perf_counter()
    called, probabilities = BASELINES[name](pixels[train], labels[train], pixels[test], num_classes)
    return Answers(called, probabilities, time.perf_counter() - started)


def score_baselines(
    answers: dict[str, Answers], predictions: Predictions, groups: Int[np.ndarray, "m"] | None
) -> dict[str, Any]:
    """The block of metrics.json, as JSON values, of baselines that were asked of the images of `predictions`.

    Keys: models (by name: n, errors, accuracy, ci95 (Wilson), ci95_grouped, auc (None without probabilities)), best (the name of
    the most accurate), gain_over_best_baseline (model less baseline, as `compare_answers`). That the best one is found
    on the scored images themselves makes the gain, if anything, too small. `groups` are numbered from 0.
    """
    labels = predictions.labels
    models = {name: _score_baseline(answered, labels, groups) for name, answered in answers.items()}
    best = max(models, key=lambda name: models[name]["accuracy"])
    is_right = predictions.probabilities.argmax(axis=1) == labels
    gain = compare_answers(is_right, answers[best].called == labels, groups)
    return {"models": models, "best": best, "gain_over_best_baseline": gain}


def _score_baseline(answers: Answers, labels: Labels, groups: Int[np.ndarray, "m"] | None) -> dict[str, Any]:
    is_right = answers.called == labels
    n, correct = len(labels), int(is_right.sum())
    grouped = None if groups is None else grouped_wilson_interval(is_right.astype(np.float64), groups)
    return {
        "n": n,
        "errors": n - correct,
        "accuracy": correct / n,
        "ci95": list(wilson_interval(correct, n)),
        "ci95_grouped": None if grouped is None else list(grouped),
        "auc": None if answers.probabilities is None else _macro_area(answers.probabilities, labels),
    }


def _macro_area(probabilities: Probabilities, labels: Labels) -> float | None:
    from sklearn.metrics import roc_auc_score  # imported here and below: it takes over a second

    is_class = labels[:, None] == np.arange(probabilities.shape[1])
    if is_class.all(axis=0).any() or not is_class.any(axis=0).all():
        return None
    return float(roc_auc_score(is_class, probabilities, average="macro"))


_Answer = tuple[Classes, Probabilities | None]


def _majority(train: Pixels, labels: Classes, test: Pixels, num_classes: int) -> _Answer:
    """The most frequent class, whatever the image; its probabilities are the shares of the classes."""
    shares = np.bincount(labels, minlength=num_classes) / len(labels)
    return np.full(len(test), shares.argmax()), np.tile(shares, (len(test), 1))


def _nearest_centroid(train: Pixels, labels: Classes, test: Pixels, num_classes: int) -> _Answer:
    """The class whose mean image is nearest, by Euclidean distance."""
    present = np.unique(labels)
    centroids = np.stack([train[labels == label].mean(axis=0, dtype=np.float64) for label in present])
    return present[_nearest(centroids.astype(np.float32), test)], None


def _nearest_neighbour(train: Pixels, labels: Classes, test: Pixels, num_classes: int) -> _Answer:
    """The class of the nearest training image, by Euclidean distance."""
    return labels[_nearest(train, test)], None


def _nearest(references: Pixels, images: Pixels) -> Int[np.ndarray, "m"]:
    """Which reference is nearest to each image; scikit-learn's, in float64, takes twice as long and finds the same."""
    centre = references.mean(axis=0)  # so that little is lost where large squares are subtracted
    references = references - centre
    half_squares = np.einsum("nv,nv->n", references, references) / 2
    nearest = []
    for first in range(0, len(images), _BLOCK):
        nearness = (images[first : first + _BLOCK] - centre) @ references.T
        nearest.append(np.subtract(half_squares, nearness, out=nearness).argmin(axis=1))
    return np.concatenate(nearest)


def _logistic_regression(train: Pixels, labels: Classes, test: Pixels, num_classes: int) -> _Answer:
    """Multinomial, of standardised pixels' leading principal components, each scaled to variance 1.

    The penalty is the one of `_STRENGTHS` that gives every tenth training image the least mean cross-entropy when
    fitted to the others. A single thread fits it: on matrices as narrow as these, two took 2 to 10 times as long.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return _fit_logistic_regression(train, labels, test, num_classes)


def _fit_logistic_regression(train: Pixels, labels: Classes, test: Pixels, num_classes: int) -> _Answer:
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(labels)) < 2 or (train == train[0]).all():  # nothing to learn
        return _majority(train, labels, test, num_classes)
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    size = min(NUM_COMPONENTS, train.shape[1], max(len(train) // 5, 1))
    components = PCA(size, random_state=0).fit(train)
    deviations = np.sqrt(components.explained_variance_)
    is_kept = deviations > 1e-3 * max(deviations[0], 1e-6)  # the others would be scaled-up rounding errors
    train, test = (components.transform(each)[:, is_kept] / deviations[is_kept] for each in (train, test))

    def fit(images: Pixels, labels: Classes, strength: float) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a hundred steps were not enough is no reason to refuse
            return LogisticRegression(C=strength, max_iter=100).fit(images, labels)

    is_inner = np.arange(len(labels)) % 10 == 9

    def inner_loss(strength: float) -> float:
        model = fit(train[~is_inner], labels[~is_inner], strength)
        found = _all_columns(model, train[is_inner], num_classes)
        of_truth = found[np.arange(len(found)), labels[is_inner]]
        return float(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)).mean())

    can_choose = is_inner.any() and len(np.unique(labels[~is_inner])) > 1
    strength = min(_STRENGTHS, key=inner_loss) if can_choose else _STRENGTHS[-1]
    probabilities = _all_columns(fit(train, labels, strength), test, num_classes)
    return probabilities.argmax(axis=1), probabilities


def _all_columns(model: Any, images: Pixels, num_classes: int) -> Probabilities:
    """Probabilities of all classes, 0 of those that the model has never seen."""
    probabilities = np.zeros((len(images), num_classes))
    probabilities[:, model.classes_] = model.predict_proba(images)
    return probabilities


BASELINES: dict[str, Callable[[Pixels, Classes, Pixels, int], _Answer]] = {
    "majority": _majority,
    "nearest_centroid": _nearest_centroid,
    "nearest_neighbour": _nearest_neighbour,
    "logistic_regression": _logistic_regression,
}
"""From training pixels and labels, the pixels of others, and the number of classes, to the labels and probabilities of
the others."""
