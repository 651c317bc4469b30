"""Twins between train and what is scored, against a comparison of every image with every other."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medjax.data.splitting.leakage import describe_leakage, groups_across_parts
from medjax.records import Split
from tests.data.splitting.test_duplicates import make_dataset
from tests.data.splitting.test_near_pairs import clustered


def draw_splits(generator, n, count):
    parts = generator.integers(0, 3, (count, n))
    return [Split(*(np.flatnonzero(row == part) for part in range(3))) for row in parts]


@given(st.integers(0, 10**6), st.integers(3, 40), st.integers(1, 3))
@settings(deadline=None, max_examples=50)
def test_counts_are_those_of_comparing_all_with_all(seed, n, count):
    generator = np.random.default_rng(seed)
    dataset = make_dataset(clustered(generator, n, side=2), np.arange(n) % 2)
    splits = draw_splits(generator, n, count)
    found = describe_leakage(dataset, splits, 2.0)
    flat = dataset.images.reshape(n, -1).astype(float)
    for part in ("test", "val"):
        scored = [(split, i) for split in splits for i in getattr(split, part)]
        if not scored:
            assert part not in found
            continue
        for label, name in ((None, None), (0, "a"), (1, "b")):
            chosen = [(split, i) for split, i in scored if label in (None, dataset.labels[i])]
            exact = [any(np.array_equal(flat[i], flat[j]) for j in split.train) for split, i in chosen]
            near = [
                any(
                    dataset.labels[i] == dataset.labels[j] and np.mean((flat[i] - flat[j]) ** 2) <= 4
                    for j in split.train
                )
                for split, i in chosen
            ]
            block = found[part] if name is None else found[part]["by_class"][name]
            assert block["n"] == len(chosen)
            assert block["exact"] == sum(exact)
            assert block["near"] == sum(one or other for one, other in zip(exact, near, strict=True))


def test_planted_twins_are_counted_part_by_part():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (12, 5, 5, 1)).astype(np.uint8)
    images[6] = images[0]  # test: identical
    images[7] = np.clip(images[1].astype(int) + 1, 0, 255)  # test: near
    images[9] = images[2]  # val: identical
    images[10] = images[11]  # val and test: of no concern, as nobody trains on either
    split = Split(np.arange(6), np.array([9, 10]), np.array([6, 7, 8, 11]))
    found = describe_leakage(make_dataset(images, [0, 1] * 6), [split], 1.0)
    assert {name: found["test"][name] for name in ("n", "exact", "near")} == {"n": 4, "exact": 1, "near": 2}
    assert {name: found["val"][name] for name in ("n", "exact", "near")} == {"n": 2, "exact": 1, "near": 1}
    assert found["test"]["by_class"] == {
        "a": {"n": 2, "exact": 1, "near": 1},
        "b": {"n": 2, "exact": 0, "near": 1},
    }


def test_a_twin_under_another_label_is_exact_and_a_near_one_is_not_looked_for():
    images = np.array([10, 90, 10, 91], np.uint8).repeat(4).reshape(4, 2, 2, 1)
    split = Split(np.array([0, 1]), np.array([], int), np.array([2, 3]))
    found = describe_leakage(make_dataset(images, [0, 0, 1, 1]), [split], 2.0)
    assert (found["test"]["exact"], found["test"]["near"]) == (1, 1)
    assert "val" not in found


def test_without_a_threshold_near_twins_are_unknown():
    images = np.zeros((4, 2, 2, 1), np.uint8)
    split = Split(np.array([0, 1]), np.array([], int), np.array([2, 3]))
    found = describe_leakage(make_dataset(images, [0, 1] * 2), [split], None)
    assert found["threshold"] is None
    assert found["test"]["exact"] == 2
    assert found["test"]["near"] is None
    assert found["test"]["by_class"]["a"]["near"] is None


def test_groups_across_official_parts_are_named():
    images = np.zeros((6, 2, 2, 1), np.uint8)
    parts = ["train", "test", "train", "val", "test", "train"]
    groups = ["p", "p", "q", "r", "r", "q"]
    dataset = make_dataset(images, [0, 1] * 3, groups, parts)
    assert groups_across_parts(dataset) == {"p": ["test", "train"], "r": ["test", "val"]}
    assert groups_across_parts(dataset._replace(groups=None)) == {}
    assert groups_across_parts(dataset._replace(split=None)) == {}
    folds = dataset._replace(split=None, folds=np.array(["1", "2", "1", "1", "1", "1"]))
    assert groups_across_parts(folds, by_folds=True) == {"p": ["1", "2"]}
