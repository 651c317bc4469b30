"""Logistic recalibration: which line through the logits of a model's confidence fits its right and wrong answers.

References:
    Cox, "Two Further Applications of a Model for Binary Regression", 1958, https://doi.org/10.1093/biomet/45.3-4.562:
    slope and intercept of a calibrated model are 1 and 0; a slope below 1 says that probabilities are too extreme.
    Firth, "Bias Reduction of Maximum Likelihood Estimates", 1993, https://doi.org/10.1093/biomet/80.1.27, and Heinze and
    Schemper, "A Solution to the Problem of Separation in Logistic Regression", 2002, https://doi.org/10.1002/sim.1047:
    with Firth's penalty the line is finite even where a threshold separates right answers from wrong ones.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int

_MOST_STEPS = 500
_TOLERANCE = 1e-9
_NEAREST_TO_CERTAIN = 1e-7  # float32 has no probability between this and 1, whose logit would be infinite

Columns = Float64[np.ndarray, "m 2"]
Square = Float64[np.ndarray, "2 2"]


class Line(NamedTuple):
    """logit P(right answer) = intercept + slope × logit(confidence), with standard errors."""

    intercept: float
    slope: float
    intercept_error: float
    slope_error: float


def fit_line(
    confidence: Float64[np.ndarray, "m"],
    is_correct: Bool[np.ndarray, "m"],
    clusters: Int[np.ndarray, "m"] | None = None,
) -> Line | None:
    """Fit the line by Firth's penalized likelihood; None where there is no line to fit.

    That is where all answers are right, or none, or all confidences are equal. `clusters` numbers, from 0, the groups
    whose answers may depend on one another: a standard error is then the larger of the model's and the cluster-robust one.
    """
    confidence = np.clip(confidence, _NEAREST_TO_CERTAIN, 1 - _NEAREST_TO_CERTAIN)
    logits = np.log(confidence / (1 - confidence))
    if is_correct.all() or not is_correct.any() or np.ptp(logits) < 1e-6:
        return None
    columns = np.column_stack([np.ones(len(logits)), logits])
    coefficients = _maximize(columns, is_correct)
    if coefficients is None:
        return None
    here = _evaluate(columns, is_correct, coefficients)
    variances = np.diag(here.inverse)
    if clusters is not None:
        robust = _robust_variances(columns, is_correct - here.fitted, clusters, here.inverse)
        variances = np.maximum(variances, robust)
    return Line(*map(float, (*coefficients, *np.sqrt(variances))))


class _Fit(NamedTuple):
    """The model at some coefficients."""

    fitted: Float64[np.ndarray, "m"]  # probabilities
    inverse: Square  # of the information
    likelihood: float  # its logarithm, penalized; minus infinity where the information is singular


def _maximize(columns: Columns, is_correct: Bool[np.ndarray, "m"]) -> Float64[np.ndarray, "2"] | None:
    """The coefficients, by Newton's method with halved steps; None if it does not converge."""
    coefficients = np.zeros(2)
    here = _evaluate(columns, is_correct, coefficients)
    for _ in range(_MOST_STEPS):
        weights = here.fitted * (1 - here.fitted)
        leverage = weights * ((columns @ here.inverse) * columns).sum(axis=1)
        score = columns.T @ (is_correct - here.fitted + leverage * (0.5 - here.fitted))
        step = here.inverse @ score
        if score @ step < _TOLERANCE:
            return coefficients
        there = _evaluate(columns, is_correct, coefficients + step)
        while there.likelihood < here.likelihood:
            step = step / 2
            if np.abs(step).max() < _TOLERANCE:
                return coefficients
            there = _evaluate(columns, is_correct, coefficients + step)
        coefficients, here = coefficients + step, there
    return None


def _evaluate(
    columns: Columns, is_correct: Bool[np.ndarray, "m"], coefficients: Float64[np.ndarray, "2"]
) -> _Fit:
    from scipy.special import expit, log_expit  # imported here: it takes a quarter of a second

    logits = columns @ coefficients
    fitted = expit(logits)
    information = columns.T @ ((fitted * (1 - fitted))[:, None] * columns)
    determinant = information[0, 0] * information[1, 1] - information[0, 1] ** 2
    if not determinant > 0:
        return _Fit(fitted, np.zeros((2, 2)), -np.inf)
    adjugate = np.array([[information[1, 1], -information[0, 1]], [-information[0, 1], information[0, 0]]])
    likelihood = log_expit(np.where(is_correct, logits, -logits)).sum() + 0.5 * np.log(determinant)
    return _Fit(fitted, adjugate / determinant, float(likelihood))


def _robust_variances(
    columns: Columns, residuals: Float64[np.ndarray, "m"], clusters: Int[np.ndarray, "m"], inverse: Square
) -> Float64[np.ndarray, "2"]:
    """The sandwich estimate with clusters as independent units."""
    scores = np.column_stack([np.bincount(clusters, residuals * column) for column in columns.T])
    correction = len(scores) / (len(scores) - 1)
    return np.diag(inverse @ (scores.T @ scores) @ inverse) * correction
