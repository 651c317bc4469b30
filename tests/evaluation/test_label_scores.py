"""Scores of several labels against scikit-learn, with and without labels that are not known."""

import json

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from medjax.errors import RefusedError
from medjax.evaluation.intervals import wilson_interval
from medjax.evaluation.label_scores import score_labels
from tests.predicted import make_label_predictions

NAMES = ("a", "b", "c")


def score_block(*arguments, **options):
    return score_labels(*arguments, **options).to_json()


@pytest.mark.parametrize("seed", range(3))
def test_every_number_is_scikit_learns(seed):
    predictions = make_label_predictions(seed)
    labels, probabilities, decisions = predictions.labels, predictions.probabilities, predictions.decisions
    block = score_block(predictions, NAMES, resamples=0)
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(labels, decisions),
        "macro_f1": sklearn_metrics.f1_score(labels, decisions, average="macro"),
        "auc": sklearn_metrics.roc_auc_score(labels, probabilities, average="macro"),
        "average_precision": sklearn_metrics.average_precision_score(labels, probabilities, average="macro"),
        "loss": np.mean([sklearn_metrics.log_loss(labels[:, i], probabilities[:, i]) for i in range(3)]),
    }
    assert {name: block[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    micro = {
        "auc": sklearn_metrics.roc_auc_score(labels, probabilities, average="micro"),
        "average_precision": sklearn_metrics.average_precision_score(labels, probabilities, average="micro"),
        "sensitivity": sklearn_metrics.recall_score(labels, decisions, average="micro"),
        "precision": sklearn_metrics.precision_score(labels, decisions, average="micro"),
        "f1": sklearn_metrics.f1_score(labels, decisions, average="micro"),
    }
    assert {name: block["micro"][name] for name in micro} == pytest.approx(micro, rel=1e-6)
    for label, ((true_no, false_yes), (false_no, true_yes)) in enumerate(
        sklearn_metrics.multilabel_confusion_matrix(labels, decisions)
    ):
        row = block["per_class"][NAMES[label]]
        assert row["sensitivity"] == pytest.approx(true_yes / (true_yes + false_no))
        assert row["specificity"] == pytest.approx(true_no / (true_no + false_yes))
        assert row["sensitivity_ci95"] == list(wilson_interval(int(true_yes), int(true_yes + false_no)))
        area = sklearn_metrics.roc_auc_score(labels[:, label], probabilities[:, label])
        assert (row["auc"], row["threshold"]) == (pytest.approx(area, rel=1e-6), 0.5)
    json.dumps(block, allow_nan=False)


def test_unknown_labels_count_nowhere():
    """The numbers are those of what is known, whatever is predicted where nothing is."""
    predictions = make_label_predictions(unknown=0.3)
    labels, changed = predictions.labels, predictions.probabilities.copy()
    changed[labels < 0] = 0.99
    block = score_block(predictions, NAMES, resamples=50)
    assert score_block(predictions._replace(probabilities=changed), NAMES, resamples=50) == block
    known = labels[:, 1] >= 0
    area = sklearn_metrics.roc_auc_score(labels[known, 1], predictions.probabilities[known, 1])
    assert block["per_class"]["b"]["auc"] == pytest.approx(area, rel=1e-6)
    assert block["n"] == (labels >= 0).any(axis=1).sum() < 300
    wrong = ((predictions.decisions != (labels == 1)) & (labels >= 0)).any(axis=1)
    assert block["errors"] == wrong.sum()


def test_a_label_predicted_only_where_it_is_not_known_is_never_predicted():
    predictions = make_label_predictions(n=100, unknown=0.3)
    probabilities = predictions.probabilities.copy()
    probabilities[:, 1] = np.where(predictions.labels[:, 1] < 0, 0.99, 0.01)
    block = score_block(predictions._replace(probabilities=probabilities), NAMES, resamples=0)
    assert block["never_predicted"] == ["b"]


def test_groups_may_be_a_list():
    predictions = make_label_predictions(n=60)
    labels = predictions.labels.copy()
    labels[0] = -1
    groups = [str(image // 2) for image in range(60)]
    block = score_block(predictions._replace(labels=labels), NAMES, resamples=0, groups=groups)
    assert (block["n"], block["bootstrap"]["units"]) == (59, 30)


def test_intervals_hold_their_scores_and_groups_widen_them():
    predictions = make_label_predictions(n=600)
    block = score_block(predictions, NAMES, resamples=200)
    for name in ("auc", "average_precision", "balanced_accuracy", "macro_f1", "loss"):
        low, high = block[f"{name}_ci95"]
        assert low < block[name] < high, name
    for row in block["per_class"].values():
        assert row["auc_ci95"][0] < row["auc"] < row["auc_ci95"][1]
    copies = predictions.take(np.arange(600).repeat(3))._replace(indices=np.arange(1800))
    alone = score_block(copies, NAMES, resamples=200)
    grouped = score_block(copies, NAMES, resamples=200, groups=np.arange(600).repeat(3).astype(str))
    assert (grouped["leading_ci95"], grouped["bootstrap"]["units"]) == ("accuracy_ci95_grouped", 600)
    widths = [np.ptp(each["auc_ci95"]) for each in (alone, grouped)]
    assert widths[1] > 1.4 * widths[0]
    assert np.ptp(grouped["accuracy_ci95_grouped"]) > np.ptp(grouped["accuracy_ci95"])


def test_fewer_than_thirty_groups_withhold_the_bootstrap():
    block = score_block(make_label_predictions(n=40), NAMES, groups=(np.arange(40) % 3).astype(str))
    reason = "there are 3 groups: with fewer than 30 no bootstrap can be trusted"
    assert (block["bootstrap"]["units"], block["bootstrap"]["withheld"]) == (3, reason)
    for name in ("average_precision", "balanced_accuracy", "macro_f1", "loss"):
        assert block[f"{name}_ci95"] is None
    block = score_block(make_label_predictions(n=30), NAMES)
    assert block["bootstrap"]["withheld"] is None
    assert block["loss_ci95"][0] < block["loss"] < block["loss_ci95"][1]


def test_labels_that_no_image_or_few_images_have():
    predictions = make_label_predictions(n=200)
    labels = predictions.labels.copy()
    labels[:, 2] = 0
    labels[60:, 1] = 0
    block = score_block(predictions._replace(labels=labels), NAMES)
    rows = block["per_class"]
    assert rows["c"]["auc"] is rows["c"]["sensitivity"] is rows["c"]["average_precision"] is None
    assert rows["b"]["auc_ci95"] is not None
    assert rows["a"]["average_precision_ci95"] is not None
    assert rows["b"]["average_precision_ci95"] is None  # too few images for a bootstrap
    assert block["average_precision"] > 0
    assert block["average_precision_ci95"] is None  # label b is in the mean
    assert block["auc"] == pytest.approx((rows["a"]["auc"] + rows["b"]["auc"]) / 2)
    none = predictions._replace(labels=np.zeros_like(labels), probabilities=np.zeros((200, 3), np.float32))
    block = score_block(none, NAMES)
    assert (block["errors"], block["auc"], block["largest_class"]["name"]) == (0, None, "no label")


def test_what_cannot_be_scored_is_refused():
    predictions = make_label_predictions(n=20)
    for wrong, message in (
        (predictions._replace(labels=predictions.labels[:, 0]), "no matrix of labels"),
        (predictions._replace(labels=predictions.labels[:, :2]), "labels and probabilities of shapes"),
        (predictions._replace(labels=predictions.labels + 2), "other labels than 1, 0 and -1"),
        (predictions._replace(probabilities=predictions.probabilities + 1), "no probabilities"),
        (predictions._replace(labels=np.full((20, 3), -1, np.int32)), "no image with a known label"),
    ):
        with pytest.raises(RefusedError, match=message):
            score_labels(wrong)
