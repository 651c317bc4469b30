"""Splits by property: what holds for every data set, not for one example."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medjax.data.splits import holdout, split_dataset
from medjax.errors import RefusedError
from medjax.records import Dataset

class_sizes = st.lists(st.integers(3, 60), min_size=2, max_size=6)
fractions = st.sampled_from([(0.70, 0.15, 0.15), (0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.34, 0.33, 0.33)])


def labels_of(sizes, seed=0):
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    return np.random.default_rng(seed).permutation(labels)


@given(class_sizes, fractions, st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_every_image_is_in_exactly_one_part(sizes, shares, seed):
    split = holdout(labels_of(sizes), shares, seed=seed)
    assert np.array_equal(np.sort(np.concatenate(split)), np.arange(sum(sizes)))
    assert all(np.array_equal(part, np.sort(part)) for part in split)


@given(class_sizes, fractions, st.integers(0, 1000))
@settings(deadline=None)
def test_every_part_holds_every_class(sizes, shares, seed):
    labels = labels_of(sizes)
    for part in holdout(labels, shares, seed=seed):
        assert set(labels[part]) == set(range(len(sizes)))


@given(st.lists(st.integers(20, 300), min_size=2, max_size=6), fractions, st.integers(0, 1000))
@settings(deadline=None)
def test_each_class_keeps_its_share_to_within_one_image(sizes, shares, seed):
    labels = labels_of(sizes)
    split = holdout(labels, shares, seed=seed)
    for part in (split.val, split.test):
        counts = np.bincount(labels[part], minlength=len(sizes))
        assert np.abs(counts - len(part) * np.array(sizes) / sum(sizes)).max() < 1


@given(class_sizes, st.integers(0, 1000))
@settings(deadline=None)
def test_the_seed_alone_decides(sizes, seed):
    labels = labels_of(sizes)
    first, again = holdout(labels, seed=seed), holdout(labels, seed=seed)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_another_seed_gives_another_split():
    labels = labels_of([100, 100])
    assert not np.array_equal(holdout(labels, seed=0).test, holdout(labels, seed=1).test)


def test_val_and_test_are_rounded_up():
    sizes = [10_000] * 5 + [8_954]  # Medical MNIST: 0.15 of 58,954 is 8,843.1
    split = holdout(labels_of(sizes))
    assert [len(part) for part in split] == [41_266, 8_844, 8_844]


def test_rounding_is_not_fooled_by_binary_fractions():
    split = holdout(labels_of([10, 10]), (0.70, 0.15, 0.15))  # 0.15 * 20 is 3.0000000000000004 or 3
    assert len(split.test) == len(split.val) == 3


def test_a_class_with_two_images_is_refused():
    with pytest.raises(RefusedError, match="class 1: 2 images cannot be split into 3 parts"):
        holdout(np.array([0, 0, 0, 1, 1], np.int32))


def dataset_with_parts(parts):
    n = len(parts)
    return Dataset(
        images=np.zeros((n, 4, 4, 1), np.uint8),
        labels=(np.arange(n) % 2).astype(np.int32),
        class_names=("a", "b"),
        ids=np.array([str(i) for i in range(n)]),
        digests=np.zeros((n, 32), np.uint8),
        name="parts",
        split=np.array(parts),
    )


def test_parts_that_the_source_fixes_are_kept():
    parts = ["train"] * 20 + ["val"] * 6 + ["test"] * 8
    split = split_dataset(dataset_with_parts(parts))
    assert [list(part) for part in split] == [list(range(20)), list(range(20, 26)), list(range(26, 34))]


def test_val_is_taken_from_train_where_the_source_has_none():
    split = split_dataset(dataset_with_parts(["train"] * 40 + ["test"] * 10))
    assert list(split.test) == list(range(40, 50))
    assert sorted([*split.train, *split.val]) == list(range(40))
    assert len(split.val) == 8  # 0.15 / 0.85 of 40 is 7.06
