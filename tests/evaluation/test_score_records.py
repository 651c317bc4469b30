"""Scores as a person meets them: fields, one line, and JSON."""

import json

import numpy as np

from medjax.evaluation.score_records import Scores
from medjax.evaluation.scores import score
from tests.predicted import make_predictions

NAMES = ("a", "b", "c")


def test_fields_are_numbers_that_a_person_can_print():
    predictions = make_predictions()
    scores = score(predictions, NAMES)
    wrong = predictions.probabilities.argmax(1) != predictions.labels
    assert (scores.n, scores.errors, scores.accuracy) == (200, wrong.sum(), 1 - wrong.mean())
    assert 0 < scores.per_class["b"].sensitivity < 1
    assert scores.confusion_matrix.sum() == 200
    assert scores.bootstrap.unit == "image"


def test_a_line_tells_the_accuracy_with_its_interval_the_errors_and_the_loss():
    scores = score(make_predictions(n=380), NAMES)
    low, high = scores.accuracy_ci95
    expected = (
        f"accuracy {100 * scores.accuracy:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f}), "
        f"{scores.errors} errors of 380, loss {scores.loss:.4f}"
    )
    assert str(scores) == expected
    assert repr(scores) == f"<Scores: {expected}>"
    grouped = score(make_predictions(n=380), NAMES, groups=(np.arange(380) // 5).astype(str))
    low, high = grouped.accuracy_ci95_grouped
    assert f"(95 % interval {100 * low:.2f} to {100 * high:.2f})" in str(grouped)
    assert "interval undefined" in str(score(make_predictions(), NAMES, groups=np.full(200, "site")))
    one = make_predictions(separation=4.0)
    labels = one.probabilities.argmax(1).astype(np.int32)
    labels[0] = (labels[0] + 1) % 3
    line = str(score(one._replace(labels=labels, losses=np.full(200, np.inf, np.float32))))
    assert line.endswith("1 error of 200, loss undefined")


def test_json_has_every_field_as_plain_values():
    scores = score(make_predictions(), NAMES)
    block = scores.to_json()
    assert [*block, "ordinal"] == list(Scores.__dataclass_fields__)
    assert json.loads(json.dumps(block, allow_nan=False)) == block
    assert block["accuracy_ci95"] == list(scores.accuracy_ci95)
    assert block["confusion_matrix"] == scores.confusion_matrix.tolist()
    assert block["per_class"]["a"]["recall"] == scores.per_class["a"].recall
    assert block["bootstrap"]["resamples"] == 1000
    assert block["calibration"]["classes"]["a"]["p"] == scores.calibration.classes["a"].p
    assert len(scores.calibration.tests) == 6
    assert score(make_predictions(), NAMES, resamples=0).calibration is None
