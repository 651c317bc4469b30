"""Slopes of the scaling benchmark, and the images that it repeats."""

import numpy as np
import pytest

from benchmarks.scaling import describe_slopes, fit_exponent, repeat
from medjax.data.load import fingerprint
from medjax.data.phantom.dataset import make_phantom

SIZES = [1000, 2000, 5000, 10000]


def test_a_power_law_is_found_exactly():
    exponent, deviation = fit_exponent(SIZES, [3e-4 * size**1.25 for size in SIZES])
    assert exponent == pytest.approx(1.25)
    assert deviation == pytest.approx(0, abs=1e-9)


def test_the_standard_error_covers_the_truth_as_often_as_students_t_says():
    generator = np.random.default_rng(0)
    trials, covered = 2000, 0
    for _ in range(trials):
        noise = np.exp(0.1 * generator.standard_normal(len(SIZES)))
        exponent, deviation = fit_exponent(SIZES, np.array(SIZES) ** 0.9 * noise)
        covered += abs(exponent - 0.9) < 4.303 * deviation  # 95 % of Student's t with two degrees of freedom
    assert covered / trials == pytest.approx(0.95, abs=0.02)


def test_a_constant_hides_in_the_slope_but_less_in_the_last_one():
    rows = [{"work": size, "seconds": 1 + size / 1000, "peak_mebibytes": 500 + size / 1024} for size in SIZES]
    slopes = describe_slopes("n", rows)
    assert slopes["n_exponent"] < slopes["n_last_exponent"] < 1
    assert slopes["n_kibibytes_an_image"] == pytest.approx(1)


def test_repeated_images_are_images_of_their_own():
    dataset = make_phantom(images_per_class=3)
    repeated = repeat(dataset, 3, at_most=100)
    n = len(dataset.labels)
    assert len(set(repeated.ids.tolist())) == len(repeated.images) == 3 * n
    np.testing.assert_array_equal(repeated.images[n : 2 * n], dataset.images)
    np.testing.assert_array_equal(repeated.labels[2 * n :], dataset.labels)
    assert fingerprint(repeated) != fingerprint(dataset)


def test_fewer_images_are_chosen_of_all_classes():
    repeated = repeat(make_phantom(images_per_class=4), 2, at_most=12)
    np.testing.assert_array_equal(np.bincount(repeated.labels), 4)
    assert len(set(repeated.ids.tolist())) == 24
