"""Scores of grades against scikit-learn, and what of them reaches metrics.json, the page and the terminal."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, mean_absolute_error

from medjax.evaluation.ordinal import score_order
from medjax.evaluation.scores import score
from medjax.records import Predictions
from medjax.report.page.measures import describe_measures
from medjax.report.terminal import evaluation_lines
from tests.predicted import make_predictions

SHARES = (0.4, 0.2, 0.2, 0.15, 0.05)


def order_block(predictions, **options):
    return score(predictions, ordinal=True, **options).to_json()["ordinal"]


@pytest.mark.parametrize("seed", range(3))
def test_kappa_and_error_are_scikit_learns(seed):
    predictions = make_predictions(seed, n=300, shares=SHARES)
    found, predicted = order_block(predictions), predictions.probabilities.argmax(1)
    kappa = cohen_kappa_score(predictions.labels, predicted, weights="quadratic")
    assert found["quadratic_kappa"] == pytest.approx(kappa, abs=1e-12)
    assert found["mean_absolute_error"] == pytest.approx(mean_absolute_error(predictions.labels, predicted))
    for name in ("quadratic_kappa", "mean_absolute_error"):
        low, high = found[f"{name}_ci95"]
        assert low < found[name] < high


def test_the_interval_is_that_of_resampling_whole_groups():
    predictions = make_predictions(n=300, shares=SHARES, group_size=5)
    units, generator = np.arange(60).repeat(5), np.random.default_rng(1)
    found = score_order(predictions, 5, units, resamples=1000, seed=0).quadratic_kappa_ci95
    predicted = predictions.probabilities.argmax(1)
    kappas = []
    for _ in range(400):
        rows = np.concatenate([np.flatnonzero(units == unit) for unit in generator.integers(60, size=60)])
        kappas.append(cohen_kappa_score(predictions.labels[rows], predicted[rows], weights="quadratic"))
    assert found == pytest.approx(np.quantile(kappas, [0.025, 0.975]), abs=0.02)
    alone = score_order(predictions, 5, np.arange(300), resamples=1000, seed=0).quadratic_kappa_ci95
    assert found[1] - found[0] > alone[1] - alone[0]


def test_what_is_undefined_is_none_and_what_is_not_asked_for_is_missing():
    predictions = make_predictions(n=40)
    assert "ordinal" not in score(predictions).to_json()
    assert order_block(predictions, resamples=0)["quadratic_kappa_ci95"] is None
    same = Predictions(
        np.arange(4),
        np.zeros(4, np.int32),
        np.full((4, 2), [0.9, 0.1], np.float32),
        np.full(4, 0.1, np.float32),
    )
    assert order_block(same)["quadratic_kappa"] is None


def test_page_and_terminal_show_them():
    block = score(make_predictions(n=300, shares=SHARES), ordinal=True).to_json()
    titles = [row.title for row in describe_measures(block)]
    assert titles[-2:] == ["Quadratic-weighted kappa", "Mean absolute error"]
    (line, *_) = evaluation_lines({"test": block}, {"data": {"groups": None, "is_synthetic": True}})
    assert f"quadratic-weighted kappa {block['ordinal']['quadratic_kappa']:.4f} (95 % interval" in line
