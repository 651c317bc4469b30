"""Simple models of several labels an image, beside those of one class and scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from medjax.evaluation.baselines import Data, predict_baseline, predict_folds
from medjax.evaluation.differences import compare_label_scores
from medjax.evaluation.label_baselines import LABEL_BASELINES, score_label_baselines
from medjax.evaluation.worker_threads import worker_threads
from medjax.records import UNKNOWN, Predictions

TRAIN, TEST = np.arange(200), np.arange(200, 300)


def make_pixels(seed=0, unknown=0.0):
    """Three labels, each of which brightens a third of nine pixels."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((300, 3)) < (0.5, 0.3, 0.1)).astype(np.int32)
    pixels = np.repeat(labels, 3, axis=1) + generator.normal(size=(300, 9))
    labels[generator.random(labels.shape) < unknown] = UNKNOWN
    return pixels.astype(np.float32), labels


def fit(name, pixels, labels, folds=((TRAIN, TEST),)):
    with worker_threads() as workers:
        data = Data(pixels, labels, labels.shape[1], workers)
        found = [*predict_folds(LABEL_BASELINES[name], data, folds)]
    return found if len(found) > 1 else found[0]


def test_frequencies_are_of_the_training_images_of_which_a_label_is_known():
    pixels, labels = make_pixels(unknown=0.2)
    found = fit("frequency", pixels, labels)
    known = np.ma.masked_equal(labels[TRAIN], UNKNOWN)
    np.testing.assert_allclose(found.probabilities, np.tile(known.mean(axis=0), (100, 1)))
    np.testing.assert_array_equal(found.predicted, np.tile(known.mean(axis=0) >= 0.5, (100, 1)))


def test_the_nearest_image_gives_its_labels_and_frequencies_of_those_not_known():
    pixels, labels = make_pixels(unknown=0.2)
    found = fit("nearest_neighbour", pixels, labels)
    peer = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(pixels[TRAIN])
    expected = labels[peer.kneighbors(pixels[TEST])[1][:, 0]].astype(float)
    frequencies = fit("frequency", pixels, labels).probabilities
    np.testing.assert_allclose(found.probabilities, np.where(expected == UNKNOWN, frequencies, expected))
    assert (expected == UNKNOWN).any()


def test_regressions_are_those_of_each_label_alone():
    pixels, labels = make_pixels()
    found = fit("logistic_regression", pixels, labels)
    for label, values in enumerate(labels.T):
        alone = predict_baseline("logistic_regression", pixels, values, TRAIN, TEST, 2)
        np.testing.assert_allclose(found.probabilities[:, label], alone.probabilities[:, 1], atol=1e-6)
        np.testing.assert_array_equal(found.predicted[:, label], alone.predicted)


def test_labels_that_are_not_known_are_not_learnt_from():
    """Whatever else these images say."""
    pixels, labels = make_pixels()
    unknown = labels.copy()
    unknown[:50, 1] = UNKNOWN
    expected = fit("logistic_regression", pixels, labels)
    found = fit("logistic_regression", pixels, unknown)
    np.testing.assert_array_equal(found.probabilities[:, [0, 2]], expected.probabilities[:, [0, 2]])
    assert np.abs(found.probabilities[:, 1] - expected.probabilities[:, 1]).max() > 1e-3
    known = TRAIN[50:]
    of_known = fit("logistic_regression", pixels, unknown, [(TRAIN, known)]).probabilities[:, 1]
    # An intercept that is free makes the mean probability of the images that are learnt from their share.
    assert of_known.mean() == pytest.approx(labels[known, 1].mean(), abs=1e-3)
    assert np.ptp(of_known) > 0.5


def test_what_cannot_be_learnt_gets_its_frequency():
    pixels, labels = make_pixels()
    labels[TRAIN, 2] = 0
    assert (fit("logistic_regression", pixels, labels).probabilities[:, 2] == 0).all()
    folds = [(TRAIN[:100], TEST), (TRAIN[100:], TEST)]
    pixels[:100] = 1  # the first fold has nothing to learn from
    first, second = fit("logistic_regression", pixels, labels, folds)
    np.testing.assert_allclose(first.probabilities, np.tile(labels[:100].mean(axis=0), (100, 1)))
    assert np.ptp(second.probabilities[:, 0]) > 0.5


@pytest.mark.parametrize("has_groups", [False, True])
def test_they_are_compared_by_the_mean_area_in_pairs(has_groups):
    pixels, labels = make_pixels(unknown=0.1)
    groups = np.arange(100) // 2 if has_groups else None
    truth = labels[TEST]
    own = np.clip(truth + np.random.default_rng(1).normal(0, 0.5, truth.shape), 0, 1).astype(np.float32)
    predictions = Predictions(TEST, truth, own, np.zeros(100, np.float32))
    baselines = {name: fit(name, pixels, labels) for name in LABEL_BASELINES}
    scores = score_label_baselines(baselines, predictions, groups)

    def area(probabilities):
        each = zip(truth.T, probabilities.T, strict=True)
        return np.mean([roc_auc_score(values[values >= 0], p[values >= 0]) for values, p in each])

    for name, baseline in baselines.items():
        assert scores["models"][name]["auc"] == pytest.approx(area(baseline.probabilities), abs=1e-9)
    assert scores["models"]["frequency"] == {"n": 100, "auc": 0.5, "auc_ci95": None}
    low, high = scores["models"]["logistic_regression"]["auc_ci95"]
    assert low < scores["models"]["logistic_regression"]["auc"] < high
    assert scores["best"] == "logistic_regression"
    best = predictions._replace(probabilities=baselines["logistic_regression"].probabilities)
    expected = compare_label_scores(best, predictions, groups)["auc"]
    gain = scores["gain_over_best_baseline"]
    assert gain["difference"] == pytest.approx(area(own) - area(best.probabilities), abs=1e-9)
    assert gain["ci95"] == pytest.approx(expected["ci95"])
    assert (gain["n"], gain["measure"], gain["unit"]) == (100, "auc", "group" if has_groups else "image")


def test_without_a_label_that_is_there_and_absent_nothing_is_compared():
    pixels, labels = make_pixels()
    labels[TEST] = 0
    predictions = Predictions(
        TEST, labels[TEST], np.full((100, 3), 0.5, np.float32), np.zeros(100, np.float32)
    )
    assert score_label_baselines({"frequency": fit("frequency", pixels, labels)}, predictions, None) is None
