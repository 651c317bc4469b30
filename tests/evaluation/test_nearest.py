"""Exact searches, against all distances in float64."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from medjax.evaluation import nearest as module
from medjax.evaluation.nearest import make_index, nearest, pays_to_index
from medjax.evaluation.worker_threads import worker_threads

VALUES = 150


def make_clustered(generator, n):
    """Images near one of twenty, each a mixture of five patterns."""
    centers, patterns = generator.normal(size=(20, VALUES)), generator.normal(size=(20, 5, VALUES))
    kinds, mixtures = generator.integers(0, 20, n), generator.normal(size=(n, 5))
    return (
        centers[kinds]
        + np.einsum("np,npv->nv", 0.2 * mixtures, patterns[kinds])
        + 0.02 * generator.normal(size=(n, VALUES))
    )


def make_duplicated(generator, n):
    """Every image about ten times, and few values: many distances are equal, and are whole numbers."""
    return generator.integers(0, 3, (n // 10, VALUES))[generator.integers(0, n // 10, n)]


MAKERS = {
    "clustered": make_clustered,
    "duplicated": make_duplicated,
    "random": lambda generator, n: generator.normal(size=(n, VALUES)),
    "of_low_rank": lambda generator, n: generator.normal(size=(n, 4)) @ generator.normal(size=(4, VALUES)),
    "far_from_zero": lambda generator, n: 30 + make_clustered(generator, n),
    "one_apart": lambda generator, n: np.where(np.arange(n)[:, None] == 3, 1e3, make_clustered(generator, n)),
    "blank": lambda generator, n: np.zeros((n, VALUES)),
}


def make_images(name, n=1500, seed=0):
    """Images, and the rows of some in mixed order to search among, and of others to search for."""
    generator = np.random.default_rng(seed)
    pixels = MAKERS[name](generator, n).astype(np.float32)
    rows = generator.permutation(n)
    return pixels, rows[: 2 * n // 3], rows[2 * n // 3 + 50 :]


def search(pixels, references, images, *, is_indexed=True):
    with worker_threads() as workers:
        index = make_index(pixels, workers) if is_indexed else None
        return nearest(pixels, references, images, workers, index)


@pytest.mark.parametrize("is_indexed", [True, False])
@pytest.mark.parametrize("name", MAKERS)
def test_the_nearest_is_found_and_of_equals_the_first(name, is_indexed):
    pixels, references, images = make_images(name)
    distances = cdist(pixels[images].astype(np.float64), pixels[references].astype(np.float64))
    found = search(pixels, references, images, is_indexed=is_indexed)
    np.testing.assert_array_equal(found, distances.argmin(axis=1))


def test_blocks_change_nothing(monkeypatch):
    pixels, references, images = make_images("clustered")
    expected = search(pixels, references, images)
    for name, size in (("_PAIRS", 20_000), ("_QUERIES", 7), ("_REFERENCES", 50), ("_ROWS", 11)):
        monkeypatch.setattr(module, name, size)
    np.testing.assert_array_equal(search(pixels, references, images), expected)
    np.testing.assert_array_equal(search(pixels, references, images, is_indexed=False), expected)


def test_with_an_index_few_distances_are_measured(monkeypatch):
    measured = []

    def count(pixels, queries, references, pairs):
        measured.append(len(pairs.numbers))
        return measure(pixels, queries, references, pairs)

    measure = module._measure
    monkeypatch.setattr(module, "_measure", count)
    monkeypatch.setattr(module, "_measure_all", lambda *_: pytest.fail("all distances measured"))
    pixels, references, images = make_images("clustered")
    monkeypatch.setattr(module, "_MOST_WITHIN", 0.1)
    search(pixels, references, images)
    assert sum(measured) < 0.05 * len(references) * len(images)


def test_where_bounds_are_useless_all_distances_are_measured(monkeypatch):
    measured, measure_all = [], module._measure_all
    monkeypatch.setattr(
        module, "_measure_all", lambda *given: measured.append(len(given[2])) or measure_all(*given)
    )
    pixels, references, images = make_images("random")
    search(pixels, references, images)
    assert sum(measured) > 0.9 * len(images)


def test_an_embedding_lengthens_no_distance_and_a_cluster_holds_its_images():
    for name in MAKERS:
        pixels, *_ = make_images(name)
        with worker_threads() as workers:
            index = make_index(pixels, workers)
        generator = np.random.default_rng(1)
        first, second = generator.integers(0, len(pixels), (2, 1000))
        wide = pixels.astype(np.float64)
        distances = ((wide[first] - wide[second]) ** 2).sum(1)
        embedded = index.embedded.astype(np.float64)
        bounds = ((embedded[first] - embedded[second]) ** 2).sum(1)
        rounding = 2 * module._ROUNDING * (index.half_squares[first] + index.half_squares[second])
        assert (bounds <= distances + rounding).all()
        reach = np.linalg.norm(index.embedded - index.centers[index.clusters], axis=1)
        assert (reach <= index.radii[index.clusters] * (1 + 1e-6)).all()


def test_clusters_without_references_are_passed_by():
    pixels, references, images = make_images("clustered")
    with worker_threads() as workers:
        index = make_index(pixels, workers)
        references = references[np.isin(index.clusters[references], index.clusters[references[:3]])]
        found = nearest(pixels, references, images, workers, index)
    distances = cdist(pixels[images].astype(np.float64), pixels[references].astype(np.float64))
    np.testing.assert_array_equal(found, distances.argmin(axis=1))


def test_an_index_is_for_many_images_of_many_values():
    assert pays_to_index(784, 8_844)
    assert not pays_to_index(784, 100)
    assert not pays_to_index(27, 8_844)
