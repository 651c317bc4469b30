"""Baselines on the same split: what a network must beat to be worth its training.

They see nothing but the pixels, and no setting of theirs is tuned on the images that are scored.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Real

from medjax.evaluation.comparison import compare_accuracies
from medjax.evaluation.components import Components, fit_components
from medjax.evaluation.intervals import grouped_wilson_interval, wilson_interval
from medjax.evaluation.logistic import Features, fit_best_regression
from medjax.evaluation.nearest import half_square_distances, make_index, nearest, pays_to_index
from medjax.evaluation.roc import area_under_roc
from medjax.evaluation.worker_threads import blocks, worker_threads
from medjax.records import AnyLabels, Images, Labels, Predictions

MOST_OPERATIONS = 5e12
"""Limit of floating-point operations of the nearest-neighbour search, if it measured all distances: about half a minute on
2 cores."""
MOST_VALUES = 4096
"""Limit of values (pixels times channels) per image."""
_ROWS = 256  # images whose values are copied at a time

Pixels = Real[np.ndarray, "_ value"]  # of images, on any scale: as they are, or averages
Rows = Int[np.ndarray, "_"]  # indices of some images
Fold = tuple[Rows, Rows]  # training and test images
Predicted = Int[np.ndarray, "_ *label"]
"""Classes of some images; of several labels 1 for each that is predicted."""
Probabilities = Float[np.ndarray, "_ class"]


class BaselinePredictions(NamedTuple):
    """What a baseline predicts for some images."""

    predicted: Predicted
    probabilities: Probabilities | None  # None for a baseline that has none
    seconds: float  # to fit and to predict


class Data(NamedTuple):
    """What baselines are fitted to, and with."""

    pixels: Pixels
    labels: AnyLabels
    num_classes: int
    workers: Executor


Fitted = tuple[Predicted, Probabilities | None]  # what is predicted of the test images
Baseline = Callable[[Data, Sequence[Fold]], Iterator[Fitted]]


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
    averages = np.zeros((n, height, width, channels), np.float32)
    for first in range(0, n, _ROWS):  # blocks that stay in the cache
        part = averages[first : first + _ROWS]
        for row, column in np.ndindex(factor, factor):
            chosen = images[
                first : first + _ROWS, row : height * factor : factor, column : width * factor : factor
            ]
            part += chosen  # sums of whole numbers: exact, of 8 bits at least
        part /= np.float32(factor**2)
        part /= np.float32(np.iinfo(images.dtype).max)
    return averages


def predict_baseline(
    name: str, pixels: Pixels, labels: Labels, train: Rows, test: Rows, num_classes: int
) -> BaselinePredictions:
    """Fit the baseline of this name to the images `train`, and predict the images `test`."""
    with worker_threads() as workers:
        data = Data(pixels, labels, num_classes, workers)
        return next(predict_folds(BASELINES[name], data, [(train, test)]))


def predict_folds(baseline: Baseline, data: Data, folds: Sequence[Fold]) -> Iterator[BaselinePredictions]:
    """`predict_baseline` for each fold in turn, by one of `BASELINES`, or `LABEL_BASELINES` of several labels an image.

    A fold's predictions are those that it has alone, to rounding errors: what is fitted is fitted to its training images,
    and the index of all images only finds the nearest of these sooner.
    """
    started = time.perf_counter()
    for predicted, probabilities in baseline(data, folds):
        now = time.perf_counter()
        yield BaselinePredictions(predicted, probabilities, now - started)
        started = time.perf_counter()


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
    areas = [area_under_roc(labels == label, column) for label, column in enumerate(probabilities.T)]
    known = [area for area in areas if area is not None]
    return float(np.mean(known)) if len(known) == len(areas) else None


def _majority(data: Data, folds: Sequence[Fold]) -> Iterator[Fitted]:
    """The most frequent class, whatever the image; the probabilities are the shares of the classes."""
    for train, test in folds:
        shares = np.bincount(data.labels[train], minlength=data.num_classes) / len(train)
        yield np.full(len(test), shares.argmax()), np.tile(shares, (len(test), 1))


def _nearest_centroid(data: Data, folds: Sequence[Fold]) -> Iterator[Fitted]:
    """The class whose mean image is nearest, by Euclidean distance.

    Not scikit-learn's: that also computes float64 variances, which took 4 to 16 times as long, and refuses a single class.
    """
    for train, test in folds:
        present = np.unique(data.labels[train])
        means = [_mean(data.pixels, train[data.labels[train] == label]) for label in present]
        yield present[_nearest_centers(data, np.stack(means), test)], None


def _nearest_centers(
    data: Data, centers: Float32[np.ndarray, "center value"], images: Rows
) -> Int[np.ndarray, "_"]:
    middle = centers.mean(axis=0)  # subtracted so that squared norms, and their rounding errors, stay small
    centers = centers - middle

    def find(block: slice) -> Int[np.ndarray, "_"]:
        return half_square_distances(data.pixels[images[block]] - middle, centers).argmin(axis=1)

    return np.concatenate(list(data.workers.map(find, blocks(len(images), _ROWS))))


def _mean(pixels: Pixels, rows: Rows) -> Float32[np.ndarray, "value"]:
    """The mean image, summed in float64 over blocks of a size that float32 sums well."""
    total = np.zeros(pixels.shape[1])
    for first in range(0, len(rows), 256):
        total += pixels[rows[first : first + 256]].sum(axis=0, dtype=np.float32)
    return (total / len(rows)).astype(np.float32)


def _nearest_neighbour(data: Data, folds: Sequence[Fold]) -> Iterator[Fitted]:
    """The class of the nearest training image, by Euclidean distance."""
    for images in find_nearest(data, folds):
        yield data.labels[images], None


def find_nearest(data: Data, folds: Sequence[Fold]) -> Iterator[Rows]:
    """The training image that is nearest to each test image, of each fold."""
    pixels, workers = data.pixels, data.workers
    most = max(len(test) for _, test in folds)
    index = make_index(pixels, workers) if pays_to_index(pixels.shape[1], most) else None
    for train, test in folds:
        yield train[nearest(pixels, train, test, workers, index)]


def _logistic_regression(data: Data, folds: Sequence[Fold]) -> Iterator[Fitted]:
    """Multinomial logistic regression on the whitened leading principal components of the standardized pixels.

    The penalty is the candidate that, fitted to nine training images in ten, has the lowest mean cross-entropy on the
    tenth.
    """
    can_learn = [
        len(np.unique(data.labels[train])) > 1 and have_differences(data.pixels, train) for train, _ in folds
    ]
    regressions = _fit_regressions(data, [fold for fold, can in zip(folds, can_learn, strict=True) if can])
    for fold, can in zip(folds, can_learn, strict=True):
        yield next(regressions if can else _majority(data, [fold]))


def have_differences(pixels: Pixels, rows: Rows) -> bool:
    """Whether two of these images differ."""
    return any(
        (pixels[rows[first : first + _ROWS]] != pixels[rows[0]]).any() for first in range(0, len(rows), _ROWS)
    )


def _fit_regressions(data: Data, folds: Sequence[Fold]) -> Iterator[Fitted]:
    fitted = fit_components(data.pixels, [train for train, _ in folds], data.workers)
    for (train, test), components in zip(folds, fitted, strict=True):
        features = transform(data, components, train)
        regression = fit_best_regression(features, data.labels[train], data.workers)
        probabilities = regression.predict(transform(data, components, test), data.num_classes)
        yield probabilities.argmax(axis=1), probabilities


def transform(data: Data, components: Components, rows: Rows) -> Features:
    """The components of these images, found by all threads."""

    def transform_block(block: slice) -> Features:
        return components.transform(data.pixels[rows[block]])

    return np.concatenate(list(data.workers.map(transform_block, blocks(len(rows), _ROWS))))


BASELINES: dict[str, Baseline] = {
    "majority": _majority,
    "nearest_centroid": _nearest_centroid,
    "nearest_neighbour": _nearest_neighbour,
    "logistic_regression": _logistic_regression,
}
"""Each fits to the training images of each fold, and predicts the labels and probabilities of its test images."""
