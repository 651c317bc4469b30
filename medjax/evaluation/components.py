"""Principal components of the training images of each fold; what several folds share is summed once."""

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

    def __sub__(self, other: "_Sums") -> "_Sums":
        return _Sums(self.num - other.num, self.sums - other.sums, self.products - other.products)


def fit_components(pixels: Pixels, trains: Sequence[Rows], workers: Executor) -> Iterator[Components]:
    """At most `MOST_COMPONENTS` principal components of the standardized values, each with variance 1, for each of `trains`.

    Those are rows of `pixels`, not all alike; the components are of these images alone. Components of nearly no variance are
    left out.
    """
    everything = np.arange(len(pixels))
    # Any center will do: it cancels out, and saves digits.
    center = pixels[:: max(len(pixels) // _ROWS, 1)].mean(axis=0, dtype=np.float32)
    is_shared = len(trains) > 1 and min(map(len, trains)) > max(len(pixels) / 2, pixels.shape[1])
    total = _sum(pixels, everything, center, workers) if is_shared else None
    for train in trains:
        size = min(MOST_COMPONENTS, pixels.shape[1], max(len(train) // 5, 1))
        if len(train) < pixels.shape[1]:
            yield _from_images(pixels[train].astype(np.float32), size)
        elif total is None:
            yield _from_sums(_sum(pixels, train, center, workers), center, size)
        else:
            others = np.delete(everything, train)
            yield _from_sums(total - _sum(pixels, others, center, workers), center, size)


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
    covariance = products / np.float32(num) - np.outer(offset, offset).astype(np.float32)
    scale = _scale(np.diag(covariance))
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


def _scale(variances: Float32[np.ndarray, "value"]) -> Float32[np.ndarray, "value"]:
    """Standard deviations; 1 where all images are alike to rounding errors."""
    deviations = np.sqrt(np.maximum(variances, 0))
    return np.where(deviations > 1e-6 * max(deviations.max(), 1), deviations, np.float32(1))


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
