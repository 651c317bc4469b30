"""How often the tests call a calibrated model miscalibrated, how often they find one that is, and the numbers behind."""

import numpy as np
import pytest

from medjax.evaluation.calibration import calibrated_range, expected_calibration_error
from medjax.evaluation.calibration_tests import assess_calibration
from medjax.records import Predictions
from tests.predicted import make_predictions

UNEQUAL = (0.7, 0.21, 0.07, 0.02)


def assess(predictions, group_size=1):
    names = [f"class {label}" for label in range(predictions.probabilities.shape[1])]
    clusters = np.arange(len(predictions.labels)) // group_size if group_size > 1 else None
    return assess_calibration(predictions, names, "image", clusters)


def is_rejected(test):
    return test.p_adjusted is not None and test.p_adjusted < 0.05


def rejections(trials, **condition):
    """Share of simulated models that any of the tests calls miscalibrated."""
    group_size = condition.get("group_size", 1)
    found = [assess(make_predictions(seed, **condition), group_size) for seed in range(trials)]
    return np.mean([any(map(is_rejected, each.tests)) for each in found])


def overconfident(n=86, gap=0.149):
    """Answers of four unequal classes that are right less often, at every confidence, than the model says."""
    confidence = np.linspace(0.4, 0.97, n)
    total = np.cumsum(confidence - gap)
    is_correct = np.floor(total) > np.floor(np.concatenate([[0], total[:-1]]))
    labels = np.random.default_rng(0).choice(4, n, p=UNEQUAL).astype(np.int32)
    predicted = np.where(is_correct, labels, (labels + 1) % 4)
    probabilities = np.repeat((1 - confidence)[:, None] / 3, 4, axis=1)
    probabilities[np.arange(n), predicted] = confidence
    return Predictions(np.arange(n), labels, probabilities.astype(np.float32), np.zeros(n, np.float32))


@pytest.mark.parametrize(
    "condition",
    [
        dict(n=86),
        dict(n=86, shares=UNEQUAL),
        dict(n=86, shares=(0.5, 0.5)),
        dict(n=300, separation=4.0),
        dict(n=200, group_size=4),
        dict(n=120, group_size=12),
    ],
    ids=["86", "86 unequal", "two classes", "few errors", "50 groups", "10 groups"],
)
def test_a_calibrated_model_is_rarely_called_anything_else(condition):
    assert rejections(200, **condition) <= 0.08


@pytest.mark.parametrize(
    ("condition", "power"),
    [
        (dict(n=86, sharpness=3.0), 0.9),
        (dict(n=86, sharpness=0.5), 0.8),
        (dict(n=400, sharpness=1.6, shares=UNEQUAL), 0.9),
        (dict(n=400, sharpness=2.0, group_size=4), 0.9),
    ],
    ids=["overconfident", "underconfident", "a little overconfident", "groups"],
)
def test_a_model_that_is_off_is_found(condition, power):
    assert rejections(100, **condition) >= power


def test_86_images_whose_every_bin_is_too_confident_are_found_where_the_calibration_error_is_silent():
    predictions = overconfident()
    error = expected_calibration_error(predictions)
    assert error == pytest.approx(0.149, abs=0.01)
    found = assess(predictions)
    assert is_rejected(found.in_the_large)
    assert found.in_the_large.value == pytest.approx(0.149, abs=0.01)
    assert found.in_the_large.ci95[0] > 0
    assert is_rejected(found.spiegelhalter)
    assert found.spiegelhalter.value > 0
    assert error < calibrated_range(predictions, np.arange(86), resamples=500, seed=0)[1]


def test_a_gap_that_can_be_detected_is_detected_four_times_in_five():
    found = [assess(make_predictions(seed, n=86, sharpness=2.5)) for seed in range(200)]
    power = np.mean([is_rejected(each.in_the_large) for each in found])
    gap, detectable = (
        np.mean(values)
        for values in zip(*((e.in_the_large.value, e.detectable_gap) for e in found), strict=True)
    )
    assert gap < detectable < 1.4 * gap
    assert 0.7 < power < 0.9


def test_intervals_hold_the_truth_of_a_model_that_is_not_calibrated():
    condition = dict(sharpness=2.0, separation=1.5)
    truth = assess(make_predictions(10**6, n=200_000, **condition))
    found = [assess(make_predictions(seed, n=150, **condition)) for seed in range(250)]
    for name in ("in_the_large", "slope", "intercept"):
        value = getattr(truth, name).value
        held = [low <= value <= high for low, high in (getattr(each, name).ci95 for each in found)]
        assert 0.92 <= np.mean(held) <= 0.985, name


def test_the_numbers_are_those_that_they_are_said_to_be():
    predictions = make_predictions(n=300, shares=UNEQUAL, sharpness=0.5)
    found = assess(predictions)
    probabilities = predictions.probabilities.astype(float)
    is_correct = probabilities.argmax(1) == predictions.labels
    assert found.in_the_large.value == pytest.approx(probabilities.max(1).mean() - is_correct.mean())
    for label, test in enumerate(found.classes.values()):
        assert test.value == pytest.approx(
            probabilities[:, label].mean() - (predictions.labels == label).mean()
        )
        assert test.ci95[0] < test.value < test.ci95[1]
        assert test.p <= test.p_adjusted
    assert (found.unit, found.units) == ("image", 300)
    assert found.slope.if_calibrated == 1.0
    # Spiegelhalter's own z, by drawing what the probabilities promise.
    generator = np.random.default_rng(0)
    truth = np.eye(4)[[generator.multinomial(1, row / row.sum(), 400).argmax(1) for row in probabilities]]
    promised = ((truth - probabilities[:, None]) ** 2).sum(-1).mean(0)
    actual = ((np.eye(4)[predictions.labels] - probabilities) ** 2).sum(1).mean()
    expected = (actual - promised.mean()) / promised.std()
    assert found.spiegelhalter.value == pytest.approx(expected, rel=0.15)


def test_of_two_classes_either_tells_the_same_and_both_count_as_one_test():
    first, second = assess(make_predictions(n=100, shares=(0.5, 0.5))).classes.values()
    assert first.value == pytest.approx(-second.value, abs=1e-6)
    assert first.p_adjusted == pytest.approx(min(1, 2 * first.p))


def test_copies_and_groups_make_nothing_surer():
    predictions = make_predictions(n=200)
    rows = np.arange(200).repeat(4)
    alone, copied = assess(predictions), assess(predictions.take(rows), group_size=4)
    for name, margin in (("in_the_large", 0.01), ("slope", 0.1), ("spiegelhalter", 0.01)):
        assert getattr(copied, name).p == pytest.approx(getattr(alone, name).p, abs=margin), name
    assert copied.units == 200


def test_what_cannot_be_tested_is_none():
    one = assess(make_predictions(n=1))
    single_group = assess(make_predictions(n=40), group_size=40)
    certain = make_predictions(n=40)
    certain = assess(certain._replace(probabilities=np.eye(3, dtype=np.float32)[certain.labels]))
    for found in (one, single_group, certain):
        assert all(test.p is None and test.ci95 is None for test in found.tests)
        assert found.detectable_gap is None
    wrong = make_predictions(n=40)
    labels = np.where(np.arange(40) < 20, wrong.labels, (wrong.labels + 1) % 3)
    found = assess(wrong._replace(probabilities=np.eye(3, dtype=np.float32)[labels]))
    assert is_rejected(found.in_the_large)
    assert found.in_the_large.value == pytest.approx(0.5)


def test_with_few_errors_there_is_no_slope():
    predictions = make_predictions(n=300, separation=3.5)
    found = assess(predictions)
    assert 0 < (predictions.probabilities.argmax(1) != predictions.labels).sum() < 10
    assert (found.slope.value, found.slope.p, found.intercept.ci95) == (None, None, None)
    assert found.in_the_large.p is not None
