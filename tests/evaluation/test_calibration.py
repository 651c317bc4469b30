import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from medjax.evaluation.calibration import (
    NUM_BINS,
    bin_numbers,
    brier_scores,
    calibrated_range,
    expected_calibration_error,
    reliability,
    reliability_bands,
)
from medjax.evaluation.intervals import wilson_interval
from medjax.evaluation.units import make_units
from medjax.records import Predictions
from tests.predicted import make_predictions


def predictions_of(probabilities, labels):
    probabilities = np.array(probabilities, np.float32)
    labels = np.array(labels, np.int32)
    of_truth = probabilities[np.arange(len(labels)), labels]
    return Predictions(np.arange(len(labels)), labels, probabilities, -np.log(np.maximum(of_truth, 1e-38)))


def test_the_bins_are_scikit_learns():
    predictions = make_predictions(n=500)
    is_right = predictions.probabilities.argmax(1) == predictions.labels
    accuracy, confidence = calibration_curve(is_right, predictions.probabilities.max(1), n_bins=NUM_BINS)
    bins = reliability(predictions)
    shown = bins.n > 0
    assert bins.accuracy[shown] == pytest.approx(accuracy)
    assert bins.confidence[shown] == pytest.approx(confidence)
    assert np.isnan(bins.accuracy[~shown]).all()
    assert bins.n.sum() == 500


def test_the_error_of_a_case_done_by_hand():
    # Two at 0.9, one of them right; two at 0.6, both right: 2/4 * 0.4 + 2/4 * 0.4.
    predictions = predictions_of([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]], [0, 1, 0, 1])
    assert expected_calibration_error(predictions) == pytest.approx(0.4, abs=1e-6)


def test_certainty_and_its_opposite_fall_into_the_outer_bins():
    predictions = predictions_of([[1.0, 0.0], [0.5, 0.5]], [0, 1])
    assert bin_numbers(predictions.probabilities).tolist() == [NUM_BINS - 1, 7]
    assert bin_numbers(np.zeros((1, 2), np.float32)).tolist() == [0]
    assert brier_scores(predictions).tolist() == [0.0, 0.5]
    assert brier_scores(predictions_of([[1.0, 0.0]], [1])).tolist() == [2.0]


def test_a_calibrated_model_lies_in_the_range_as_often_as_it_says_and_an_overconfident_one_above_it():
    is_inside = []
    for seed in range(300):
        predictions = make_predictions(seed, n=300)
        low, high = calibrated_range(predictions, np.arange(300), resamples=200, seed=seed)
        is_inside.append(low <= expected_calibration_error(predictions) <= high)
    assert np.mean(is_inside) == pytest.approx(0.95, abs=0.03)
    sharp = make_predictions(n=300, sharpness=3.0)
    high = calibrated_range(sharp, np.arange(300), resamples=200, seed=0)[1]
    assert expected_calibration_error(sharp) > high


def test_bands_are_intervals_of_the_accuracy_in_each_bin():
    predictions = make_predictions(n=400, group_size=4)
    points, apart = reliability(predictions), reliability_bands(predictions, make_units(predictions, None))
    is_correct = predictions.probabilities.argmax(axis=1) == predictions.labels
    rows = bin_numbers(predictions.probabilities)
    for each, bounds in enumerate(apart):
        n = int(points.n[each])
        if n:
            assert tuple(bounds) == wilson_interval(int(is_correct[rows == each].sum()), n)
        else:
            assert np.isnan(bounds).all()
    groups = (np.arange(400) // 4).astype(str)
    together = reliability_bands(predictions, make_units(predictions, groups))
    assert np.nanmean(np.diff(together)) > np.nanmean(np.diff(apart))
    one = reliability_bands(predictions, make_units(predictions, np.full(400, "a")))
    assert np.isnan(one).all()


def test_of_several_labels_all_known_pairs_are_binned():
    generator = np.random.default_rng(0)
    probabilities = generator.random((200, 3)).astype(np.float32)
    labels = (generator.random((200, 3)) < probabilities).astype(np.int32)
    labels[generator.random((200, 3)) < 0.2] = -1
    predictions = Predictions(np.arange(200), labels, probabilities, np.zeros(200, np.float32))
    found = reliability(predictions, 10)
    known = labels >= 0
    shares, means = calibration_curve(labels[known], probabilities[known], n_bins=10)
    assert found.n.sum() == known.sum()
    np.testing.assert_allclose(found.accuracy, shares)
    np.testing.assert_allclose(found.confidence, means, rtol=1e-6)
