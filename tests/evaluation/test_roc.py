import subprocess
import sys

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from medjax.evaluation.roc import (
    MOST_POINTS,
    area_under_roc,
    average_precision,
    precision_recall_curve,
    roc_band,
    roc_curve,
)
from tests.predicted import make_predictions


def test_scores_are_computed_without_scipy():
    code = "import sys, medjax.evaluation.scores; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_curves_are_scikit_learns():
    predictions = make_predictions(n=60)
    is_class, probabilities = predictions.labels == 1, predictions.probabilities[:, 1]
    roc = roc_curve(predictions, 1)
    false, true, _ = sklearn_metrics.roc_curve(is_class, probabilities)
    np.testing.assert_array_equal(roc.false_positive_rate, false)
    np.testing.assert_array_equal(roc.true_positive_rate, true)
    assert roc.area == pytest.approx(sklearn_metrics.roc_auc_score(is_class, probabilities))
    curve = precision_recall_curve(predictions, 1)
    assert curve.average_precision == sklearn_metrics.average_precision_score(is_class, probabilities)
    assert curve.prevalence == is_class.mean()
    assert (curve.recall[0], curve.recall[-1], curve.precision[-1]) == (1, 0, 1)


@pytest.mark.parametrize("decimals", [0, 1, 7])
@pytest.mark.parametrize("n", [1, 2, 3, 150])
def test_areas_and_points_are_scikit_learns_with_ties_too(n, decimals):
    generator = np.random.default_rng(n)
    for _ in range(30):
        share = generator.random(n).astype(np.float32).round(decimals)
        probabilities = np.stack([share, 1 - share], axis=1)
        predictions = make_predictions(n=n, shares=(0.4, 0.6))._replace(probabilities=probabilities)
        is_class, exact = predictions.labels == 0, share.astype(np.float64)
        if roc := roc_curve(predictions, 0):
            assert area_under_roc(is_class, share) == sklearn_metrics.roc_auc_score(is_class, share)
            assert np.array_equal(roc[:2], sklearn_metrics.roc_curve(is_class, exact)[:2])
        if curve := precision_recall_curve(predictions, 0):
            oracle = sklearn_metrics.precision_recall_curve(is_class, exact, drop_intermediate=True)
            assert average_precision(is_class, share) == sklearn_metrics.average_precision_score(
                is_class, share
            )
            assert np.array_equal(curve[:2], (oracle[1], oracle[0]))


def test_a_long_curve_is_thinned_and_stays_where_it_was():
    predictions = make_predictions(n=5000)
    for curve, area in (
        (roc_curve(predictions, 0), "area"),
        (precision_recall_curve(predictions, 0), "average_precision"),
    ):
        x, y = curve[:2]
        assert len(x) == len(y) == MOST_POINTS
        assert abs(np.trapezoid(y, x)) == pytest.approx(getattr(curve, area), abs=0.005)
        assert {x.min(), x.max()} == {0, 1}


def test_an_absent_class_has_no_curves():
    predictions = make_predictions(shares=(0.5, 0.5, 0.0))
    assert roc_curve(predictions, 2) is None
    assert precision_recall_curve(predictions, 2) is None
    everything = predictions._replace(labels=np.zeros(200, np.int32))
    assert roc_curve(everything, 0) is None
    assert precision_recall_curve(everything, 0).average_precision == 1.0


def test_the_band_of_a_curve_is_around_it_and_wider_for_groups():
    predictions = make_predictions(seed=5, n=300, group_size=6)
    images, groups = (roc_band(predictions, 0, np.arange(300) // size) for size in (1, 6))
    curve = roc_curve(predictions, 0)
    at = curve.true_positive_rate[
        np.searchsorted(curve.false_positive_rate, images.false_positive_rate + 1e-9) - 1
    ]
    assert ((images.low - 0.02 <= at) & (at <= images.high + 0.02)).all()
    assert (groups.high - groups.low).mean() > 1.3 * (images.high - images.low).mean()
    alone = predictions.take(predictions.labels == 0)
    assert roc_band(alone, 0, np.arange(len(alone.labels))) is None
