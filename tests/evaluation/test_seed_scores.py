"""Mean, deviation and range over seeds, by hand."""

import pytest

from medjax.evaluation.seed_scores import summarize_seeds


def make_run(accuracy, errors, auc=0.9, interval=(0.8, 0.9)):
    return {
        "accuracy": accuracy,
        "balanced_accuracy": accuracy,
        "auc": auc,
        "errors": errors,
        "loss": 0.5,
        "accuracy_ci95": None if interval is None else list(interval),
        "auc_ci95": None,
    }


def test_the_spread_is_that_of_a_sample():
    found = summarize_seeds([make_run(0.8, 20), make_run(0.9, 10, interval=(0.82, 0.94)), make_run(1.0, 0)])
    assert found["accuracy"] == pytest.approx(0.9)
    assert found["accuracy_sd"] == pytest.approx(0.1)
    assert found["accuracy_range"] == [0.8, 1.0]
    assert (found["errors"], found["errors_sd"], found["errors_range"]) == (10, 10, [0, 20])
    assert found["loss_sd"] == 0
    assert found["accuracy_ci95"] == pytest.approx([(0.8 + 0.82 + 0.8) / 3, (0.9 + 0.94 + 0.9) / 3])


def test_what_a_run_does_not_have_is_not_summarized():
    found = summarize_seeds([make_run(0.8, 20, auc=None), make_run(0.9, 10, interval=None)])
    assert found["auc"] is found["auc_sd"] is found["auc_range"] is None
    assert found["accuracy_ci95"] is found["auc_ci95"] is None


def test_one_run_has_no_spread():
    found = summarize_seeds([make_run(0.8, 20)])
    assert found["accuracy_sd"] is None
    assert found["accuracy_range"] == [0.8, 0.8]
