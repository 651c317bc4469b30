"""Principal components of the training images of each fold; what several folds share is summed once."""

import functools
import operator
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int, Real

from medjax.evaluation.worker_threads import blocks

MOST_COMPONENTS = 100
"""Principal components that the logistic regression is fitted to: on all 784 pixels of 28 by 28 it takes ten times as
long and is no better."""
_ROWS = 4096  # images whose products are summed at a time

Pixels = Real[np.ndarray, "_ value"]  # as the images have them, or floating point
Rows = Int[np.ndarray, "_"]


class Components(NamedTuple):
    """A map of images to components: the image less `center`, times `matrix`, plus `shift`."""

    center: Float32[np.ndarray, "value"]
    matrix: Float32[np.ndarray, "value component"]
    shift: Float32[np.ndarray, "component"]

    def transform(self, images: Pixels) -> Float32[np.ndarray, "_ component"]:
        """The components of some images."""
        return (images - self.center) @ self.matrix + self.shift


class _Sums(NamedTuple):
    """Of some images, each less the same center."""

    num: int
    sums: Float64[np.ndarray, "value"]
    products: Float32[np.ndarray, "value value"]

    def __add__(self, other: "_Sums") -> "_Sums":  # type: ignore[override]
        return _Sums(self.num + other.num, self.sums + other.sums, self.products + other.products)


def fit_components(pixels: Pixels, trains: Sequence[Rows], workers: Executor) -> Iterator[Components]:
    """At most `MOST_COMPONENTS` principal components of the standardized values, each with variance 1, for each of `trains`.

    Those are rows of `pixels`, not all alike; the components are of these images alone. Components of nearly no variance are
    left out.
    """
    size = pixels.shape[1]
    if trains and min(map(len, trains)) < size:
        for train in trains:
            yield _from_images(
                pixels[train].astype(np.float32), min(MOST_COMPONENTS, max(len(train) // 5, 1))
            )
        return
    # Any center will do: it cancels out, and saves digits.
    center = pixels[:: max(len(pixels) // _ROWS, 1)].mean(axis=0, dtype=np.float32)
    for total in _sum_each(pixels, trains, center, workers):
        yield _from_sums(total, center, min(MOST_COMPONENTS, size, max(total.num // 5, 1)))


def _sum_each(
    pixels: Pixels, trains: Sequence[Rows], center: Float32[np.ndarray, "value"], workers: Executor
) -> Iterator[_Sums]:
    """The sums of each of `trains`; those of a cross-validation leave out parts that are disjoint, and are sums of the others'."""
    others = [np.delete(np.arange(len(pixels)), train) for train in trains]
    times_left_out = np.bincount(np.concatenate(others), minlength=len(pixels)) if trains else np.zeros(1)
    takes_little_memory = len(trains) * pixels.shape[1] <= len(pixels)  # no more than the images in float32
    if len(trains) < 2 or times_left_out.max() > 1 or not takes_little_memory:
        for train in trains:
            yield _sum(pixels, train, center, workers)
        return
    parts = [_sum(pixels, rows, center, workers) for rows in (*others, np.flatnonzero(times_left_out == 0))]
    for left_out in range(len(trains)):
        # Nothing is subtracted: it would leave a variance of rounding errors where training images are all alike.
        yield functools.reduce(operator.add, parts[:left_out] + parts[left_out + 1 :])


def _sum(pixels: Pixels, rows: Rows, center: Float32[np.ndarray, "value"], workers: Executor) -> _Sums:
    def sum_block(block: slice) -> tuple[np.ndarray, np.ndarray]:
        centered = pixels[rows[block]] - center
        return centered.sum(axis=0, dtype=np.float64), centered.T @ centered

    sums = np.zeros(len(center))
    products = np.zeros((len(center), len(center)), np.float32)
    for block_sums, block_products in workers.map(sum_block, blocks(len(rows), _ROWS)):
        sums += block_sums
        products += block_products
    return _Sums(len(rows), sums, products)


def _from_sums(total: _Sums, center: Float32[np.ndarray, "value"], size: int) -> Components:
    num, sums, products = total
    offset = sums / num
    moments = products / np.float32(num)
    covariance = moments - np.outer(offset, offset).astype(np.float32)
    # Where all images are alike, there are rounding errors.
    has_variance = np.diag(covariance) > np.maximum(1e-5 * np.diag(moments), 1e-12)
    scale = np.where(has_variance, np.sqrt(np.maximum(np.diag(covariance), 0)), np.float32(1))
    variances, directions = _leading(covariance / scale / scale[:, None], size)
    return _whitened(center, offset, scale, directions, variances * num / (num - 1))


def _from_images(images: Float32[np.ndarray, "_ value"], size: int) -> Components:
    """scikit-learn's, for fewer images than values."""
    from sklearn.decomposition import PCA  # imported here: it takes over a second
    from sklearn.preprocessing import StandardScaler

    scaler, leading = StandardScaler(), PCA(size, random_state=0)
    leading.fit(scaler.fit_transform(images))
    center, scale = scaler.mean_.astype(np.float32), scaler.scale_.astype(np.float32)
    return _whitened(center, np.zeros(len(center)), scale, leading.components_.T, leading.explained_variance_)


def _leading(
    products: Float32[np.ndarray, "m m"], size: int
) -> tuple[Float32[np.ndarray, "size"], Float32[np.ndarray, "m size"]]:
    """The largest eigenvalues, in descending order, and their eigenvectors."""
    from scipy.linalg import eigh  # imported here: most commands need none

    last = len(products) - 1
    values, vectors = eigh(products, subset_by_index=(last - size + 1, last), check_finite=False)
    return values[::-1], vectors[:, ::-1]


def _whitened(
    center: Float32[np.ndarray, "value"],
    offset: Float64[np.ndarray, "value"],
    scale: Float32[np.ndarray, "value"],
    directions: Float32[np.ndarray, "value size"],
    variances: Float32[np.ndarray, "size"],
) -> Components:
    deviations = np.sqrt(np.maximum(variances, 0))
    is_kept = deviations > 1e-3 * max(deviations[0], 1e-6)  # whitening inflates the others: rounding errors
    matrix = directions[:, is_kept] / deviations[is_kept] / scale[:, None]
    return Components(center, matrix, -(offset @ matrix).astype(np.float32))
