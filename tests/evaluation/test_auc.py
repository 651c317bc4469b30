"""Areas under ROC curves against all pairs of images, other packages, and simulated truths."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from medjax.evaluation.auc import area_interval, class_area, compare_areas, mean_area
from tests.predicted import make_predictions


def by_all_pairs(is_class, scores, clusters):
    """Area and variance of the references, with every pair of a member and another image in memory."""
    pairs = np.sign(scores[is_class][:, None] - scores[~is_class][None]) / 2 + 0.5
    area, (m, n) = pairs.mean(), pairs.shape
    of_members, of_others = pairs.mean(axis=1), pairs.mean(axis=0)
    if clusters is None:
        return area, of_members.var(ddof=1) / m + of_others.var(ddof=1) / n
    sums = np.zeros((2, clusters.max() + 1))
    np.add.at(sums[0], clusters[is_class], (of_members - area) / m)
    np.add.at(sums[1], clusters[~is_class], (of_others - area) / n)
    units = np.array([len(set(clusters[is_class])), len(set(clusters[~is_class]))])
    sums *= np.sqrt(units / np.maximum(units - 1, 1))[:, None]
    return area, (sums.sum(axis=0) ** 2).sum()


def areas_of(predictions, clusters=None):
    return [
        class_area(predictions.labels == label, column, clusters)
        for label, column in enumerate(predictions.probabilities.T)
    ]


def variance(area):
    return float((area.contributions**2).sum())


def test_area_and_variance_are_those_of_all_pairs():
    generator = np.random.default_rng(0)
    for trial in range(200):
        size = int(generator.integers(6, 80))
        is_class = generator.permutation(np.arange(size) < generator.integers(2, size - 1))
        scores = generator.integers(0, 2 + trial // 4, size) / 7.0 + 0.5 * is_class  # many ties
        clusters = None if trial % 2 else generator.permutation(np.arange(size) // 3)
        area, expected = by_all_pairs(is_class, scores, clusters)
        found = class_area(is_class, scores, clusters)
        sums = found.contributions if clusters is None else np.bincount(clusters, found.contributions)
        assert found.value == pytest.approx(area, abs=1e-12)
        assert (sums**2).sum() == pytest.approx(expected, rel=1e-9, abs=1e-15)
        assert found.apart == pytest.approx(by_all_pairs(is_class, scores, None)[1], rel=1e-9, abs=1e-15)
        assert found.value == pytest.approx(roc_auc_score(is_class, scores), abs=1e-12)


def test_other_packages_have_the_same_numbers():
    """mlstatkit 0.1.91 (`Delong_test`: p and var_diff), confidenceinterval 1.0.5 (`delong_roc_variance`, in float32)."""
    generator, is_class = np.random.default_rng(7), np.arange(80) < 30
    scores = np.round(generator.normal(size=80) + 1.2 * is_class, 1)
    others = np.round(0.5 * scores + generator.normal(size=80) + 0.4 * is_class, 1)
    first, second = class_area(is_class, scores), class_area(is_class, others)
    found = compare_areas(first, second)
    assert found["p"] == pytest.approx(0.985408903271221, rel=1e-9)
    difference = first.contributions - second.contributions
    assert (difference**2).sum() == pytest.approx(0.0029898942841504413, rel=1e-9)
    assert np.diff(found["ci95"])[0] == pytest.approx(2 * 1.959963985 * 0.0029898942841504413**0.5)
    assert variance(first) == pytest.approx(0.003214482580847148, rel=1e-6)


def test_of_two_classes_the_mean_area_is_that_of_either():
    predictions = make_predictions(shares=(0.3, 0.7))
    areas = areas_of(predictions)
    assert mean_area(areas).value == pytest.approx(areas[0].value)
    assert variance(mean_area(areas)) == pytest.approx(variance(areas[1]))
    assert area_interval(mean_area(areas)) == pytest.approx(area_interval(areas[0]))
    certain = predictions._replace(
        probabilities=np.eye(2, dtype=np.float32)[predictions.labels]
    )  # no variance: the classes are taken as correlated perfectly, which the two are
    areas = areas_of(certain)
    assert area_interval(mean_area(areas)) == pytest.approx(area_interval(areas[0]))


def test_near_the_ends_the_interval_is_of_the_score_type():
    """Its ends solve the equation that Newcombe (2006) gives for method 5."""
    is_class = np.arange(30) < 10
    low, high = area_interval(class_area(is_class, is_class.astype(float)))
    assert (low < 1, high) == (True, 1.0)
    pairs = 1 + 14 * ((1 - low) / (2 - low) + low / (1 + low))
    assert (1 - low) ** 2 == pytest.approx(1.959964**2 * low * (1 - low) * pairs / 200, rel=1e-6)
    mirrored = area_interval(class_area(is_class, -is_class.astype(float)))
    assert mirrored == pytest.approx((0.0, 1 - low))
    one = class_area(np.arange(30) == 0, np.arange(30.0))  # a single member, below all others
    low, high = area_interval(one)
    assert (low, 0.5 < high < 0.7) == (0.0, True)


def test_copies_and_groups_make_nothing_surer():
    predictions = make_predictions(n=300)
    once = mean_area(areas_of(predictions))
    units = np.arange(300).repeat(2)
    twice = mean_area(areas_of(predictions.take(units), units))
    assert area_interval(twice, units) == pytest.approx(area_interval(once, np.arange(300)), abs=1e-9)
    assert area_interval(once, np.zeros(300, int)) is None
    for separation in (1.5, 9.0):  # an interval of DeLong's, one of Newcombe's
        predictions = make_predictions(n=300, separation=separation, group_size=6)
        alone, together = (
            area_interval(mean_area(areas_of(predictions, clusters)), clusters)
            for clusters in (None, np.arange(300) // 6)
        )
        assert np.diff(together) > 1.5 * np.diff(alone)


def test_what_has_no_area_has_no_mean():
    scores = np.linspace(0, 1, 5)
    assert class_area(np.ones(5, bool), scores) is class_area(np.zeros(5, bool), scores) is None
    assert mean_area([class_area(scores > 0.5, scores), None]) is mean_area([]) is None


def test_models_that_rank_alike_do_not_differ():
    predictions = make_predictions()
    area = mean_area(areas_of(predictions))
    sharper = mean_area(areas_of(predictions._replace(probabilities=predictions.probabilities**2)))
    found = compare_areas(sharper, area)
    assert (found["difference"], found["p"]) == (0.0, None)
    assert -0.02 < found["ci95"][0] < 0 < found["ci95"][1] < 0.02
    is_class = predictions.labels == 0
    perfect = class_area(is_class, is_class.astype(float))
    low, high = compare_areas(perfect, perfect)["ci95"]
    assert -0.1 < low < 0 < high < 0.1


def simulate(seed, n, share, area, group_size=1):
    """Scores of members and others from normal distributions with this area; groups of one kind, half of the noise shared."""
    generator, groups = np.random.default_rng(seed), n // group_size
    is_class = (np.arange(groups) < share * groups).repeat(group_size)
    noise = generator.normal(size=n)
    if group_size > 1:
        noise = (noise + generator.normal(size=groups).repeat(group_size)) / math.sqrt(2)
    return is_class, noise + is_class * norm.ppf(area) * math.sqrt(2)


def coverage(trials, area, group_size, **condition):
    held = 0
    for seed in range(trials):
        is_class, scores = simulate(seed, area=area, group_size=group_size, **condition)
        clusters = None if group_size == 1 else np.arange(len(scores)) // group_size
        low, high = area_interval(class_area(is_class, scores, clusters), clusters)
        held += low <= area <= high
    return held / trials


@pytest.mark.slow
@pytest.mark.parametrize("group_size", [1, 4])
@pytest.mark.parametrize("area", [0.7, 0.9])
@pytest.mark.parametrize("share", [0.3, 0.5])
@pytest.mark.parametrize("n", [100, 400])
def test_the_interval_covers_the_truth_as_often_as_it_says(n, share, area, group_size):
    assert 0.93 <= coverage(3000, area, group_size, n=n, share=share) <= 0.97
