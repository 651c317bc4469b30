"""The decisions by a threshold as words."""

import numpy as np
import pytest

from medjax.evaluation.operating_point import ABOVE_ALL, score_decisions
from medjax.evaluation.units import Units
from medjax.report.operating_point import point_line, point_rows, point_sentence


def block(true_positives, false_negatives, false_positives, true_negatives, prevalence=None):
    counts = true_positives, false_negatives, false_positives, true_negatives
    is_positive = np.repeat([True, True, False, False], counts)
    is_called = np.repeat([True, False, True, False], counts)
    found = score_decisions(is_positive, is_called, Units(np.arange(sum(counts)), None), prevalence)
    return {"positive": "tumor", "threshold": 0.25, **found}


def test_a_line_says_what_the_decisions_are_worth():
    line = point_line(block(45, 5, 30, 120))
    assert line.startswith("tumor at p ≥ 0.25: sensitivity 90.00 % (78.64 to 95.65 %), specificity 80.00 %")
    assert line.endswith("NPV 96.00 % (90.98 to 98.28 %), at a prevalence of 25.00 %")
    of_folds = point_line({**block(0, 5, 0, 95), "threshold": None})
    assert of_folds.startswith("tumor by the thresholds of the folds: sensitivity 0.00 %")
    assert "PPV undefined" in of_folds
    above_all = point_line({**block(0, 5, 0, 95), "threshold": ABOVE_ALL})
    assert above_all.startswith("tumor never: sensitivity 0.00 %")


def test_rows_show_ratios_without_bound():
    rows = {title: (value, interval) for title, value, interval, _ in point_rows(block(45, 5, 0, 150, 0.01))}
    value, interval = rows["Positive likelihood ratio"]
    assert (value, interval.endswith(" to ∞")) == ("∞", True)
    assert rows["Positive predictive value at a prevalence of 1 %"][0] == "100.00 %"
    undefined = {title: value for title, value, *_ in point_rows(block(0, 0, 5, 95))}
    assert undefined["Positive likelihood ratio"] == undefined["Sensitivity"] == "undefined"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("youden", "the largest sum of sensitivity and specificity"),
        ("sensitivity=0.95", "the highest specificity at a sensitivity of at least 0.95"),
        ("specificity=0.9", "the highest sensitivity at a specificity of at least 0.9"),
        ("cost=10", "the least cost, if a missed one costs as much as 10 false alarms"),
    ],
)
@pytest.mark.parametrize(
    ("folds", "where"), [(None, "on the validation part (80 images, 20"), ([0.5], "of the other folds")]
)
def test_a_sentence_says_how_the_threshold_was_chosen(rule, words, folds, where):
    point = {
        **{"positive": "tumor", "threshold": 0.25, "rule": rule, "fold_thresholds": folds},
        "chosen_on": {"part": "val", "n": 80, "positives": 20},
    }
    sentence = point_sentence(point)
    assert sentence.startswith("An image is called tumor if its probability is at least 0.25")
    assert words in sentence
    assert where in sentence
    above_all = point_sentence({**point, "threshold": ABOVE_ALL})
    assert above_all.startswith("An image is never called tumor: the threshold with the ")
