"""Prediction sets against a plain reading of their definition, and their coverage against the law that it has."""

import math

import numpy as np
import pytest
from scipy.stats import betabinom, kstest

from medjax.errors import RefusedError
from medjax.evaluation.prediction_sets import (
    count_units,
    coverage_range,
    fewest_units,
    fit_sets,
    merge_sets,
    nonconformity,
    score_sets,
)
from medjax.evaluation.units import Units
from tests.predicted import make_predictions

METHODS = ("lac", "aps", "class")


def plain_score(row, label, method):
    if method == "aps":
        return sum(float(each) for each in row if each > row[label])
    return 1 - float(row[label])


def plain_threshold(scores, groups, coverage):
    """The smallest score below or at which lies `coverage` of the groups and one more, by trying each."""
    sizes = {group: list(groups).count(group) for group in groups}
    for score in sorted(scores):
        mass = sum(1 / sizes[group] for each, group in zip(scores, groups, strict=True) if each <= score)
        if mass >= coverage * (len(sizes) + 1) - 1e-9:
            return score
    return math.inf


def plain_sets(method, known, groups, fresh, coverage):
    scores = [
        plain_score(row, label, method) for row, label in zip(known.probabilities, known.labels, strict=True)
    ]
    sets = []
    for row in fresh.probabilities:
        chosen = []
        for label in range(len(row)):
            rows = [i for i in range(len(scores)) if method != "class" or known.labels[i] == label]
            threshold = plain_threshold([scores[i] for i in rows], [groups[i] for i in rows], coverage)
            chosen.append(plain_score(row, label, method) <= threshold)
        sets.append(chosen)
    return sets


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("group_size", [1, 3])
@pytest.mark.parametrize("coverage", [0.6, 0.8, 0.95])
def test_sets_are_those_of_the_definition(method, group_size, coverage):
    known = make_predictions(n=60, shares=(0.5, 0.3, 0.2), group_size=group_size)
    fresh = make_predictions(seed=1, n=12)
    # Groups of several sizes.
    groups = np.minimum(np.arange(60) // group_size, 57 // group_size) if group_size > 1 else np.arange(60)
    found = fit_sets(method, known, None if group_size == 1 else groups.astype(str))
    expected = plain_sets(method, known, groups.tolist(), fresh, coverage)
    assert found.sets(fresh.probabilities, coverage).tolist() == expected


def test_equally_probable_classes_are_in_a_set_together():
    rows = np.array([[0.4, 0.4, 0.2], [0.25, 0.5, 0.25], [1.0, 0.0, 0.0]], np.float32)
    scores = nonconformity(rows, "aps")
    np.testing.assert_allclose(scores, [[0, 0, 0.8], [0.5, 0, 0.5], [0, 1, 1]], atol=1e-7)


def test_aps_holds_the_most_probable_class_always():
    known, fresh = make_predictions(n=100), make_predictions(seed=1, n=300)
    sets = fit_sets("aps", known).sets(fresh.probabilities, 0.5)
    assert sets[np.arange(300), fresh.probabilities.argmax(axis=1)].all()
    lac = fit_sets("lac", make_predictions(n=100, separation=4)).sets(fresh.probabilities, 0.9)
    assert (lac.sum(axis=1) == 0).any()


@pytest.mark.parametrize(("coverage", "units"), [(0.5, 1), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_with_fewer_units_every_class_is_in_every_set(coverage, units):
    assert fewest_units(coverage) == units
    fresh = make_predictions(seed=1, n=50).probabilities
    for n, is_full in ((units - 1, True), (units, False)):
        if n:
            assert fit_sets("lac", make_predictions(n=n, separation=3)).sets(fresh, coverage).all() == is_full


def test_a_class_without_images_is_in_every_set():
    known = make_predictions(n=90)
    known = known.take(known.labels != 2)
    found = fit_sets("class", known)
    assert found.sets(make_predictions(seed=1).probabilities, 0.9)[:, 2].all()
    assert count_units(found, 3)[2] == 0


def test_each_group_counts_as_one_however_many_images_it_has():
    """Copies of a patient's images change no threshold."""
    known = make_predictions(n=40)
    names = np.arange(40).astype(str)
    rows = np.concatenate([np.arange(40), np.repeat(0, 500)])
    once, often = fit_sets("lac", known, names), fit_sets("lac", known.take(rows), names[rows])
    assert once.thresholds(0.8, 3).tolist() == often.thresholds(0.8, 3).tolist()
    assert count_units(often, 3) == [40]
    assert fit_sets("lac", known.take(rows)).thresholds(0.8, 3)[0] != once.thresholds(0.8, 3)[0]


def test_a_network_that_diverged_is_refused():
    known = make_predictions(n=40)
    known.probabilities[3] = np.nan
    with pytest.raises(RefusedError, match="not finite for 1 of 40 images"):
        fit_sets("lac", known)


def test_more_than_half_of_the_sets_decide():
    each = [np.array([[True, True, False]]), np.array([[True, False, False]])]
    assert merge_sets(each).tolist() == [[True, False, False]]
    assert merge_sets([*each, np.array([[False, True, True]])]).tolist() == [[True, True, False]]


def test_scores_of_sets_count_what_they_say():
    predictions = make_predictions(n=6)._replace(labels=np.array([0, 0, 1, 1, 2, 2], np.int32))
    sets = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 1]], bool)
    found = score_sets(sets, predictions, ("a", "b", "c"), Units(np.arange(6), None))
    assert (found["n"], found["coverage"], found["mean_size"]) == (6, 4 / 6, 8 / 6)
    assert (found["empty"], found["single"], found["sizes"]) == (1 / 6, 3 / 6, [1, 3, 1, 1])
    assert found["per_class"]["b"] == {
        **{"n": 2, "coverage": 0.5, "mean_size": 1.5},
        "coverage_ci95": found["per_class"]["b"]["coverage_ci95"],
    }
    grouped = score_sets(
        sets, predictions, ("a", "b", "c"), Units(np.arange(6), np.array([0, 0, 0, 1, 1, 2]))
    )
    assert np.diff(grouped["coverage_ci95"]) > np.diff(found["coverage_ci95"])
    without = score_sets(sets[:4], predictions.take(slice(4)), ("a", "b", "c"), Units(np.arange(4), None))
    assert without["per_class"]["c"]["coverage"] is None


def test_the_range_of_the_coverage_is_that_of_its_law():
    # 39 of 40 and not 38: one that is to come counts too.
    for units, rank in ((99, 95), (40, 39)):
        low, high = coverage_range(units, 1000, 0.95)
        draws = np.random.default_rng(0)
        shares = draws.binomial(1000, draws.beta(rank, units + 1 - rank, 100_000)) / 1000
        assert (low, high) == pytest.approx(tuple(np.quantile(shares, [0.025, 0.975])), abs=0.002)


def simulate(trial, method, *, known=60, fresh=100, **options):
    drawn = make_predictions(seed=trial, n=known + fresh, **options)
    first, second = drawn.take(slice(known)), drawn.take(slice(known, None))
    return first, second


@pytest.mark.slow
@pytest.mark.parametrize("sharpness", [1.0, 4.0])  # calibrated, and much too sure
def test_coverage_in_simulation_follows_the_beta_binomial_law(sharpness):
    """Of 3,000 draws of 59 and 100 images the number of covered images is beta-binomial, for 80 %: 48 and 12."""
    covered = []
    for trial in range(3000):
        known, fresh = simulate(trial, "lac", known=59, sharpness=sharpness)
        sets = fit_sets("lac", known).sets(fresh.probabilities, 0.8)
        covered.append(int(sets[np.arange(100), fresh.labels].sum()))
    law = betabinom(100, 48, 12)
    assert np.mean(covered) == pytest.approx(law.mean(), abs=4 * law.std() / math.sqrt(3000))
    assert np.std(covered) == pytest.approx(law.std(), rel=0.06)
    # Randomized, so that a law of whole numbers is uniform where it holds.
    chance = np.random.default_rng(0).random(3000)
    ranks = law.cdf(np.array(covered) - 1) + chance * law.pmf(covered)
    assert kstest(ranks, "uniform").pvalue > 0.001


@pytest.mark.slow
@pytest.mark.parametrize("method", ["aps", "class"])
def test_the_others_cover_at_least_what_is_wanted(method):
    covered, of_class = [], []
    for trial in range(1000):
        known, fresh = simulate(trial, method, known=120, shares=(0.6, 0.4))
        hits = fit_sets(method, known).sets(fresh.probabilities, 0.9)[np.arange(100), fresh.labels]
        covered.append(hits.mean())
        of_class.append(hits[fresh.labels == 1].mean())
    error = np.std(covered) / math.sqrt(1000)
    assert np.mean(covered) > 0.9 - 3 * error
    if method == "class":
        assert 0.9 - 3 * np.std(of_class) / math.sqrt(1000) < np.mean(of_class) < 0.94


@pytest.mark.slow
def test_groups_cover_images_of_new_groups():
    """Of 39 groups of 1 to 20 images: an image of each of 100 new groups; counted as single images they would cover less."""
    grouped, ignored = [], []
    for trial in range(600):
        drawn = make_predictions(seed=trial, n=139 * 20, group_size=20, sharpness=3.0)
        sizes = np.random.default_rng(trial).choice([1, 20], 139)
        position = np.arange(139 * 20) % 20
        group = np.arange(139 * 20) // 20
        known = drawn.take((group < 39) & (position < sizes[group]))
        names = group[known.indices].astype(str)
        fresh = drawn.take((group >= 39) & (position == 0))
        for found, into in ((fit_sets("lac", known, names), grouped), (fit_sets("lac", known), ignored)):
            hits = found.sets(fresh.probabilities, 0.95)[np.arange(100), fresh.labels]
            into.append(hits.mean())
    error = np.std(grouped) / math.sqrt(600)
    assert 0.95 - 3 * error < np.mean(grouped) < 0.98
    assert np.mean(ignored) < np.mean(grouped)
