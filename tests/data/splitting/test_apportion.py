"""Images and groups into parts with given quotas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medjax.data.splitting.apportion import assign_parts, number_groups, require_enough, require_everywhere
from medjax.errors import RefusedError

SEEDS = st.integers(0, 10**6)


def held_by(labels, parts, shape):
    held = np.zeros(shape, np.int64)
    np.add.at(held, (parts, labels), 1)
    return held


@given(st.lists(st.lists(st.integers(1, 40), min_size=2, max_size=2), min_size=2, max_size=5), SEEDS)
@settings(deadline=None)
def test_whole_quotas_are_met_exactly(quotas, seed):
    quotas = np.array(quotas, np.float64)
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(2, dtype=np.int32), quotas.sum(axis=0).astype(int)))
    parts = assign_parts(labels, None, quotas, generator)
    assert np.array_equal(held_by(labels, parts, quotas.shape), quotas)


@given(
    st.lists(st.lists(st.integers(1, 30), min_size=5, max_size=12), min_size=2, max_size=4),
    st.lists(st.floats(0.05, 1), min_size=2, max_size=5),
    SEEDS,
)
@settings(deadline=None)
def test_groups_of_one_class_reach_every_part_if_they_are_enough(sizes, shares, seed):
    """Of any sizes: as few as there are parts, one of them with nearly all images."""
    labels = np.concatenate([np.full(sum(each), label, np.int32) for label, each in enumerate(sizes)])
    groups = np.repeat(np.arange(sum(map(len, sizes))), np.concatenate(sizes))
    quotas = np.outer(np.array(shares) / sum(shares), np.bincount(labels))
    parts = assign_parts(labels, groups, quotas, np.random.default_rng(seed))
    assert (held_by(labels, parts, quotas.shape) > 0).all()
    assert all(len(set(parts[groups == group])) == 1 for group in set(groups))


@given(SEEDS, st.lists(st.floats(0.1, 1), min_size=2, max_size=4))
@settings(deadline=None)
def test_no_part_ends_beyond_its_quota_while_another_is_short(seed, shares):
    """With single images to fill up: what a part has too much came in its groups."""
    generator = np.random.default_rng(seed)
    groups = number_groups(np.sort(generator.integers(0, 150, 300)))
    labels = np.zeros(300, np.int32)
    quotas = (np.array(shares) / sum(shares) * 300)[:, None]
    parts = assign_parts(labels, groups, quotas, generator)
    is_single = (np.bincount(groups) == 1)[groups]
    short = np.bincount(parts, minlength=len(shares)) < np.floor(quotas[:, 0])
    beyond = np.bincount(parts, minlength=len(shares)) > np.ceil(quotas[:, 0])
    if short.any():
        assert not is_single[beyond[parts]].any()


def test_large_groups_go_where_there_is_room():
    labels = np.repeat(np.arange(2, dtype=np.int32), 30)
    groups = np.concatenate([np.repeat([0, 1, 2], 10), 3 + np.arange(30)])
    parts = assign_parts(labels, groups, np.full((3, 2), 10.0), np.random.default_rng(0))
    assert held_by(labels, parts, (3, 2)).tolist() == [[10, 10]] * 3


def test_rare_classes_count_as_much_as_common_ones():
    """Two groups that hold all of a rare class, among many of a common one, are parted."""
    labels = np.array([1, 1] * 2 + [0, 0] * 200, np.int32)
    groups = np.repeat(np.arange(202), 2)
    for seed in range(20):
        parts = assign_parts(
            labels, groups, np.outer([0.5, 0.5], np.bincount(labels)), np.random.default_rng(seed)
        )
        assert sorted(parts[[0, 2]]) == [0, 1]


def test_groups_are_numbered_by_value():
    assert number_groups(np.array(["b", "a", "b", "c"])).tolist() == [0, 1, 0, 2]
    assert number_groups(np.array([7, 3, 7])).tolist() == [0, 1, 0]
    assert number_groups(np.array(["x", 1, ("y", 2), "x", 1.0], object)).tolist() == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("values", [["a", ""], [1.0, float("nan")], np.array(["a", None], object)])
def test_a_missing_group_is_refused(values):
    with pytest.raises(RefusedError, match=r"^groups: 1 of 2 images has none, the first is image 1"):
        number_groups(np.array(values))


def test_every_class_that_is_too_small_is_named():
    labels = np.array([0, 0, 0, 1, 2, 2], np.int32)
    with pytest.raises(RefusedError) as refusal:
        require_enough(labels, None, 3, "folds", ())
    assert [problem.name for problem in refusal.value.problems] == ["class 1", "class 2"]
    groups = np.array([0, 0, 1, 2, 3, 4])
    with pytest.raises(RefusedError, match="class c: 2 groups cannot be split into 3 folds"):
        require_enough(labels, groups, 3, "folds", ("a", "b", "c"))
    with pytest.raises(RefusedError, match="class d: 0 images"):
        require_enough(labels, None, 1, "folds", ("a", "b", "c", "d"))
    require_enough(labels, groups, 1, "folds", ("a", "b", "c"))


def test_a_class_that_its_groups_keep_together_is_named():
    labels = np.array([0, 0, 1, 1], np.int32)
    require_everywhere(labels, np.array([0, 1, 1, 0]), 2, "folds", ())
    with pytest.raises(
        RefusedError, match=r"^class b: its groups could not be spread over 2 folds .try another"
    ):
        require_everywhere(labels, np.array([0, 1, 1, 1]), 2, "folds", ("a", "b"))
