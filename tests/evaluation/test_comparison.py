import numpy as np
import pytest
from scipy.stats import binomtest

from medjax.evaluation.comparison import compare_accuracies, compare_predictions, difference_interval, mcnemar


def test_mcnemar_is_the_exact_binomial_test():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(0, 5) == pytest.approx(2 / 2**5)
    assert mcnemar(1, 9) == pytest.approx(2 * 11 / 2**10)
    assert mcnemar(121, 59) == pytest.approx(binomtest(59, 180).pvalue)


def test_the_pairs_are_counted():
    first = np.array([True] * 50 + [True] * 20 + [False] * 5 + [False] * 25)
    second = np.array([True] * 50 + [False] * 20 + [True] * 5 + [False] * 25)
    compared = compare_accuracies(first, second)
    assert (compared["n"], compared["only_first_right"], compared["only_second_right"]) == (100, 20, 5)
    assert compared["difference"] == pytest.approx(first.mean() - second.mean())
    assert compared["ci95"][0] < 0.15 < compared["ci95"][1]
    assert compared["ci95"][0] > 0
    assert compared["mcnemar_p"] == pytest.approx(binomtest(5, 25).pvalue)
    assert compared["unit"] == "image"
    assert list(difference_interval(first, second)) == compared["ci95"]


@pytest.mark.parametrize("is_right", [True, False])
def test_models_that_agree_everywhere_do_not_differ(is_right):
    answers = np.full(40, is_right)
    compared = compare_accuracies(answers, answers)
    assert (compared["difference"], compared["mcnemar_p"]) == (0.0, 1.0)
    assert compared["ci95"][0] < 0 < compared["ci95"][1]
    one = compare_accuracies(answers[:1], answers[:1])
    assert one["ci95"][0] < 0 < one["ci95"][1]


def test_copies_within_groups_make_a_difference_no_surer():
    generator = np.random.default_rng(0)
    first, second = generator.random((2, 200)) < [[0.8], [0.7]]
    groups = np.arange(200).repeat(5)
    alone = compare_accuracies(first, second)
    copied = compare_accuracies(first.repeat(5), second.repeat(5), groups)
    assert copied["ci95"] == pytest.approx(alone["ci95"], abs=0.005)
    assert (copied["unit"], copied["mcnemar_p"]) == ("group", None)
    assert np.diff(compare_accuracies(first.repeat(5), second.repeat(5))["ci95"]) < 0.5 * np.diff(
        alone["ci95"]
    )
    assert compare_accuracies(first, second, np.zeros(200, int))["ci95"] is None


def test_what_changes_is_counted_and_named():
    ids = np.array([f"{number}" for number in range(100)])
    labels = np.full(100, "a")
    first = np.array(["a"] * 60 + ["b"] * 40)
    second = np.array(["a"] * 50 + ["b"] * 10 + ["a"] * 30 + ["c"] * 10)
    compared = compare_predictions(ids, labels, first, second)
    assert compared["accuracy"] == [0.6, 0.8]
    assert compared["difference"] == pytest.approx(0.2)
    assert compared["right_to_wrong"] == {"n": 10, "ids": ids[50:60].tolist()}
    assert compared["wrong_to_right"] == {"n": 30, "ids": ids[60:80].tolist()}
    assert compared["wrong_to_wrong"] == {"n": 10, "ids": ids[90:].tolist()}


@pytest.mark.parametrize("num_groups", [2, 3])
@pytest.mark.parametrize("is_right", [True, False, None])
def test_a_few_groups_leave_a_wide_interval(num_groups, is_right):
    generator = np.random.default_rng(0)
    first, second = (
        generator.random((2, 60)) < 0.8
        if is_right is None
        else (np.full(60, is_right), np.full(60, is_right))
    )
    low, high = compare_accuracies(first, second, np.arange(60) % num_groups)["ci95"]
    assert -1 <= low <= first.mean() - second.mean() <= high <= 1
    assert high - low > 0.3
