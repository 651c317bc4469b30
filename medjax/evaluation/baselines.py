"""Baselines on the same split: what a network must beat to be worth its training.

They see nothing but the pixels, and no setting of theirs is tuned on the images that are scored.
"""

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int

from medjax.evaluation.comparison import compare_accuracies
from medjax.evaluation.intervals import grouped_wilson_interval, wilson_interval
from medjax.records import Images, Labels, Predictions

MOST_OPERATIONS = 5e12
"""Limit of floating-point operations of the nearest-neighbour search: about half a minute on 2 cores."""
MOST_VALUES = 4096
"""Limit of values (pixels times channels) per image."""
NUM_COMPONENTS = 100
"""Principal components that the logistic regression is fitted to: on all 784 pixels of 28 by 28 it takes ten times as
long and is no better."""
_INVERSE_PENALTIES = (0.001, 0.01, 0.1, 1.0)  # candidates for scikit-learn's C
_BLOCK = 512  # images whose distances are held at a time: 84 MB to 41,000 images

Pixels = Float32[np.ndarray, "_ value"]
Components = Float32[np.ndarray, "_ component"]
Rows = Int[np.ndarray, "_"]  # indices of some images
Classes = Int[np.ndarray, "_"]  # labels of some images
Probabilities = Float[np.ndarray, "_ class"]


class BaselinePredictions(NamedTuple):
    """What a baseline predicts for some images."""

    predicted: Int[np.ndarray, "m"]  # labels
    probabilities: Probabilities | None  # None for a baseline that has none
    seconds: float  # to fit and to predict


def averaging_factor(shape: tuple[int, ...], pairs: int) -> int:
    """Smallest side of the square blocks of pixels whose averages keep to both limits above; 1 averages nothing.

    `shape` is that of an image [height, width, channel]; `pairs` counts pairs of a scored and a training image.
    """
    for factor in range(1, min(shape[:2])):
        num_values = (shape[0] // factor) * (shape[1] // factor) * shape[2]
        if num_values <= MOST_VALUES and 2.0 * num_values * pairs <= MOST_OPERATIONS:
            return factor
    return min(shape[:2])


def average_pixels(images: Images, factor: int) -> Float32[np.ndarray, "n rows columns channel"]:
    """Images in [0, 1], averaged over blocks of `factor` by `factor` pixels; the remainder at the far edges is cropped."""
    n, height, width, channels = images.shape
    height, width = height // factor, width // factor
    cropped = images[:, : height * factor, : width * factor]
    blocks = cropped.reshape(n, height, factor, width, factor, channels)
    return blocks.mean(axis=(2, 4), dtype=np.float32) / np.float32(255)


def predict_baseline(
    name: str, pixels: Pixels, labels: Labels, train: Rows, test: Rows, num_classes: int
) -> BaselinePredictions:
    """Fit the baseline of this name to the images `train`, and predict the images `test`."""
    started = time.perf_counter()
    predicted, probabilities = BASELINES[name](pixels[train], labels[train], pixels[test], num_classes)
    return BaselinePredictions(predicted, probabilities, time.perf_counter() - started)


def score_baselines(
    baselines: Mapping[str, BaselinePredictions],
    predictions: Predictions,
    groups: Int[np.ndarray, "m"] | None,
) -> dict[str, Any]:
    """Score baselines beside the model that made `predictions` of the same images, as JSON values for metrics.json.

    Keys: models (by name: n, errors, accuracy, ci95 (Wilson), ci95_grouped, auc (None without probabilities)), best (name
    of the most accurate), gain_over_best_baseline (model minus baseline, see `compare_accuracies`). The best baseline is
    chosen on the scored images themselves, so the gain is, if anything, too small. `groups` are numbered from 0.
    """
    labels = predictions.labels
    models = {name: _score_baseline(each, labels, groups) for name, each in baselines.items()}
    best = max(models, key=lambda name: models[name]["accuracy"])
    is_correct = predictions.probabilities.argmax(axis=1) == labels
    gain = compare_accuracies(is_correct, baselines[best].predicted == labels, groups)
    return {"models": models, "best": best, "gain_over_best_baseline": gain}


def _score_baseline(
    baseline: BaselinePredictions, labels: Labels, groups: Int[np.ndarray, "m"] | None
) -> dict[str, Any]:
    is_correct = baseline.predicted == labels
    n, correct = len(labels), int(is_correct.sum())
    grouped = None if groups is None else grouped_wilson_interval(is_correct.astype(np.float64), groups)
    return {
        "n": n,
        "errors": n - correct,
        "accuracy": correct / n,
        "ci95": list(wilson_interval(correct, n)),
        "ci95_grouped": None if grouped is None else list(grouped),
        "auc": None if baseline.probabilities is None else _macro_auc(baseline.probabilities, labels),
    }


def _macro_auc(probabilities: Probabilities, labels: Labels) -> float | None:
    from sklearn.metrics import roc_auc_score  # imported here and below: it takes over a second

    is_class = labels[:, None] == np.arange(probabilities.shape[1])
    if is_class.all(axis=0).any() or not is_class.any(axis=0).all():
        return None
    return float(roc_auc_score(is_class, probabilities, average="macro"))


_Fitted = tuple[Classes, Probabilities | None]  # predicted labels and probabilities of the test images


def _majority(train: Pixels, labels: Classes, test: Pixels, num_classes: int) -> _Fitted:
    """The most frequent class, whatever the image; the probabilities are the shares of the classes."""
    from sklearn.dummy import DummyClassifier

    probabilities = _predict_all(DummyClassifier(strategy="prior").fit(train, labels), test, num_classes)
    return probabilities.argmax(axis=1), probabilities


def _nearest_centroid(train: Pixels, labels: Classes, test: Pixels, num_classes: int) -> _Fitted:
    """The class whose mean image is nearest, by Euclidean distance.

    Not scikit-learn's: that also computes float64 variances, which took 4 to 16 times as long, and refuses a single class.
    """
    present = np.unique(labels)
    centroids = np.stack([train[labels == label].mean(axis=0, dtype=np.float64) for label in present])
    return present[_nearest(centroids.astype(np.float32), test)], None


def _nearest_neighbour(train: Pixels, labels: Classes, test: Pixels, num_classes: int) -> _Fitted:
    """The class of the nearest training image, by Euclidean distance."""
    return labels[_nearest(train, test)], None


def _nearest(references: Pixels, images: Pixels) -> Int[np.ndarray, "m"]:
    """Index of the reference nearest to each image.

    Not scikit-learn's brute-force search: in float32 this takes half its time and finds the same neighbours.
    """
    mean = references.mean(axis=0)  # subtracted so that squared norms, and their rounding errors, stay small
    references = references - mean
    half_squares = np.einsum("nv,nv->n", references, references) / 2
    nearest = []
    for first in range(0, len(images), _BLOCK):
        products = (images[first : first + _BLOCK] - mean) @ references.T
        nearest.append(np.subtract(half_squares, products, out=products).argmin(axis=1))
    return np.concatenate(nearest)


def _logistic_regression(train: Pixels, labels: Classes, test: Pixels, num_classes: int) -> _Fitted:
    """Multinomial logistic regression on the whitened leading principal components of the standardised pixels.

    The penalty is the candidate that, fitted to nine training images in ten, has the lowest mean cross-entropy on the
    tenth. BLAS gets one thread: on matrices as narrow as these, two took 2 to 10 times as long.
    """
    from threadpoolctl import threadpool_limits

    if len(np.unique(labels)) < 2 or (train == train[0]).all():  # nothing to learn
        return _majority(train, labels, test, num_classes)
    with threadpool_limits(1):
        train, test = _leading_components(train, test)
        model = _fit_regression(train, labels, _choose_inverse_penalty(train, labels, num_classes))
        probabilities = _predict_all(model, test, num_classes)
    return probabilities.argmax(axis=1), probabilities


def _leading_components(train: Pixels, test: Pixels) -> tuple[Components, Components]:
    """At most `NUM_COMPONENTS` principal components of the standardised pixels, each with variance 1 in `train`."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    size = min(NUM_COMPONENTS, train.shape[1], max(len(train) // 5, 1))
    components = PCA(size, whiten=True, random_state=0)
    pipeline = make_pipeline(StandardScaler(), components).fit(train)
    deviations = np.sqrt(components.explained_variance_)
    is_kept = deviations > 1e-3 * max(deviations[0], 1e-6)  # whitening inflates the others: rounding errors
    return pipeline.transform(train)[:, is_kept], pipeline.transform(test)[:, is_kept]


def _choose_inverse_penalty(train: Components, labels: Classes, num_classes: int) -> float:
    is_inner = np.arange(len(labels)) % 10 == 9
    if not is_inner.any() or len(np.unique(labels[~is_inner])) < 2:
        return _INVERSE_PENALTIES[-1]

    def inner_loss(inverse_penalty: float) -> float:
        model = _fit_regression(train[~is_inner], labels[~is_inner], inverse_penalty)
        probabilities = _predict_all(model, train[is_inner], num_classes)
        of_truth = probabilities[np.arange(len(probabilities)), labels[is_inner]]
        return float(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)).mean())

    return min(_INVERSE_PENALTIES, key=inner_loss)


def _fit_regression(images: Components, labels: Classes, inverse_penalty: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that has not converged after 100 steps is still a baseline
        return LogisticRegression(C=inverse_penalty, max_iter=100).fit(images, labels)


def _predict_all(model: Any, images: Pixels | Components, num_classes: int) -> Probabilities:
    """Probabilities of all classes; 0 for those that the model was not fitted to."""
    probabilities = np.zeros((len(images), num_classes))
    probabilities[:, model.classes_] = model.predict_proba(images)
    return probabilities


BASELINES: dict[str, Callable[[Pixels, Classes, Pixels, int], _Fitted]] = {
    "majority": _majority,
    "nearest_centroid": _nearest_centroid,
    "nearest_neighbour": _nearest_neighbour,
    "logistic_regression": _logistic_regression,
}
"""Each fits to training pixels and labels, and predicts the labels and probabilities of other pixels; the last argument
is the number of classes."""
