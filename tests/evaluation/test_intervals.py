import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import binom, binomtest

from medjax.evaluation.intervals import (
    Pairs,
    design_effect,
    effective_size,
    grouped_wilson_interval,
    paired_difference_interval,
    wilson_interval,
)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 10), (3, 10), (8841, 8844), (58912, 58954)])
def test_it_is_scipys(successes, n):
    expected = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_reports_result():
    low, high = wilson_interval(8844 - 3, 8844)  # 99.97 % is about 3 errors
    assert (round(low, 4), round(high, 4)) == (0.9990, 0.9999)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_it_covers_the_truth_as_often_as_it_says(share):
    n = 8844
    counts = np.arange(n + 1)
    intervals = np.array([wilson_interval(int(count), n) for count in counts])
    covers = (intervals[:, 0] <= share) & (share <= intervals[:, 1])
    assert binom.pmf(counts, n, share)[covers].sum() == pytest.approx(0.95, abs=0.02)


# Newcombe's own table II: (both, only first, only second, neither), limits of method 10.
@pytest.mark.parametrize(
    ("pairs", "limits"),
    [
        (Pairs(36, 12, 2, 0), (0.0569, 0.3404)),
        (Pairs(20, 12, 2, 16), (0.0562, 0.3292)),
        (Pairs(0, 12, 2, 36), (0.0569, 0.3404)),
        (Pairs(54, 0, 0, 0), (-0.0664, 0.0664)),
        (Pairs(0, 30, 0, 0), (0.8395, 1.0000)),
    ],
)
def test_the_difference_of_pairs_is_newcombes(pairs, limits):
    assert paired_difference_interval(pairs) == pytest.approx(limits, abs=1e-4)


def test_the_difference_changes_sign_with_the_order():
    low, high = paired_difference_interval(Pairs(50, 20, 5, 25))
    assert paired_difference_interval(Pairs(50, 5, 20, 25)) == pytest.approx((-high, -low))


def test_copies_of_one_another_count_once():
    generator = np.random.default_rng(0)
    alone = (generator.random(200) < 0.8).astype(float)
    copied, groups = alone.repeat(5), np.arange(200).repeat(5)
    assert effective_size(copied, groups) == pytest.approx(200, rel=0.03)  # Student's t for 199
    assert effective_size(np.ones(1000), groups) == pytest.approx(200, rel=0.03)
    assert effective_size(alone, np.arange(200)) <= 200
    assert grouped_wilson_interval(np.ones(1000), groups)[1] == 1.0


def test_the_design_effect_of_copies_is_their_number():
    values = (np.arange(100) % 3 == 0).astype(float)
    assert design_effect(values, np.arange(100)) == pytest.approx(100 / 99)
    assert design_effect(values.repeat(4), np.arange(100).repeat(4)) == pytest.approx(400 / 99)
    assert design_effect(np.ones(400), np.arange(100).repeat(4)) == 4.0
    assert design_effect(values, np.zeros(100, int)) is None


def test_a_single_group_says_nothing_of_others():
    assert grouped_wilson_interval(np.ones(10), np.zeros(10, int)) is None


def answers(generator, num_groups, group_size, accuracies):
    """Right answers of two models that share what is hard about a group and about an image."""
    n = num_groups * group_size
    of_group = generator.normal(size=num_groups).repeat(group_size) * np.sqrt(0.4)
    of_image = generator.normal(size=n) * np.sqrt(0.2)
    return [
        (of_group + of_image + generator.normal(size=n) * np.sqrt(0.4) < ndtri(accuracy)).astype(float)
        for accuracy in accuracies
    ]


def coverage(num_groups, group_size, accuracies, trials):
    """How often the grouped intervals hold the accuracy of the first model and the difference of the two."""
    generator, groups = np.random.default_rng(0), np.arange(num_groups).repeat(group_size)
    held = np.zeros(2)
    for _ in range(trials):
        first, second = answers(generator, num_groups, group_size, accuracies)
        share = min(effective_size(first - second, groups) / len(groups), 1.0)
        counts = [(first * second).sum(), (first > second).sum(), (second > first).sum()]
        pairs = Pairs(*(share * count for count in [*counts, len(groups) - sum(counts)]))
        for number, (interval, truth) in enumerate(
            [
                (grouped_wilson_interval(first, groups), accuracies[0]),
                (paired_difference_interval(pairs), accuracies[0] - accuracies[1]),
            ]
        ):
            held[number] += interval[0] <= truth <= interval[1]
    return held / trials


@pytest.mark.parametrize(
    ("num_groups", "group_size", "accuracies"),
    [(300, 5, (0.95, 0.9)), (100, 4, (0.9, 0.8)), (1000, 1, (0.95, 0.93))],
)
def test_grouped_intervals_cover_the_truth_as_often_as_they_say(num_groups, group_size, accuracies):
    assert coverage(num_groups, group_size, accuracies, 1500) == pytest.approx([0.95] * 2, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_groups", "group_size", "accuracies"),
    [
        (300, 5, (0.99, 0.98)),
        (50, 8, (0.85, 0.8)),
        (30, 10, (0.8, 0.7)),
        (400, 1, (0.53, 0.535)),
        (60, 20, (0.95, 0.9)),
    ],
)
def test_grouped_intervals_cover_in_harder_cases(num_groups, group_size, accuracies):
    held = coverage(num_groups, group_size, accuracies, 4000)
    assert (held >= 0.93).all()
    assert (held <= 0.985).all()  # a little too wide, rather than too narrow, with few groups
