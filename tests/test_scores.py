"""The block of metrics.json against scikit-learn."""

import json

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from medjax.evaluation import score, wilson_interval
from medjax.records import Predictions

NAMES = ("a", "b", "c")


def make_predictions(seed=0, n=200, present=(0, 1, 2)):
    generator = np.random.default_rng(seed)
    labels = generator.choice(present, n).astype(np.int32)
    logits = generator.normal(size=(n, 3)) + 1.5 * np.eye(3)[labels]
    probabilities = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    losses = -np.log(probabilities[np.arange(n), labels])
    return Predictions(np.arange(n), labels, probabilities, losses)


@pytest.mark.parametrize("seed", range(3))
def test_every_number_is_scikit_learns(seed):
    predictions = make_predictions(seed)
    labels, probabilities = predictions.labels, predictions.probabilities
    predicted = probabilities.argmax(1)
    block = score(predictions, NAMES)
    assert block["n"] == 200
    assert block["errors"] == (labels != predicted).sum()
    assert block["accuracy"] == sklearn_metrics.accuracy_score(labels, predicted)
    assert block["accuracy_ci95"] == list(wilson_interval(int((labels == predicted).sum()), 200))
    assert block["loss"] == pytest.approx(sklearn_metrics.log_loss(labels, probabilities), rel=1e-6)
    assert block["confusion_matrix"] == sklearn_metrics.confusion_matrix(labels, predicted).tolist()
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(labels, predicted)
    for label, name in enumerate(NAMES):
        row = block["per_class"][name]
        assert row["n"] == support[label]
        expected = [precision[label], recall[label], f1[label]]
        assert [row["precision"], row["recall"], row["f1"]] == pytest.approx(expected)
        others = labels != label
        assert row["specificity"] == pytest.approx((predicted[others] != label).mean())


def test_auc_is_the_chance_that_a_member_gets_the_higher_probability():
    predictions = make_predictions()
    for label, name in enumerate(NAMES):
        own = predictions.probabilities[predictions.labels == label, label]
        others = predictions.probabilities[predictions.labels != label, label]
        expected = (own[:, None] > others).mean() + 0.5 * (own[:, None] == others).mean()
        assert score(predictions, NAMES)["per_class"][name]["auc"] == pytest.approx(expected)


def test_what_is_undefined_is_none_and_never_zero():
    row = score(make_predictions(present=(0, 1)), NAMES)["per_class"]["c"]
    assert row["n"] == 0
    assert row["recall"] is None
    assert row["auc"] is None
    assert row["specificity"] is not None


def test_the_block_is_plain_json():
    json.dumps(score(make_predictions(), NAMES), allow_nan=False)
