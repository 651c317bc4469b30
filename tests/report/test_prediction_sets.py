"""Prediction sets as words."""

import numpy as np

from medjax.evaluation.prediction_sets import score_sets
from medjax.evaluation.units import Units
from medjax.report.prediction_sets import (
    sets_line,
    sets_rows,
    sets_sentences,
    sizes_sentence,
    uncovered_sentence,
    void_sentence,
)
from tests.predicted import make_predictions

TRAINING = {"keep": "last", "early_stopping": False, "reduce_on_plateau": False}
SETS = {"coverage": 0.95, "sets": "lac", "part": "conformal", "folds": [{"fold": 0, "n": 84, "units": [84]}]}


def block():
    predictions = make_predictions(n=200, shares=(0.5, 0.5))
    sets = np.zeros((200, 2), bool)
    sets[:150, 0], sets[50:120, 1] = True, True
    found = score_sets(sets, predictions, ("a", "b"), Units(np.arange(200), None))
    return {"wanted": 0.95, "expected_range": None, **found}


def test_a_line_says_how_good_sets_are():
    line = sets_line({**block(), "coverage": 0.925, "coverage_ci95": [0.88, 0.95]})
    assert line == (
        "sets at 95 %: hold the true class for 92.50 % (88.00 to 95.00 %) of 200 images, 1.10 classes on average, "
        "40.00 % hold one class, 25.00 % none"
    )


def test_a_table_has_a_row_for_each_class():
    rows = sets_rows(block())
    assert [row[0] for row in rows] == ["all", "of a", "of b"]
    assert sum(int(row[1]) for row in rows[1:]) == 200
    empty = {"n": 0, "coverage": None, "coverage_ci95": None, "mean_size": None}
    assert sets_rows({**block(), "per_class": {"c": empty}})[1] == ("of c", "0", "undefined", "", "undefined")


def test_sizes_are_counted_and_chance_is_told():
    assert sizes_sentence(block()) == "By number of classes: 50 empty sets, 80 sets of 1 and 70 sets of 2."
    said = sizes_sentence({**block(), "expected_range": [0.9, 0.98]})
    assert "95 % of runs find a coverage of 90.00 to 98.00 %" in said


def test_it_says_what_is_promised():
    (how, promise) = sets_sentences({"prediction_sets": SETS}, TRAINING, None)
    assert "kept out of training: 84 images." in how
    assert "probability of at least 95 %, if new images come from the same source" in promise
    grouped = sets_sentences({"prediction_sets": SETS}, TRAINING, {"n": 3})[1]
    assert "drawn at random from a new group, each group counted once" in grouped
    of_class = sets_sentences({"prediction_sets": {**SETS, "sets": "class"}}, TRAINING, None)
    assert "84 images of a class." in of_class[0]
    assert "for each class, if" in of_class[1]


def test_of_folds_the_mean_promises_less():
    folds = [{"fold": fold, "n": 84, "units": [80 + fold]} for fold in range(3)]
    metrics = {"prediction_sets": {**SETS, "folds": folds}, "folds": folds}
    said = " ".join(sets_sentences(metrics, TRAINING, None))
    assert "80 to 82 images of each fold" in said
    assert "more than half of the folds' sets, which promises 90 % only." in said
    metrics["prediction_sets"]["sets"] = "aps"
    assert "90 % only; folds that disagree may leave none." in sets_sentences(metrics, TRAINING, None)[-1]


def test_it_says_that_the_guarantee_is_void():
    on_val = {**TRAINING, "coverage": 0.95, "conformal_share": 0.0}
    assert void_sentence(TRAINING) is None
    assert "void" in void_sentence({**TRAINING, "keep": "best", "coverage": 0.95})
    assert void_sentence({**on_val, "keep": "best", "conformal_share": 0.1}) is None
    assert void_sentence(on_val) is None
    void = void_sentence({**on_val, "keep": "best"})
    assert void.startswith(
        "the guarantee of these sets is void: the validation part, which set their thresholds"
    )
    metrics = {"prediction_sets": {**SETS, "part": "val"}}
    said = sets_sentences(metrics, {**on_val, "calibrate": "vector"}, None)
    assert "The guarantee of these sets is void" in said[-1]
    assert "decided how probabilities are calibrated" in said[-1]
    assert "at least 95 %" not in " ".join(said)
    assert "from the validation part" in sets_sentences(metrics, on_val, None)[0]
    assert "at least 95 %" in sets_sentences(metrics, on_val, None)[1]


def test_a_class_that_is_not_covered_is_named():
    rows = {
        "a": {"n": 20, "coverage": 0.45, "coverage_ci95": [0.26, 0.66]},
        "b": {"n": 90, "coverage": 0.9, "coverage_ci95": [0.82, 0.95]},
        "c": {"n": 0, "coverage": None, "coverage_ci95": None},
    }
    said = uncovered_sentence({"wanted": 0.95, "per_class": rows})
    assert said.startswith("sets hold the true class for only 45.0 % of a (")
    assert uncovered_sentence({"wanted": 0.6, "per_class": rows}) is None
