"""Near pairs, against all pairs compared one by one."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medjax.data.splitting import near_pairs as neighbours
from medjax.data.splitting.near_pairs import near_pairs


def all_pairs(images, labels, threshold):
    """Every pair of one class whose squared difference, in whole numbers, is small enough."""
    flat = images.reshape(len(images), -1).astype(np.int64)
    squared = ((flat[:, None] - flat[None]) ** 2).sum(axis=2)
    is_near = (squared <= threshold**2 * flat.shape[1]) & (labels[:, None] == labels[None])
    return {(int(i), int(j)) for i, j in np.argwhere(np.triu(is_near, 1))}


def found_pairs(images, labels, threshold):
    found = [
        (min(pair), max(pair))
        for first, second in near_pairs(images, labels, threshold)
        for pair in zip(first.tolist(), second.tolist(), strict=True)
    ]
    assert len(found) == len(set(found)), "a pair was given twice"
    return set(found)


def clustered(generator, n, side=4, channels=1, spread=3):
    """Images around a few centres, so that some pairs are near and most are not."""
    centres = generator.integers(0, 256, (max(n // 6, 1), side, side, channels))
    noise = generator.integers(-spread, spread + 1, (n, side, side, channels))
    return np.clip(centres[generator.integers(0, len(centres), n)] + noise, 0, 255).astype(np.uint8)


@given(
    st.integers(0, 10**6), st.integers(1, 60), st.sampled_from([0.0, 0.5, 1.0, 2.0, 2.5, 4.0, 40.0, 255.0])
)
@settings(deadline=None, max_examples=60)
def test_the_pairs_are_all_those_that_there_are(seed, n, threshold):
    generator = np.random.default_rng(seed)
    images = clustered(generator, n, channels=int(generator.choice([1, 3])))
    labels = generator.integers(0, 3, n).astype(np.int32)
    assert found_pairs(images, labels, threshold) == all_pairs(images, labels, threshold)
    assert found_pairs(images * np.uint16(257), labels, threshold) == found_pairs(images, labels, threshold)


def test_the_threshold_itself_is_near_and_the_next_whole_number_is_not():
    """At every place of the scale: 28 by 28 bright pixels have norms that single precision rounds."""
    base = np.full((28, 28, 1), 250, np.uint8)
    on, beyond = base.copy(), base.copy()
    on -= 2  # each pixel: 2 gray levels exactly
    beyond -= 2
    beyond[0, 0] -= 1
    images = np.stack([base, on, beyond])
    pairs = found_pairs(images, np.zeros(3, np.int32), 2.0)
    assert pairs == {(0, 1), (1, 2)}


def test_blocks_that_are_too_far_apart_are_not_looked_at(monkeypatch):
    """And the size of a block changes nothing, nor does the way in which many distances are computed."""
    generator = np.random.default_rng(0)
    images = clustered(generator, 90, side=3)
    labels = np.zeros(90, np.int32)
    expected = all_pairs(images, labels, 3.0)
    assert expected
    for rows, many in ((1, 0), (8, 2**13), (8, 0), (64, 0), (512, 2**13)):
        monkeypatch.setattr(neighbours, "_BLOCK_ROWS", rows)
        monkeypatch.setattr(neighbours, "_MANY_PAIRS", many)
        assert found_pairs(images, labels, 3.0) == expected
    monkeypatch.setattr(neighbours, "_BLOCK_ROWS", 8)
    far = (np.arange(64).repeat(4).reshape(64, 2, 2, 1) * 4).astype(np.uint8)
    blocks = list(near_pairs(far, np.zeros(64, np.int32), 1.0))
    assert len(blocks) == 8  # each block with itself alone
    assert not any(len(first) for first, _ in blocks)


def test_equal_images_are_all_pairs():
    images = np.full((70, 5, 5, 1), 9, np.uint8)
    assert len(found_pairs(images, np.zeros(70, np.int32), 0.0)) == 70 * 69 // 2


def test_memory_does_not_grow_with_the_number_of_pairs():
    """3,000 equal images are 4.5 million pairs, 72 MB of indices; blocks of them are looked at one by one."""
    images = np.zeros((3_000, 4, 4, 1), np.uint8)
    labels = np.zeros(3_000, np.int32)
    tracemalloc.start()
    try:
        count = sum(len(first) for first, _ in near_pairs(images, labels, 1.0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 3_000 * 2_999 // 2
    assert peak < 36 * 2**20


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_compare(n):
    images = np.zeros((n, 4, 4, 1), np.uint8)
    assert found_pairs(images, np.zeros(n, np.int32), 2.0) == set()
