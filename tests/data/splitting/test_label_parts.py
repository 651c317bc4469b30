"""Iterative stratification: the spread of each label over folds, groups whole, and rare labels in every part."""

import numpy as np
import pytest

from medjax.data.splitting.label_parts import assign_by_labels, require_enough_labels
from medjax.data.splitting.splits import draw_parts, k_fold
from medjax.errors import RefusedError

# Shares of 14 labels, from common to rare, as in ChestX-ray14.
SHARES = np.array([0.18, 0.12, 0.1, 0.06, 0.05, 0.05, 0.04, 0.03, 0.025, 0.02, 0.02, 0.015, 0.01, 0.006])


def make_labels(kind, n=2000, seed=0):
    """Matrices 0/1: labels that are independent, that come together, or that most images have."""
    generator = np.random.default_rng(seed)
    if kind == "together":
        severity = generator.normal(size=(n, 1))
        return (severity + generator.normal(size=(n, 8)) > np.linspace(0.5, 3.5, 8)).astype(np.int32)
    shares = SHARES if kind == "independent" else np.linspace(0.5, 0.95, 6)
    return (generator.random((n, len(shares))) < shares).astype(np.int32)


def spread(labels, folds, k):
    """Mean over the labels of the standard deviation over folds of the share of images with the label, and of fold sizes."""
    shares = np.array([labels[folds == fold].mean(axis=0) for fold in range(k)])
    return shares.std(axis=0).mean(), np.bincount(folds, minlength=k).std()


@pytest.mark.parametrize("kind", ["independent", "together", "common"])
def test_labels_spread_evenly_over_folds(kind):
    labels = make_labels(kind)
    numbers = np.empty(len(labels), int)
    for fold, test in enumerate(k_fold(labels, 5, seed=1)):
        numbers[test] = fold
    positives = np.array([labels[numbers == fold].sum(axis=0) for fold in range(5)])
    drawn = np.random.default_rng(0).permutation(np.arange(len(labels)) % 5)
    assert (positives > 0).all()
    assert spread(labels, numbers, 5)[0] < 0.4 * spread(labels, drawn, 5)[0]
    assert spread(labels, numbers, 5)[1] < 4


def test_groups_stay_whole_and_unknown_labels_count_for_none():
    labels = make_labels("independent", n=600)[:, :10]
    labels[::7, 0] = -1
    groups = np.random.default_rng(2).integers(0, 200, 600)
    train, val, test = draw_parts(np.arange(600), labels, (0.15, 0.15), 0, groups.astype(str))
    assert not {*groups[train]} & {*groups[val]}
    assert not {*groups[test]} & {*groups[train], *groups[val]}
    shares = [(labels[part] == 1).sum(axis=0) / (labels == 1).sum(axis=0) for part in (val, test)]
    assert np.abs(np.array(shares)[:, :6] - 0.15).max() < 0.05
    assert sorted(np.concatenate([train, val, test])) == [*range(600)]


def test_a_label_with_as_many_images_as_parts_is_in_each():
    labels = np.zeros((40, 2), np.int32)
    labels[:3, 0], labels[:20, 1] = 1, 1
    for seed in range(5):
        parts = assign_by_labels(labels, None, np.array([0.7, 0.15, 0.15]), np.random.default_rng(seed))
        assert sorted(parts[:3]) == [0, 1, 2]


def test_labels_that_their_groups_keep_out_of_a_part_are_named():
    """Three labels, each in two of three groups: however two folds share these, one label is in one fold only."""
    labels = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]] * 2, np.int32)
    with pytest.raises(
        RefusedError, match=r"^label [abc]: its images could not be spread over 2 folds .try an"
    ):
        k_fold(labels, 2, groups=np.array(["x", "y", "z"] * 2), class_names="abc")


def test_too_rare_labels_are_refused_by_name():
    labels = np.array([[1, 1], [1, 0], [1, 1], [1, 0]], np.int32)
    with pytest.raises(RefusedError, match=r"label rare: 2 images have it, .* 3 parts .*at least 3"):
        require_enough_labels(labels, None, 3, "parts", ("common", "rare"))
    with pytest.raises(RefusedError, match="label rare: 1 group has it"):
        draw_parts(np.arange(4), labels, (0.2,), 0, np.array(["a", "b", "a", "c"]), ("common", "rare"))
