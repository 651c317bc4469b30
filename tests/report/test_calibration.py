"""What calibration did, as words."""

import copy

import pytest

from medjax.report.calibration import before_rows, calibration_line, calibration_sentences
from tests.pages import SCORES, calibration_test

TRAINING = {"keep": "last", "early_stopping": False, "reduce_on_plateau": False, "class_balance": "none"}
MAP = {"fold": 0, "n": 1318, "method": "temperature", "temperature": 1.43}
BEFORE = {
    **{"n": 540, "errors": 8, "loss": 0.5, "brier": 0.25, "ece": 0.125},
    "slope": calibration_test(0.5, 1.0, None, None, None),
    "intercept": calibration_test(None, 0.0, None, None, None),
}


def test_a_line_and_a_table_give_each_score_before_and_after():
    block = {**copy.deepcopy(SCORES), "before_calibration": BEFORE}
    line = calibration_line(block)
    assert line.startswith("calibrated: loss ")
    assert "(before 0.5000), Brier" in line
    assert line.endswith(f"errors {block['errors']:,} (before 8)")
    rows = {name: (before, after) for name, before, after in before_rows(block)}
    assert rows["ECE"] == ("0.1250", f"{block['ece']:.4f}")
    assert rows["intercept"][0] == "undefined"
    of_labels = {"loss": 0.25, "before_calibration": {"n": 540, "loss": 0.5}}
    assert before_rows(of_labels) == [("loss", "0.5000", "0.2500")]


@pytest.mark.parametrize(
    ("changes", "training", "words"),
    [
        (
            {},
            {},
            "one temperature, which changes no predicted class, fitted on the validation part (1,318 images).",
        ),
        ({}, {}, "The temperature is 1.43; above 1"),
        ({"temperature": 1.0}, {}, "It is 1 where no validation image is predicted wrongly"),
        ({}, {"keep": "best"}, "The same images decided which epoch's parameters are scored"),
        ({}, {"class_balance": "weights"}, "cannot undo the shift by --class-balance weights"),
        (
            {"temperatures": [1.0, 2.0]},
            {"class_balance": "weights"},
            "the shift by --class-balance weights.",
        ),
        ({"method": "vector"}, {}, "(vector scaling), which may change the predicted class"),
        ({"temperatures": [1.0, 2.0]}, {}, "a temperature for each label"),
    ],
)
def test_sentences_say_what_it_does_and_what_it_leaves_open(changes, training, words):
    sentences = calibration_sentences({"calibrators": [{**MAP, **changes}]}, {**TRAINING, **training})
    assert words in " ".join(sentences)


def test_what_is_not_so_is_not_said():
    said = " ".join(calibration_sentences({"calibrators": [MAP]}, TRAINING))
    assert not any(words in said for words in ("decided", "cannot undo", "It is 1", "New images"))
    vector = [{**MAP, "method": "vector"}]
    shifted = calibration_sentences({"calibrators": vector}, {**TRAINING, "class_balance": "sampling"})
    assert "cannot undo" not in " ".join(shifted)


def test_of_folds_it_gives_ranges():
    maps = [MAP, {**MAP, "fold": 1, "n": 1320, "temperature": 2.0}]
    said = " ".join(calibration_sentences({"calibrators": maps, "folds": []}, TRAINING))
    assert "in each fold on its inner validation part (1,318 to 1,320 images)" in said
    assert "The temperature is 1.43 to 2.00" in said
    assert "New images get the mean of the 2 calibrated networks" in said
