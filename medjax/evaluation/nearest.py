"""The nearest of many images to each of others, by Euclidean distance: exact, though few distances are computed.

An embedding in few dimensions never lengthens a distance: the leading principal components, and the length of what they
leave. Clusters of embedded images bound the distances to all of their members at once, by the triangle inequality; the
embedding bounds those to single images; only what is within both bounds is measured on all values.
"""

from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Real

from medjax.evaluation.worker_threads import blocks

_DIMENSIONS = 64
_SAMPLE = 4096  # images that components and clusters are found of; they decide the speed alone
_FEWEST = 1000  # images to search for: for fewer an index does not pay
_NEAR_CLUSTERS = 3  # searched first, for an upper bound of the distance
_MOST_WITHIN = 0.03  # share of the references within the bounds above which measuring all is faster
_ROUNDING = 1e-5  # bound of the errors of a squared distance in float32, relative to the squared norms
_PAIRS = 2**29  # of an image and a reference searched at a time: at most 3 % are held
_QUERIES, _REFERENCES, _ROWS = 1024, 2048, 256  # held at a time

Pixels = Real[np.ndarray, "_ value"]  # as the images have them, or floating point
Values = Float32[np.ndarray, "_ value"]
Embedded = Float32[np.ndarray, "_ dimension"]
HalfSquares = Float32[np.ndarray, "_"]  # half of squared norms or distances
Rows = Int[np.ndarray, "_"]


class Index(NamedTuple):
    """Images, embedded and in clusters."""

    embedded: Embedded
    half_squares: HalfSquares
    clusters: Rows  # of each image
    centers: Embedded
    radii: Float32[np.ndarray, "_"]  # largest distance of an image of the cluster from its center


class _References(NamedTuple):
    """Some images of an index in the order of their clusters; a place is an index into them."""

    order: Rows  # which reference stands at each place
    rows: Rows
    embedded: Embedded
    half_squares: HalfSquares
    starts: Rows  # place of the first of each cluster; the last is the number of places


class _Queries(NamedTuple):
    """Images whose nearest references are searched; a number is an index into them."""

    rows: Rows
    embedded: Embedded
    half_squares: HalfSquares


class _Pairs(NamedTuple):
    """Pairs of a query and a reference."""

    numbers: Rows
    places: Rows


def pays_to_index(num_values: int, num_images: int) -> bool:
    """Whether an index makes the search for the nearest to so many images, of so many values, faster."""
    return num_values > 2 * _DIMENSIONS and num_images >= _FEWEST


def make_index(pixels: Pixels, workers: Executor) -> Index:
    """Index `pixels` to search among any of them for the nearest to any others of them."""
    generator = np.random.default_rng(0)
    sample = np.sort(generator.permutation(len(pixels))[:_SAMPLE])
    mean = pixels[sample].mean(axis=0, dtype=np.float32)
    directions = _leading_directions(pixels[sample] - mean, generator)

    def embed(block: slice) -> Embedded:
        centered = pixels[block] - mean
        leading = centered @ directions
        rest = centered - leading @ directions.T  # a difference of squared norms would lose its digits
        return np.concatenate([leading, np.sqrt(np.einsum("nv,nv->n", rest, rest))[:, None]], axis=1)

    embedded = np.concatenate(list(workers.map(embed, blocks(len(pixels), _ROWS))))
    centers = _find_centers(embedded[sample], int(len(pixels) ** 0.5), generator)

    def assign(block: slice) -> Rows:
        return half_square_distances(embedded[block], centers).argmin(axis=1)

    clusters = np.concatenate(list(workers.map(assign, blocks(len(pixels), _QUERIES))))
    radii = np.zeros(len(centers), np.float32)
    np.maximum.at(radii, clusters, np.linalg.norm(embedded - centers[clusters], axis=1))
    return Index(embedded, np.einsum("nd,nd->n", embedded, embedded) / 2, clusters, centers, radii)


def _leading_directions(sample: Values, generator: np.random.Generator) -> Float32[np.ndarray, "value _"]:
    """Orthonormal directions, those of nearly the largest variance, by subspace iteration."""
    directions = generator.standard_normal((sample.shape[1], _DIMENSIONS), np.float32)
    for _ in range(3):
        directions = np.linalg.qr(sample.T @ (sample @ directions))[0]
    return directions


def _find_centers(sample: Embedded, count: int, generator: np.random.Generator) -> Embedded:
    """Centers of clusters, by two steps of k-means."""
    centers = sample[generator.permutation(len(sample))[:count]]
    for _ in range(2):
        clusters = half_square_distances(sample, centers).argmin(axis=1)
        for cluster in np.unique(clusters):
            centers[cluster] = sample[clusters == cluster].mean(axis=0)
    return centers


def half_square_distances(images: Embedded, centers: Embedded) -> Float32[np.ndarray, "_ center"]:
    """Half of the squared distances of images from centers, less half of the squared norms of the images."""
    return np.einsum("nd,nd->n", centers, centers) / 2 - images @ centers.T


def nearest(
    pixels: Pixels, references: Rows, images: Rows, workers: Executor, index: Index | None = None
) -> Rows:
    """Which of the references is nearest to each of the images; of equally near ones the first.

    Both are given as rows of `pixels`. An `index` of all `pixels` changes the answer only between distances that are equal
    to rounding errors. Not scikit-learn's brute-force search, which takes twice as long as the one here without an index.
    """
    found = np.full(len(images), -1)
    if index is not None:
        sorted_references = _sort_references(index, references)
        count = len(blocks(len(images), max(_PAIRS // len(references), 1)))
        shares = [slice(first, None, count) for first in range(count)]  # similar images are often neighbours

        def search(share: slice) -> Rows:
            return _search(pixels, index, sorted_references, images[share])

        for share, of_share in zip(shares, workers.map(search, shares), strict=True):
            found[share] = of_share
    left = np.flatnonzero(found < 0)
    if not len(left):
        return found
    mean = pixels[references[:: max(len(references) // _SAMPLE, 1)]].mean(axis=0, dtype=np.float32)

    def measure(block: slice) -> Rows:
        return _measure_all(pixels, references, images[left[block]], mean)

    found[left] = np.concatenate(list(workers.map(measure, blocks(len(left), _QUERIES))))
    return found


def _measure_all(pixels: Pixels, references: Rows, images: Rows, mean: Float32[np.ndarray, "value"]) -> Rows:
    """Which reference is nearest to each image, by all distances."""
    found, least = np.zeros(len(images), np.intp), np.full(len(images), np.inf, np.float32)
    centered = pixels[images] - mean  # so that squared norms, and their rounding errors, are small
    for first in range(0, len(references), _REFERENCES):
        distances = half_square_distances(centered, pixels[references[first : first + _REFERENCES]] - mean)
        nearest_here = distances.argmin(axis=1)
        least_here = distances[np.arange(len(images)), nearest_here]
        is_nearer = least_here < least
        found[is_nearer] = nearest_here[is_nearer] + first
        least[is_nearer] = least_here[is_nearer]
    return found


def _sort_references(index: Index, references: Rows) -> _References:
    clusters = index.clusters[references]
    order = np.argsort(clusters, kind="stable")
    rows = references[order]
    starts = np.searchsorted(clusters[order], np.arange(len(index.centers) + 1))
    half_squares = (1 - _ROUNDING) * index.half_squares[rows]  # so that rounding makes no bound too large
    return _References(order, rows, index.embedded[rows], half_squares, starts)


def _search(pixels: Pixels, index: Index, references: _References, images: Rows) -> Rows:
    """Which reference is nearest to each image, by the index; -1 if too many are within the bounds."""
    queries = _Queries(images, index.embedded[images], (1 - _ROUNDING) * index.half_squares[images])
    to_centers = half_square_distances(queries.embedded, index.centers)
    near = np.argpartition(to_centers, min(_NEAR_CLUSTERS, len(index.centers)) - 1, axis=1)
    is_near = np.zeros(to_centers.shape, bool)
    np.put_along_axis(is_near, near[:, :_NEAR_CLUSTERS], True, axis=1)
    pairs = _nearest_of_clusters(queries, references, is_near)
    upper = np.full(len(images), np.inf, np.float32)
    np.minimum.at(upper, pairs.numbers, _measure(pixels, queries, references, pairs))

    squares = np.einsum("nd,nd->n", index.centers, index.centers) / 2
    reach = (np.sqrt(2 * upper)[:, None] + index.radii) ** 2 / 2
    is_within = to_centers + queries.half_squares[:, None] - _ROUNDING * squares <= reach
    pairs = _pairs_within(queries, references, is_within, upper)
    distances = _measure(pixels, queries, references, pairs)
    which = references.order[pairs.places]
    by_query = np.lexsort((which, distances, pairs.numbers))
    numbers, first = np.unique(pairs.numbers[by_query], return_index=True)
    found = np.full(len(images), -1)
    found[numbers] = which[by_query[first]]
    return found


def _lower_bounds(
    queries: _Queries, references: _References, numbers: Rows, cluster: int
) -> Float32[np.ndarray, "_ reference"]:
    """Lower bounds of the halved squared distances to a cluster's references, less the queries' `half_squares`."""
    members = slice(references.starts[cluster], references.starts[cluster + 1])
    return references.half_squares[members] - queries.embedded[numbers] @ references.embedded[members].T


def _nearest_of_clusters(
    queries: _Queries, references: _References, is_near: Bool[np.ndarray, "_ cluster"]
) -> _Pairs:
    """Each query with the reference of the least lower bound in each of its near clusters."""
    pairs = [_Pairs(np.zeros(0, int), np.zeros(0, int))]
    for cluster, is_chosen in enumerate(np.ascontiguousarray(is_near.T)):
        numbers = np.flatnonzero(is_chosen)
        if len(numbers) and references.starts[cluster] < references.starts[cluster + 1]:
            least = _lower_bounds(queries, references, numbers, cluster).argmin(axis=1)
            pairs.append(_Pairs(numbers, references.starts[cluster] + least))
    return _Pairs(*map(np.concatenate, zip(*pairs, strict=True)))


def _pairs_within(
    queries: _Queries, references: _References, is_within: Bool[np.ndarray, "_ cluster"], upper: HalfSquares
) -> _Pairs:
    """Each query with all references whose lower bound is below its upper bound, if they are few."""
    pairs = [_Pairs(np.zeros(0, int), np.zeros(0, int))]
    limits = upper - queries.half_squares
    counts, most = np.zeros(len(upper), int), _MOST_WITHIN * len(references.rows)
    sizes = np.diff(references.starts)
    for cluster, is_chosen in enumerate(np.ascontiguousarray(is_within.T)):
        numbers = np.flatnonzero(is_chosen & (counts <= most))
        if len(numbers) and sizes[cluster]:
            is_below = _lower_bounds(queries, references, numbers, cluster) <= limits[numbers, None]
            which, offsets = np.divmod(np.flatnonzero(is_below), sizes[cluster])
            counts[numbers] += np.bincount(which, minlength=len(numbers))
            pairs.append(_Pairs(numbers[which], references.starts[cluster] + offsets))
    numbers, places = map(np.concatenate, zip(*pairs, strict=True))
    is_few = counts[numbers] <= most
    return _Pairs(numbers[is_few], places[is_few])


def _measure(pixels: Pixels, queries: _Queries, references: _References, pairs: _Pairs) -> HalfSquares:
    """Halved squared distances of pairs, by all values."""
    images, others = queries.rows[pairs.numbers], references.rows[pairs.places]
    distances = np.zeros(len(images), np.float32)
    for first in range(0, len(images), _ROWS):
        block = slice(first, first + _ROWS)
        differences = pixels[images[block]].astype(np.float32) - pixels[others[block]]
        distances[block] = np.einsum("nv,nv->n", differences, differences) / 2
    return distances
