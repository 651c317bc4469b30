"""The line against the maximum that SciPy finds, and where no line can be."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from sklearn.linear_model import LogisticRegression

from medjax.evaluation.recalibration import fit_line


def make_answers(seed=0, n=200, slope=1.0):
    generator = np.random.default_rng(seed)
    logits = generator.normal(1.0, 1.2, n)
    return expit(logits), generator.random(n) < expit(slope * logits)


def penalized_maximum(confidence, is_correct):
    """Firth's estimate by a general optimizer."""
    columns = np.column_stack([np.ones(len(confidence)), np.log(confidence / (1 - confidence))])

    def loss(coefficients):
        fitted = columns @ coefficients
        likelihood = np.where(is_correct, log_expit(fitted), log_expit(-fitted)).sum()
        weights = expit(fitted) * expit(-fitted)
        return -likelihood - 0.5 * np.linalg.slogdet(columns.T @ (weights[:, None] * columns))[1]

    return minimize(loss, [0.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}).x


@pytest.mark.parametrize("n", [15, 200])
def test_it_is_the_maximum_of_the_penalized_likelihood(n):
    confidence, is_correct = make_answers(n=n)
    line = fit_line(confidence, is_correct)
    assert (line.intercept, line.slope) == pytest.approx(penalized_maximum(confidence, is_correct), abs=1e-4)


def test_of_many_answers_it_is_plain_logistic_regression():
    confidence, is_correct = make_answers(n=20_000, slope=0.5)
    logits = np.log(confidence / (1 - confidence))[:, None]
    plain = LogisticRegression(C=np.inf, tol=1e-8).fit(logits, is_correct)
    line = fit_line(confidence, is_correct)
    assert (line.intercept, line.slope) == pytest.approx((plain.intercept_[0], plain.coef_[0, 0]), abs=2e-3)
    assert line.slope == pytest.approx(0.5, abs=3 * line.slope_error)


def test_answers_that_a_threshold_separates_have_a_finite_line():
    confidence = np.linspace(0.3, 0.99, 20)
    line = fit_line(confidence, confidence > 0.6)
    assert np.isfinite(line).all()
    assert line.slope > 1
    certain = fit_line(np.where(confidence > 0.6, 1.0, 0.5), confidence > 0.6)
    assert np.isfinite(certain).all()


@pytest.mark.parametrize("is_correct", [np.ones(9, bool), np.zeros(9, bool), np.arange(9) < 4])
def test_without_errors_right_answers_or_differences_there_is_no_line(is_correct):
    assert fit_line(np.full(9, 0.7), is_correct) is None
    if is_correct.all() or not is_correct.any():
        assert fit_line(np.linspace(0.4, 0.9, 9), is_correct) is None


def test_copies_within_clusters_make_no_line_surer():
    confidence, is_correct = make_answers()
    alone = fit_line(confidence, is_correct)
    copied = fit_line(confidence.repeat(5), is_correct.repeat(5), np.arange(200).repeat(5))
    assert copied.slope_error == pytest.approx(alone.slope_error, rel=0.15)
    assert fit_line(confidence.repeat(5), is_correct.repeat(5)).slope_error < 0.5 * alone.slope_error
