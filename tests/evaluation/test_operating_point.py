"""Thresholds against all that there are, and decisions against their counts."""

import json

import numpy as np
import pytest

from medjax.evaluation.intervals import wilson_interval
from medjax.evaluation.operating_point import ABOVE_ALL, choose_threshold, score_decisions
from medjax.evaluation.units import Units

GAINS = {  # of sensitivity and specificity; what is not allowed is below all
    ("youden", 0.0): lambda sensitivity, specificity: sensitivity + specificity,
    ("sensitivity", 0.8): lambda sensitivity, specificity: specificity if sensitivity >= 0.8 else -1,
    ("specificity", 0.9): lambda sensitivity, specificity: sensitivity if specificity >= 0.9 else -1,
    ("cost", 7.0): lambda sensitivity, specificity: -7 * (1 - sensitivity) * 0.4 - (1 - specificity) * 0.6,
}


def rates(is_positive, is_called):
    return is_called[is_positive].mean(), 1 - is_called[~is_positive].mean()


@pytest.mark.parametrize("rule", GAINS)
def test_no_threshold_is_better_and_of_equals_it_is_the_lowest(rule):
    generator = np.random.default_rng(0)
    for trial in range(30):
        is_positive = generator.permutation(np.arange(50) < 20)
        scores = (generator.integers(0, 30, 50) / 60 + 0.3 * is_positive).astype(np.float32)
        threshold = choose_threshold(is_positive, scores, *rule)
        tried = [0.0, *np.unique(scores).tolist(), ABOVE_ALL]
        gains = [GAINS[rule](*rates(is_positive, scores >= each)) for each in tried]
        found = GAINS[rule](*rates(is_positive, scores >= threshold))
        assert found == pytest.approx(max(gains)), trial
        called = (scores >= threshold).sum()
        lower = [gain for each, gain in zip(tried, gains, strict=True) if (scores >= each).sum() > called]
        assert all(gain < found - 1e-9 for gain in lower), trial


def test_a_specificity_of_one_may_need_a_threshold_above_all():
    scores = np.array([0.2, 1.0], np.float32)
    assert choose_threshold(np.array([True, False]), scores, "specificity", 1.0) == ABOVE_ALL
    assert choose_threshold(np.array([True, False]), scores, "sensitivity", 1.0) < 0.2


def test_a_prevalence_changes_what_a_missed_one_costs():
    is_positive, scores = np.arange(100) % 2 == 0, np.linspace(0, 1, 100).astype(np.float32)
    rare, common = (choose_threshold(is_positive, scores, "cost", 1.0, share) for share in (0.01, 0.99))
    assert rare == ABOVE_ALL
    assert common == 0


def decide(true_positives, false_negatives, false_positives, true_negatives, **options):
    counts = true_positives, false_negatives, false_positives, true_negatives
    is_positive = np.repeat([True, True, False, False], counts)
    is_called = np.repeat([True, False, True, False], counts)
    units = Units(np.arange(sum(counts)), options.pop("groups", None))
    return score_decisions(is_positive, is_called, units, **options)


def test_the_table_and_what_follows_from_it():
    found = decide(45, 5, 30, 120)
    assert [found[name] for name in ("true_positives", "false_positives")] == [45, 30]
    expected = {"prevalence": 0.25, "sensitivity": 0.9, "specificity": 0.8, "ppv": 0.6, "npv": 0.96}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["ppv_ci95"] == pytest.approx(wilson_interval(45, 75))
    assert found["likelihood_ratio_positive"] == pytest.approx(4.5)
    assert found["likelihood_ratio_negative"] == pytest.approx(0.125)
    low, high = found["likelihood_ratio_positive_ci95"]
    # Exponential bounds of the usual interval on the scale of logarithms are near.
    error = np.sqrt(1 / 45 - 1 / 50 + 1 / 30 - 1 / 150)
    assert [low, high] == pytest.approx(4.5 * np.exp(np.array([-1.96, 1.96]) * error), rel=0.05)
    assert found["at_prevalence"] is None
    json.dumps(found, allow_nan=False)


def test_at_its_own_prevalence_predictive_values_are_those_of_the_table():
    found = decide(45, 5, 30, 120, prevalence=0.25)
    assert found["at_prevalence"]["ppv"] == pytest.approx(found["ppv"])
    assert found["at_prevalence"]["npv"] == pytest.approx(found["npv"])
    rare = decide(45, 5, 30, 120, prevalence=0.01)["at_prevalence"]
    assert rare["ppv"] == pytest.approx(0.01 * 0.9 / (0.01 * 0.9 + 0.99 * 0.2))
    assert rare["ppv_ci95"][0] < rare["ppv"] < rare["ppv_ci95"][1] < 0.1
    assert rare["npv_ci95"][0] < rare["npv"] < rare["npv_ci95"][1] <= 1


def test_what_is_undefined_or_without_bound_is_none():
    never_wrong = decide(45, 5, 0, 150, prevalence=0.1)
    assert never_wrong["likelihood_ratio_positive"] is None
    low, high = never_wrong["likelihood_ratio_positive_ci95"]
    assert (low > 20, high) == (True, None)
    assert never_wrong["at_prevalence"]["ppv"] == never_wrong["at_prevalence"]["ppv_ci95"][1] == 1
    none_called = decide(0, 50, 0, 150, prevalence=0.1)
    assert none_called["ppv"] is none_called["likelihood_ratio_positive"] is None
    assert none_called["at_prevalence"]["ppv"] is none_called["at_prevalence"]["ppv_ci95"] is None
    assert none_called["likelihood_ratio_negative"] == 1
    no_positives = decide(0, 0, 30, 120)
    assert no_positives["sensitivity"] is no_positives["likelihood_ratio_negative_ci95"] is None
    all_right = decide(50, 0, 0, 150, prevalence=0.1)
    assert all_right["likelihood_ratio_negative"] == all_right["likelihood_ratio_negative_ci95"][0] == 0


def test_groups_are_independent_and_not_their_images():
    groups = np.arange(200) // 5
    alone, grouped = decide(45, 5, 30, 120), decide(45, 5, 30, 120, groups=groups)
    for name in ("sensitivity_ci95", "ppv_ci95", "likelihood_ratio_positive_ci95"):
        assert np.diff(grouped[name]) > 1.3 * np.diff(alone[name]), name
