"""Pairs of images that are nearly the same, among all images of a class.

The distance is the root mean square of the difference of two images over all pixels and channels, in grey
levels (0 to 255), at the size that the model sees. A scan's neighbouring slices, a film digitised twice or a
re-encoded copy lie within a few grey levels of one another; it knows of no shift, rotation or change of contrast.
Pairs are looked for within a class alone: across classes a near-copy does not give the answer away.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8
from threadpoolctl import threadpool_limits

from medjax.records import Images, Indices, Labels

_ROWS = 512  # images of a block: a quarter of a million distances at once
_DIRECTIONS = 32
_SAMPLE, _SAMPLE_VALUES = 1024, 2**23  # images that the directions are taken from, and their pixels at most
_PIECE_VALUES = 2**20
_MANY = 2**13  # distances of a block that are cheaper to compute for all of its pairs
# What single precision may do to a squared distance, relative to the images' squared norms.
_ROUNDING = 1e-5

Pixels = UInt8[np.ndarray, "n value"]
Pairs = tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"]]  # the first and the second image of each


def near_pairs(images: Images, labels: Labels, threshold: float) -> Iterator[Pairs]:
    """Every pair of images of one class at most `threshold` grey levels apart, once, a few at a time.

    Two images are at least as far apart as their projections. So all are projected onto a few directions in
    which the class varies most; sorted along the first, most blocks of them are too far apart to be looked at;
    of the others one matrix product leaves few candidates; these are compared pixel by pixel, in whole numbers.
    The answer is exact, and memory that of two blocks of images.
    """
    # The products are small: more threads gain nothing, and on a busy machine wait for one another.
    with threadpool_limits(1, "blas"):
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            flat = images[members].reshape(len(members), -1)
            for first, second in _pairs_within(flat, threshold):
                yield members[first], members[second]


def _pairs_within(flat: Pixels, threshold: float) -> Iterator[Pairs]:
    limit = threshold**2 * flat.shape[1]
    places = _project(flat)
    order = np.argsort(places[:, 0], kind="stable")
    places = places[order]
    norms = np.einsum("ij,ij->i", places, places)
    loose = limit + 2 * _ROUNDING * norms.max()
    for start in range(0, len(flat), _ROWS):
        rows = slice(start, start + _ROWS)
        end = np.searchsorted(places[:, 0], places[rows][-1, 0] + loose**0.5, side="right")
        for other in range(start, end, _ROWS):
            columns = slice(other, min(other + _ROWS, end))
            # Of |r - c|² = |r|² + |c|² - 2 r·c, without an array of its size beside the product.
            product = places[rows] @ places[columns].T
            product -= norms[columns] / 2
            first, second = np.nonzero(product >= (norms[rows, None] - loose) / 2)
            if other == start:
                first, second = first[first < second], second[first < second]
            is_near = _within(flat, order[rows], order[columns], first, second, limit)
            yield order[rows][first[is_near]], order[columns][second[is_near]]


def _project(flat: Pixels) -> Float32[np.ndarray, "n direction"]:
    """The images along orthogonal directions in which they vary most, about, that of most variance first.

    Distances never grow by it, whatever the directions; the better they are, the fewer pairs pass for near. They
    are found in a sample of the images, by subspace iteration.
    """
    size = min(_SAMPLE, max(_SAMPLE_VALUES // flat.shape[1], 8))
    sample = flat[:: max(len(flat) // size, 1)].astype(np.float32)
    centre = sample.mean(axis=0)
    sample -= centre
    count = min(_DIRECTIONS, flat.shape[1])
    basis = np.random.default_rng(0).normal(size=(flat.shape[1], count)).astype(np.float32)
    for _ in range(4):
        basis, _ = np.linalg.qr(sample.T @ (sample @ basis))
    basis = basis[:, np.argsort(-((sample @ basis) ** 2).sum(axis=0))]
    step = max(_PIECE_VALUES // flat.shape[1], 1)
    return np.concatenate(
        [(flat[start : start + step] - centre) @ basis for start in range(0, len(flat), step)]
    )


def _within(
    flat: Pixels,
    rows: Int[np.ndarray, "row"],
    columns: Int[np.ndarray, "column"],
    first: Indices,
    second: Indices,
    limit: float,
) -> Bool[np.ndarray, "m"]:
    """Whether the squared distance of each pair of a row and a column is at most `limit`, in whole numbers."""
    if len(first) > _MANY:
        # Of whole numbers below 2**53, double precision loses nothing.
        wide, high = flat[rows].astype(np.float64), flat[columns].astype(np.float64)
        norms = (wide**2).sum(axis=1)[:, None] + (high**2).sum(axis=1)
        squared = (norms - 2 * wide @ high.T)[first, second]
    else:
        squared = np.zeros(len(first))
        step = max(_PIECE_VALUES // flat.shape[1], 1)
        for start in range(0, len(first), step):
            piece = slice(start, start + step)
            difference = flat[rows[first[piece]]].astype(np.int32) - flat[columns[second[piece]]]
            squared[piece] = (difference**2).sum(axis=1, dtype=np.int64)
    return squared <= limit * (1 + 1e-12)  # the limit is a product of rounded numbers
