"""Groups of duplicates: against a search from image to image, and on the real data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medjax.config import DataConfig
from medjax.data.load import load
from medjax.data.splitting.duplicates import (
    describe_exact,
    describe_near,
    exact_groups,
    group_duplicates,
    largest_groups,
    merge_groups,
    near_groups,
    spread_members,
)
from medjax.data.splitting.splits import fold_splits, split
from medjax.errors import RefusedError
from medjax.records import Dataset
from tests.data.splitting.test_near_pairs import all_pairs, clustered


def make_dataset(images, labels, groups=None, split=None, digests=None):
    """Of these images; the digest of each is of its own pixels unless given."""
    labels = np.asarray(labels, np.int32)
    if digests is None:
        _, numbers = np.unique(images.reshape(len(images), -1), axis=0, return_inverse=True)
        digests = numbered_digests(numbers)
    return Dataset(
        images=images,
        labels=labels,
        class_names=tuple("abcdef"[: labels.max() + 1]),
        ids=np.array([f"{label}/{number:04}" for number, label in enumerate(labels)]),
        digests=digests,
        name="made",
        groups=None if groups is None else np.array(groups),
        split=None if split is None else np.array(split),
        grouped_by=() if groups is None else ("user",),
    )


def numbered_digests(numbers):
    digests = np.zeros((len(numbers), 32), np.uint8)
    digests[:, 24:] = (np.asarray(numbers, np.uint64) + 1)[:, None].view(np.uint8)
    return digests


def components(n, pairs):
    """For each of `n` things the first one that it is linked to, found by walking from thing to thing."""
    beside = {i: set() for i in range(n)}
    for i, j in pairs:
        beside[i].add(j)
        beside[j].add(i)
    first = [-1] * n
    for start in range(n):
        waiting = [start] if first[start] < 0 else []
        while waiting:
            here = waiting.pop()
            if first[here] < 0:
                first[here] = start
                waiting += beside[here]
    return first


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_exact_groups_begin_with_their_first_image(numbers):
    groups = exact_groups(numbered_digests(numbers))
    assert groups.tolist() == [numbers.index(number) for number in numbers]


@given(st.integers(0, 10**6), st.integers(1, 50), st.sampled_from([0.0, 1.0, 2.0, 3.0]))
@settings(deadline=None, max_examples=60)
def test_near_groups_are_the_components_of_near_and_identical_pairs(seed, n, threshold):
    generator = np.random.default_rng(seed)
    images = clustered(generator, n)
    dataset = make_dataset(images, generator.integers(0, 2, n))
    same = [(i, j) for j in range(n) for i in range(j) if np.array_equal(images[i], images[j])]
    pairs = all_pairs(images, dataset.labels, threshold) | set(same)
    assert near_groups(dataset, threshold).tolist() == components(n, pairs)


def test_pairs_are_joined_as_they_come(monkeypatch):
    from medjax.data.splitting import duplicates

    generator = np.random.default_rng(1)
    dataset = make_dataset(clustered(generator, 60), generator.integers(0, 2, 60))
    whole = near_groups(dataset, 2.0)
    assert len(set(whole.tolist())) < 60
    monkeypatch.setattr(duplicates, "_MAX_PAIRS", 0)
    assert np.array_equal(near_groups(dataset, 2.0), whole)


def test_images_that_only_look_alike_at_the_models_size_are_not_identical():
    images = np.zeros((3, 2, 2, 1), np.uint8)
    dataset = make_dataset(images, [0, 0, 1], digests=numbered_digests([1, 2, 3]))
    assert exact_groups(dataset.digests).tolist() == [0, 1, 2]
    assert near_groups(dataset, 0.0).tolist() == [0, 0, 2]  # the third is of another class


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30))
def test_merged_groups_are_the_components_of_both(pairs):
    first = np.array([f"p{number}" for number, _ in pairs])
    second = np.array([f"q{number}" for _, number in pairs])
    n = len(pairs)
    links = {(i, j) for j in range(n) for i in range(j) if first[i] == first[j] or second[i] == second[j]}
    merged = merge_groups(first, second)
    assert merged.tolist() == [first[start] for start in components(n, links)]
    back = merge_groups(second, first)
    assert (merged[:, None] == merged).tolist() == (back[:, None] == back).tolist()


def test_an_image_without_a_group_is_refused():
    with pytest.raises(RefusedError, match="1 of 2 images has none"):
        merge_groups(np.array(["a", ""]), np.array(["x", "y"]))


def test_patients_and_duplicates_are_kept_together():
    images = np.arange(6, dtype=np.uint8).repeat(4).reshape(6, 2, 2, 1) * 40
    images[3] = images[0]
    dataset = make_dataset(images, [0] * 6, groups=["P", "P", "Q", "R", "R", "S"])
    grouped = group_duplicates(dataset, "exact", 2.0)
    assert grouped.groups.tolist() == ["P", "P", "Q", "P", "P", "S"]
    assert grouped.grouped_by == ("user", "exact")
    alone = group_duplicates(dataset._replace(groups=None, grouped_by=()), "exact", 2.0)
    assert alone.groups.tolist() == ["0/0000", "0/0001", "0/0002", "0/0000", "0/0004", "0/0005"]
    assert alone.grouped_by == ("exact",)


@pytest.mark.parametrize("kind", ["none", "exact", "near"])
def test_without_duplicates_nothing_changes(kind):
    images = np.arange(6, dtype=np.uint8).repeat(4).reshape(6, 2, 2, 1) * 40
    for groups in (None, list("ppqqrr")):
        dataset = make_dataset(images, [0, 1] * 3, groups)
        assert group_duplicates(dataset, kind, 2.0) is dataset


def test_identical_images_in_numbers():
    images = np.array([0, 0, 0, 90, 90, 200], np.uint8).repeat(4).reshape(6, 2, 2, 1)
    expected = {"redundant": 3, "groups": 2, "conflicting": 2}
    assert describe_exact(make_dataset(images, [0, 0, 0, 0, 1, 1])) == expected


def test_near_duplicates_in_numbers_and_a_chain_is_named():
    """In class a 20 images, each 2 gray levels brighter than the last; in class b a pair and single images."""
    levels = np.concatenate([np.arange(20) * 2, [101, 102], 111 + 15 * np.arange(8)])
    images = levels.astype(np.uint8).repeat(9).reshape(30, 3, 3, 1)
    dataset = make_dataset(images, [0] * 20 + [1] * 10)
    found = describe_near(dataset, near_groups(dataset, 2.0), 2.0)
    by_class = found.pop("by_class")
    assert found == {
        "threshold": 2.0,
        "redundant": 20,
        "groups": 2,
        "distinct": 10,
        "largest": 20,
        "sizes": {"2": 1, "3-5": 0, "6-20": 1, "21-100": 0, "over 100": 0},
        "chained": ["a"],
    }
    assert by_class["a"] == {
        "n": 20, "redundant": 19, "groups": 1, "distinct": 1, "largest": 20, "span": 38.0, "is_chained": True,
    }  # fmt: skip
    assert by_class["b"] == {
        "n": 10, "redundant": 1, "groups": 1, "distinct": 9, "largest": 2, "span": 1.0, "is_chained": False,
    }  # fmt: skip
    members = largest_groups(near_groups(dataset, 2.0), 5)
    assert [each.tolist() for each in members] == [list(range(20)), [20, 21]]
    assert [each.tolist() for each in largest_groups(near_groups(dataset, 2.0), 1)] == [list(range(20))]


def test_a_group_that_takes_much_of_its_class_is_named_though_its_images_are_alike():
    images = np.concatenate(
        [np.full((12, 2, 2, 1), 7), np.arange(28).repeat(4).reshape(28, 2, 2, 1) * 9 + 12]
    )
    dataset = make_dataset(images.astype(np.uint8), [0] * 40)
    found = describe_near(dataset, near_groups(dataset, 1.0), 1.0)
    assert found["by_class"]["a"]["span"] == 0.0
    assert found["chained"] == ["a"]


@pytest.mark.slow
def test_medical_mnist_is_grouped_and_divided(medical_mnist):
    dataset = load(medical_mnist, DataConfig(group_duplicates="none"))
    assert describe_exact(dataset) == {"redundant": 440, "groups": 348, "conflicting": 0}
    near = describe_near(dataset, near_groups(dataset, 2.0), 2.0)["by_class"]
    # Measured by others with another way of resizing, which moves a pair or two over the threshold.
    for name, distinct, largest in (("AbdomenCT", 5853, 164), ("ChestCT", 8072, 22), ("HeadCT", 9731, 117)):
        assert abs(near[name]["distinct"] - distinct) <= 1
        assert near[name]["largest"] == largest
    for kind in ("exact", "near"):
        grouped = group_duplicates(dataset, kind, 2.0)
        folds = [split.test for split in fold_splits(grouped, 5)]
        held = np.array([np.bincount(grouped.labels[fold]) for fold in folds])
        assert (held.max(axis=0) - held.min(axis=0)).max() <= 1
        assert shared_digests(dataset, folds) == 0
        assert shared_digests(dataset, split(grouped)) == 0
    assert shared_digests(dataset, [split.test for split in fold_splits(dataset, 5)]) > 0


def shared_digests(dataset, parts):
    """How many digests lie in more than one part."""
    each = [{digest.tobytes() for digest in dataset.digests[part]} for part in parts]
    return sum(map(len, each)) - len(set().union(*each))


def test_members_are_spread_from_the_first_to_the_least_like_it(monkeypatch):
    monkeypatch.setattr("medjax.data.splitting.duplicates._COMPARED_TOGETHER", 3)
    levels = np.array([7, 100, 130, 90, 101, 140, 99, 125, 160, 102, 98], np.uint8)
    images = levels.repeat(4).reshape(11, 2, 2, 1)
    members = spread_members(images, np.arange(1, 11), 8)
    distances = np.abs(levels[members].astype(int) - 100)
    assert len(members) == 8
    assert (np.diff(distances) >= 0).all()
    assert (distances[0], distances[-1]) == (0, 60)
    deep = spread_members(images * np.uint16(257), np.arange(1, 11), 8)
    np.testing.assert_array_equal(deep, members)
