"""Differences of scores: their values against scikit-learn, their intervals against simulated truths."""

import json

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from medjax.evaluation.comparison import compare_accuracies
from medjax.evaluation.differences import compare_scores
from medjax.evaluation.scores import score
from tests.predicted import make_predictions

NAMES = ("a", "b", "c")


def two_models(seed=0, **condition):
    """Predictions of the same images by a model, and by one that sees noise in addition."""
    first = make_predictions(seed, **condition)
    generator = np.random.default_rng([seed, 1])
    logits = np.log(np.maximum(first.probabilities, 1e-9)) + generator.normal(size=first.probabilities.shape)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return first, first._replace(probabilities=probabilities.astype(np.float32))


def test_each_score_is_that_of_the_model():
    first, second = two_models()
    found = compare_scores(first, second, range(3))
    for row, predictions in (("first", first), ("second", second)):
        scores = score(predictions, NAMES, resamples=0)
        for name in ("accuracy", "balanced_accuracy", "auc"):
            assert found[name][row] == pytest.approx(getattr(scores, name)), name
        sensitivities = []
        for label in range(3):
            rate, hits, _ = sklearn_metrics.roc_curve(
                predictions.labels == label, predictions.probabilities[:, label], drop_intermediate=False
            )
            sensitivities.append(hits[rate <= 0.1].max())
        assert found["sensitivity_at_specificity"][row] == pytest.approx(np.mean(sensitivities))
    for row in found.values():
        assert row["difference"] == row["second"] - row["first"] < 0
        assert row["ci95"][0] < row["difference"] < row["ci95"][1]
    json.dumps(found, allow_nan=False)


def test_of_even_classes_of_one_group_each_the_balanced_accuracy_is_compared_as_the_accuracy():
    first, second = two_models(n=3000)
    right = [each.probabilities.argmax(1) == each.labels for each in (second, first)]
    found = compare_scores(first, second, [0])["balanced_accuracy"]
    assert found["ci95"] == pytest.approx(compare_accuracies(*right)["ci95"], abs=2e-3)


def test_a_model_compared_with_itself_is_as_good():
    first, _ = two_models()
    found = compare_scores(first, first, range(3))
    assert [row["difference"] for row in found.values()] == [0.0] * 4
    assert found["sensitivity_at_specificity"]["ci95"] is None
    assert found["balanced_accuracy"]["ci95"][0] < 0 < found["balanced_accuracy"]["ci95"][1]


def test_a_class_without_images_leaves_what_is_defined():
    found = compare_scores(*two_models(shares=(0.5, 0.5, 0.0)), range(3))
    assert found["auc"] is found["sensitivity_at_specificity"] is None
    assert found["balanced_accuracy"]["ci95"] is not None


def test_one_group_says_nothing_of_others():
    found = compare_scores(*two_models(), range(3), np.zeros(200, int))
    assert [row["ci95"] for row in found.values()] == [None] * 4


@pytest.mark.slow
@pytest.mark.parametrize("group_size", [1, 4])
def test_the_intervals_cover_the_truth_as_often_as_they_say(group_size):
    condition = {"shares": (0.3, 0.7), "group_size": group_size, "separation": 1.2}
    truth = compare_scores(*two_models(10**6, **condition, n=200_000), [0])
    held = dict.fromkeys(truth, 0)
    for seed in range(600):
        found = compare_scores(
            *two_models(seed, **condition, n=400), [0], None if group_size == 1 else np.arange(400) // 4
        )
        for name, row in found.items():
            held[name] += row["ci95"][0] <= truth[name]["difference"] <= row["ci95"][1]
    for name, count in held.items():
        assert 0.92 <= count / 600 <= 0.98, name
