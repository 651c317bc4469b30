"""Logistic regressions, against scikit-learn's, which gets the same penalty."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from medjax.evaluation import logistic
from medjax.evaluation.logistic import INVERSE_PENALTIES, fit_best_regression
from medjax.evaluation.worker_threads import worker_threads


def make_features(num_classes, n=1000, noise=1.0):
    generator = np.random.default_rng(num_classes)
    labels = generator.integers(0, num_classes, n).astype(np.int32)
    centers = generator.normal(size=(num_classes, 8))
    return (centers[labels] + generator.normal(scale=noise, size=(n, 8))).astype(np.float32), labels


def fit(features, labels):
    with worker_threads() as workers:
        return fit_best_regression(features, labels, workers)


def scikit_learns(features, labels, inverse_penalty):
    return LogisticRegression(C=inverse_penalty, max_iter=1000).fit(features, labels)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("inverse_penalty", INVERSE_PENALTIES)
def test_regressions_are_scikit_learns(num_classes, inverse_penalty, monkeypatch):
    monkeypatch.setattr(logistic, "INVERSE_PENALTIES", (inverse_penalty,))
    features, labels = make_features(num_classes)
    found = fit(features, labels).predict(features, num_classes)
    expected = scikit_learns(features, labels, inverse_penalty).predict_proba(features)
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("noise", [0.3, 1.0, 5.0])
def test_the_penalty_is_the_best_on_every_tenth_image(noise):
    features, labels = make_features(3, n=200, noise=noise)
    is_inner = np.arange(200) % 10 == 9

    def loss(inverse_penalty):
        peer = scikit_learns(features[~is_inner], labels[~is_inner], inverse_penalty)
        return -np.log(peer.predict_proba(features[is_inner])[np.arange(20), labels[is_inner]]).mean()

    best = min(INVERSE_PENALTIES, key=loss)
    expected = scikit_learns(features, labels, best).predict_proba(features)
    np.testing.assert_allclose(fit(features, labels).predict(features, 3), expected, atol=0.01)


def test_the_noises_call_for_different_penalties(monkeypatch):
    chosen, fit_one = [], logistic._fit

    def watch(images, inverse_penalty, *given):
        chosen.append(inverse_penalty)
        return fit_one(images, inverse_penalty, *given)

    monkeypatch.setattr(logistic, "_fit", watch)
    for noise in (0.3, 5.0):
        fit(*make_features(3, n=200, noise=noise))
    assert len(chosen) == 2 * (len(INVERSE_PENALTIES) + 1)
    assert chosen[4] != chosen[9]


def test_blocks_change_nothing(monkeypatch):
    features, labels = make_features(3)
    expected = fit(features, labels).predict(features, 3)
    monkeypatch.setattr(logistic, "_ROWS", 13)
    monkeypatch.setattr(logistic, "_ROWS_OF_TASK", 100)
    np.testing.assert_allclose(fit(features, labels).predict(features, 3), expected, atol=0.01)


def test_classes_that_are_missing_have_probability_0():
    features, labels = make_features(3)
    found = fit(features, np.where(labels == 1, 4, labels)).predict(features, 6)
    assert (found[:, [1, 3, 5]] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


def test_too_few_images_to_choose_by_get_the_weakest_penalty():
    features, labels = make_features(2, n=9)
    expected = scikit_learns(features, labels, INVERSE_PENALTIES[-1]).predict_proba(features)
    np.testing.assert_allclose(fit(features, labels).predict(features, 2), expected, atol=0.02)
