"""What is said of calibration: a fault where one is found, and never that there is none."""

import copy

import pytest

from medjax.report.page.calibration import calibration_findings, calibration_rows, training_effects
from tests.pages import SCORES, calibration_test

NO_FAULT = "The tests found no fault, which does not show that there is none"


@pytest.fixture
def block():
    return copy.deepcopy({**SCORES, "ece_if_calibrated": [0.01, 0.06]})


def off(value, if_calibrated=0.0):
    return calibration_test(value, if_calibrated, [value - 0.01, value + 0.01], 0.001, 0.006)


def test_without_a_fault_it_says_what_would_be_missed(block):
    (words,) = calibration_findings(block)
    assert words.startswith(
        f"{NO_FAULT}: with 540 images they may well miss a gap of up to 1.2 percentage points"
    )
    block["calibration"] |= {"detectable_gap": 1.0, "unit": "group", "units": 3}
    assert (
        "with 3 groups they may well miss a gap of up to 100 percentage points"
        in calibration_findings(block)[0]
    )


def test_what_cannot_be_tested_is_no_calibration_either(block):
    block["calibration"]["detectable_gap"] = None
    assert calibration_findings(block) == [
        "Calibration cannot be tested on these images, so do not read the probabilities as frequencies."
    ]


@pytest.mark.parametrize(
    ("name", "test", "words"),
    [
        (
            "in_the_large",
            off(0.149),
            "The model is overconfident: its predictions have a mean probability of 81.20 %, and 66.30 % of them are right.",
        ),
        ("in_the_large", off(-0.1), "The model is underconfident"),
        (
            "slope",
            off(0.5, 1.0),
            "The probabilities are too extreme: the slope is 0.50, and 1 if calibrated.",
        ),
        ("slope", off(1.5, 1.0), "The probabilities are not extreme enough"),
        ("spiegelhalter", off(3.1), "The Brier score is larger than the probabilities promise"),
        ("spiegelhalter", off(-3.1), "smaller than the probabilities promise (Spiegelhalter's z is −3.10)."),
    ],
)
def test_a_fault_is_said_in_words(block, name, test, words):
    block["accuracy"] = 0.663
    block["calibration"][name] = test
    first, last = calibration_findings(block)
    assert words in first
    assert last == "Do not read these probabilities as frequencies."


def test_a_class_whose_probability_is_no_share_is_named(block):
    block["calibration"]["classes"]["CXR"] = off(0.2)
    assert calibration_findings(block)[0] == (
        "The mean probability of CXR is 53.52 %, and 33.52 % of the images are of it."
    )


def test_an_error_beyond_chance_is_a_fault_where_images_are_independent(block):
    block["ece"] = 0.07
    assert calibration_findings(block)[0].startswith(
        "The expected calibration error is further off than chance"
    )
    block["calibration"]["unit"] = "group"
    assert calibration_findings(block)[0].startswith(NO_FAULT)


def test_what_training_does_to_probabilities_is_said():
    plain = {"class_balance": "none", "label_smoothing": 0.0}
    assert training_effects(plain) == []
    (weights,) = training_effects({**plain, "class_balance": "weights"})
    assert weights.startswith(
        "Rare classes weighed more in training (--class-balance weights), which raises their"
    )
    (sampling,) = training_effects({**plain, "class_balance": "sampling"})
    assert "were drawn more often" in sampling
    (smoothing,) = training_effects({**plain, "label_smoothing": 0.1})
    assert "--label-smoothing 0.1" in smoothing


def test_every_test_is_a_row_and_what_is_undefined_says_so(block):
    block["calibration"]["slope"] = calibration_test(None, 1.0, None, None, None)
    block["calibration"]["spiegelhalter"]["p_adjusted"] = 0.0004
    gap, slope, intercept, z, first, *_ = calibration_rows(block)
    assert (gap.value, gap.interval, gap.if_calibrated, gap.p) == ("−0.21", "−0.73 to +0.31", "0", "1.000")
    assert (slope.value, slope.interval, slope.if_calibrated, slope.p) == ("undefined", "", "1", "")
    assert intercept.interval == "−1.20 to 1.60"
    assert (z.value, z.p) == ("−0.85", "< 0.001")
    assert first.title == "AbdomenCT"
    assert first.meaning.endswith("mean probability 33.63 %, share of the images 33.33 %")
