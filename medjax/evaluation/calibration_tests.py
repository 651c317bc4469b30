"""Tests of calibration that find a fault in few images, with the size of what they would miss.

The expected calibration error tells little of a hundred images: a calibrated model shows a large one by chance. These
tests ask fewer questions, and so answer them from fewer images:

- in the large: is the mean probability of the predicted class the accuracy? Is the mean probability of a class its share?
- slope: are the probabilities too extreme, or not extreme enough? (see `recalibration`)
- Spiegelhalter's z: is the Brier score the one that the probabilities promise?

Not to reject is no proof of calibration; `detectable_gap` says how large a gap may stay unseen.

Of simulated calibrated models 0.7 to 4.5 % are called anything else (30 to 3,000 images, 10 groups, 3 or 4 classes; 1,000
trials each). Of models whose mean probability is 13 points above their accuracy, 97 % are found with 86 images (600 trials).
`tests/evaluation/test_calibration_tests.py` repeats this with fewer trials.

References:
    Van Calster et al., "Calibration: the Achilles heel of predictive analytics", 2019,
    https://doi.org/10.1186/s12916-019-1466-7: calibration in the large, slope, and why a test alone is not enough.
    Spiegelhalter, "Probabilistic Prediction in Patient Management and Clinical Trials", 1986,
    https://doi.org/10.1002/sim.4780050506: z of the Brier score, here of its form for several classes.
    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979, https://www.jstor.org/stable/4615733.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from medjax.evaluation.intervals import design_effect
from medjax.evaluation.recalibration import fit_line
from medjax.evaluation.score_records import Calibration, CalibrationTest
from medjax.records import Predictions

LEVEL = 0.05
"""Chance that a calibrated model is called anything else, all tests together."""
POWER = 0.8
"""Chance with which the gap that `detectable_gap` names is found."""
FEWEST_ANSWERS = 10
"""With fewer right or fewer wrong answers there is no slope: with some 4 errors of 300 images its test called 12 % of
calibrated models miscalibrated."""
_FAMILIES = 2  # the tests of the predicted class, and those of each class; each family gets half of the level

Values = Float64[np.ndarray, "m"]
Clusters = Int[np.ndarray, "m"]


class _Precision(NamedTuple):
    """How surely a mean is known."""

    error: float  # its standard error
    degrees: int  # degrees of freedom of Student's t


def assess_calibration(
    predictions: Predictions, class_names: Sequence[str], unit: str, clusters: Clusters | None
) -> Calibration:
    """Every test of the predictions, which may be of several images in a group, or of an image several times.

    `clusters` numbers, from 0, what is independent, the `unit`: None if every prediction is. Of a single cluster nothing
    can be tested, and all intervals are None.
    """
    probabilities = predictions.probabilities.astype(np.float64)
    confidence = probabilities.max(axis=1)
    is_correct = probabilities.argmax(axis=1) == predictions.labels
    in_the_large = _compare_means(confidence - is_correct, confidence * (1 - confidence), clusters)
    slope, intercept = _recalibrate(confidence, is_correct, clusters)
    spiegelhalter = _spiegelhalter(probabilities, predictions.labels, clusters)
    classes = [
        _compare_means(column - (predictions.labels == label), column * (1 - column), clusters)
        for label, column in enumerate(probabilities.T)
    ]
    # Of two classes, what holds for one holds for the other.
    classes = _adjusted(classes, 1 if len(classes) == 2 else len(classes))
    tests = _adjusted([in_the_large, slope, spiegelhalter], 3)
    return Calibration(
        unit=unit,
        units=len(confidence) if clusters is None else int(clusters.max()) + 1,
        in_the_large=tests[0],
        slope=tests[1],
        intercept=intercept,
        spiegelhalter=tests[2],
        classes=dict(zip(class_names, classes, strict=True)),
        detectable_gap=_detectable_gap(confidence, is_correct, clusters),
    )


def _precision(values: Values, variance: float, clusters: Clusters | None) -> _Precision | None:
    """Of the mean of values with this variance; None if it is unknown or zero."""
    effect, units = (
        (1.0, len(values)) if clusters is None else (design_effect(values, clusters), clusters.max() + 1)
    )
    if effect is None or units < 2 or not variance > 0:
        return None
    return _Precision(math.sqrt(variance * max(effect, 1.0) / len(values)), int(units) - 1)


def _compare_means(residuals: Values, variances: Values, clusters: Clusters | None) -> CalibrationTest:
    """Test whether residuals, of these variances if the model is calibrated, have mean 0.

    The larger of the variance implied and the one observed counts: the first keeps rare classes from looking sure, the
    second the interval from being too narrow where the model is not calibrated.
    """
    mean = float(residuals.mean())
    found = _precision(residuals, max(float(residuals.var()), float(variances.mean())), clusters)
    return _student(mean, found, 0.0)


def _student(value: float, found: _Precision | None, if_calibrated: float) -> CalibrationTest:
    from scipy.special import stdtr, stdtrit  # imported here: it takes a quarter of a second

    if found is None:
        return CalibrationTest(value, if_calibrated, None, None, None)
    half = float(stdtrit(found.degrees, 0.975)) * found.error
    p = 2 * float(stdtr(found.degrees, -abs(value - if_calibrated) / found.error))
    return CalibrationTest(value, if_calibrated, (value - half, value + half), p, None)


def _recalibrate(
    confidence: Values, is_correct: np.ndarray, clusters: Clusters | None
) -> tuple[CalibrationTest, CalibrationTest]:
    """Slope and intercept; only the slope is tested, since a wrong intercept shows in the large."""
    units = len(confidence) if clusters is None else int(clusters.max()) + 1
    fewest = min(is_correct.sum(), (~is_correct).sum())
    line = fit_line(confidence, is_correct, clusters) if units > 1 and fewest >= FEWEST_ANSWERS else None
    if line is None:
        return CalibrationTest(None, 1.0, None, None, None), CalibrationTest(None, 0.0, None, None, None)
    slope = _student(line.slope, _Precision(line.slope_error, units - 1), 1.0)
    intercept = _student(line.intercept, _Precision(line.intercept_error, units - 1), 0.0)
    return slope, dataclasses.replace(intercept, p=None)


def _spiegelhalter(
    probabilities: Float64[np.ndarray, "m class"], labels: np.ndarray, clusters: Clusters | None
) -> CalibrationTest:
    """z: positive if the Brier score is larger than promised, as of an overconfident model.

    As in `_compare_means` the larger of the two variances counts: with few expected errors the z of the reference, by the
    variance implied alone, calls calibrated models miscalibrated.

    With p_y the probability of the truth, an image's Brier score is Σp² + 1 - 2 p_y, which a calibrated model expects to be
    1 - Σp², with variance 4 (Σp³ - (Σp²)²).
    """
    squares = (probabilities**2).sum(axis=1)
    excess = 2 * (squares - probabilities[np.arange(len(labels)), labels])
    variances = 4 * ((probabilities**3).sum(axis=1) - squares**2)
    found = _precision(excess, max(float(excess.var()), float(variances.mean())), clusters)
    if found is None:
        return CalibrationTest(None, 0.0, None, None, None)
    mean = float(excess.mean())
    return dataclasses.replace(_student(mean, found, 0.0), value=mean / found.error, ci95=None)


def _detectable_gap(confidence: Values, is_correct: np.ndarray, clusters: Clusters | None) -> float | None:
    """By how much accuracy must be below mean confidence to be found with chance `POWER`; None where nothing can be tested."""
    from scipy.special import stdtrit

    gap, mean, implied = 0.0, float(confidence.mean()), float((confidence * (1 - confidence)).mean())
    for _ in range(10):  # the lower the accuracy, the larger the variance of its estimate
        accuracy = max(mean - gap, 0.0)
        found = _precision(confidence - is_correct, max(implied, accuracy * (1 - accuracy)), clusters)
        if found is None:
            return None
        critical = stdtrit(found.degrees, 1 - LEVEL / (2 * _FAMILIES * 3))
        gap = float((critical + stdtrit(found.degrees, POWER)) * found.error)
    return min(gap, 1.0)


def _adjusted(tests: Sequence[CalibrationTest], count: int) -> list[CalibrationTest]:
    """With the p-values adjusted by Holm's method for `count` tests in each of two families."""
    order = sorted((test.p, index) for index, test in enumerate(tests) if test.p is not None)
    adjusted: dict[int, float] = {}
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, _FAMILIES * max(count - rank, 1) * p))
        adjusted[index] = largest
    return [dataclasses.replace(test, p_adjusted=adjusted.get(index)) for index, test in enumerate(tests)]
