"""Scores against scikit-learn, as the block of metrics.json."""

import json

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from medjax.errors import RefusedError
from medjax.evaluation.intervals import wilson_interval
from medjax.evaluation.scores import score
from medjax.records import concatenate_predictions
from tests.predicted import make_predictions

NAMES = ("a", "b", "c")
HEADLINES = ("balanced_accuracy", "macro_f1", "auc", "average_precision", "loss", "brier")


def score_block(*arguments, **options):
    return score(*arguments, **options).to_json()


def repeated(predictions, times):
    return concatenate_predictions([predictions] * times)


@pytest.mark.parametrize("seed", range(3))
def test_every_number_is_scikit_learns(seed):
    predictions = make_predictions(seed)
    labels, probabilities = predictions.labels, predictions.probabilities
    predicted = probabilities.argmax(1)
    block = score_block(predictions, NAMES)
    assert block["n"] == 200
    assert block["errors"] == (labels != predicted).sum()
    assert block["accuracy"] == sklearn_metrics.accuracy_score(labels, predicted)
    assert block["accuracy_ci95"] == list(wilson_interval(int((labels == predicted).sum()), 200))
    assert block["loss"] == pytest.approx(sklearn_metrics.log_loss(labels, probabilities), rel=1e-6)
    assert block["confusion_matrix"] == sklearn_metrics.confusion_matrix(labels, predicted).tolist()
    expected = {
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(labels, predicted),
        "macro_f1": sklearn_metrics.f1_score(labels, predicted, average="macro"),
        "auc": sklearn_metrics.roc_auc_score(labels, probabilities, multi_class="ovr"),
        "average_precision": sklearn_metrics.average_precision_score(np.eye(3)[labels], probabilities),
        "brier": sklearn_metrics.brier_score_loss(labels, probabilities, scale_by_half=False),
    }
    assert {name: block[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(labels, predicted)
    for label, name in enumerate(NAMES):
        row = block["per_class"][name]
        assert row["n"] == support[label]
        expected = [precision[label], recall[label], recall[label], f1[label]]
        assert [row[key] for key in ("precision", "recall", "sensitivity", "f1")] == pytest.approx(expected)
        others = labels != label
        assert row["specificity"] == pytest.approx((predicted[others] != label).mean())
        average = sklearn_metrics.average_precision_score(~others, probabilities[:, label])
        assert row["average_precision"] == pytest.approx(average)


def test_auc_is_the_chance_that_a_member_gets_the_higher_probability():
    predictions = make_predictions()
    for label, name in enumerate(NAMES):
        own = predictions.probabilities[predictions.labels == label, label]
        others = predictions.probabilities[predictions.labels != label, label]
        expected = (own[:, None] > others).mean() + 0.5 * (own[:, None] == others).mean()
        assert score_block(predictions, NAMES)["per_class"][name]["auc"] == pytest.approx(expected)


def test_each_proportion_of_a_class_has_the_interval_of_its_denominator():
    predictions = make_predictions()
    is_a, called_a = predictions.labels == 0, predictions.probabilities.argmax(1) == 0
    row = score_block(predictions, NAMES)["per_class"]["a"]
    hits = int((is_a & called_a).sum())
    assert row["sensitivity_ci95"] == list(wilson_interval(hits, int(is_a.sum())))
    assert row["precision_ci95"] == list(wilson_interval(hits, int(called_a.sum())))
    rejected = int((~is_a & ~called_a).sum())
    assert row["specificity_ci95"] == list(wilson_interval(rejected, int((~is_a).sum())))


def test_every_interval_holds_its_metric():
    block = score_block(make_predictions(n=600), NAMES)
    assert block["bootstrap"] == {
        "resamples": 1000,
        "seed": 0,
        "unit": "image",
        "units": 600,
        "withheld": None,
    }
    for name in (*HEADLINES, "accuracy"):
        low, high = block[f"{name}_ci95"]
        assert low < block[name] < high, name


def test_what_is_undefined_is_none_and_never_zero():
    block = score_block(make_predictions(shares=(0.5, 0.5, 0.0)), NAMES)
    row = block["per_class"]["c"]
    assert row["n"] == 0
    for name in ("recall", "sensitivity", "sensitivity_ci95", "auc", "average_precision"):
        assert row[name] is None, name
    assert row["specificity"] is not None
    assert [block[name] for name in ("auc", "auc_ci95", "average_precision")] == [None] * 3
    labels = make_predictions(shares=(0.5, 0.5, 0.0)).labels
    assert block["balanced_accuracy"] > 0.5
    assert set(labels) == {0, 1}


def test_few_errors_withhold_the_bootstrap_and_leave_wilsons_interval():
    block = score_block(make_predictions(separation=4.0), NAMES)
    assert 0 < block["errors"] < 30
    told = "1 image holds an error" if block["errors"] == 1 else f"{block['errors']} images hold an error"
    assert block["bootstrap"]["withheld"].startswith(told)
    assert [block[f"{name}_ci95"] for name in HEADLINES] == [None] * 6
    assert block["accuracy_ci95"] is not None


def test_few_right_answers_withhold_it_as_well():
    predictions = make_predictions()
    wrong = predictions._replace(labels=((predictions.probabilities.argmax(1) + 1) % 3).astype(np.int32))
    assert "0 images hold a right answer" in score_block(wrong, NAMES)["bootstrap"]["withheld"]


def test_a_single_image_and_a_model_that_is_always_right_have_scores():
    one = make_predictions().take(slice(1))
    block = score_block(one, NAMES)
    assert (block["n"], block["auc"]) == (1, None)
    json.dumps(block, allow_nan=False)
    predictions = make_predictions()
    perfect = predictions._replace(
        probabilities=np.eye(3, dtype=np.float32)[predictions.labels], losses=np.zeros(200, np.float32)
    )
    block = score_block(perfect, NAMES)
    assert [block[name] for name in ("accuracy", "auc", "average_precision", "macro_f1")] == [1.0] * 4
    assert [block[name] for name in ("brier", "ece", "loss")] == [0.0] * 3
    assert block["accuracy_ci95"] == list(wilson_interval(200, 200))


def test_predicting_images_again_makes_nothing_surer():
    predictions = make_predictions()
    once, thrice = score_block(predictions, NAMES), score_block(repeated(predictions, 3), NAMES)
    assert thrice["n"] == 600
    for name in ("accuracy_ci95", "loss_ci95", "auc_ci95", "ece_if_calibrated"):
        assert thrice[name] == pytest.approx(once[name], rel=1e-6), name


def test_images_of_a_group_say_less_than_as_many_alone():
    predictions = make_predictions(n=600, group_size=6)
    groups = np.array([f"patient {index // 6}" for index in range(600)])
    block = score_block(predictions, NAMES, groups=groups)
    assert block["bootstrap"]["unit"] == "group"
    assert block["bootstrap"]["units"] == 100

    def width(name):
        return np.diff(block[name])[0]

    assert width("accuracy_ci95_grouped") > 1.2 * width("accuracy_ci95")
    assert np.diff(block["loss_ci95"]) > 1.2 * np.diff(score_block(predictions, NAMES)["loss_ci95"])
    again = score_block(repeated(predictions, 2), NAMES, groups=np.concatenate([groups, groups]))
    assert again["accuracy_ci95_grouped"] == pytest.approx(block["accuracy_ci95_grouped"])


def test_the_block_is_plain_json_and_the_same_every_time():
    blocks = [json.dumps(score_block(make_predictions(), NAMES), allow_nan=False) for _ in range(2)]
    assert blocks[0] == blocks[1]


def test_class_names_are_those_of_the_predictions_or_numbers():
    predictions = make_predictions()
    assert list(score(predictions).per_class) == ["class 0", "class 1", "class 2"]
    assert list(score(predictions._replace(class_names=NAMES)).per_class) == list(NAMES)
    assert list(score(predictions._replace(class_names=NAMES), ["x", "y", "z"]).per_class) == ["x", "y", "z"]


def test_what_cannot_be_scored_is_refused_in_one_sentence():
    whole = make_predictions()
    refused = {
        "predictions: have no labels": (whole._replace(labels=None), {}),
        "predictions: there are none": (whole.take(slice(0)), {}),
        "predictions: have labels from 1 to 3": (whole._replace(labels=whole.labels % 3 + 1), {}),
        "apply softmax": (whole._replace(probabilities=whole.probabilities * 2), {}),
        "no probabilities": (whole._replace(probabilities=np.full_like(whole.probabilities, np.nan)), {}),
        "groups: 7 are given for 200": (whole, {"groups": np.arange(7).astype(str)}),
        "class_names: are 2": (whole, {"class_names": ("a", "b")}),
        "give 3 different names": (whole, {"class_names": ("a", "b", "a")}),
    }
    for message, (predictions, options) in refused.items():
        with pytest.raises(RefusedError, match=message) as error:
            score(predictions, **options)
        assert len(error.value.lines()) == 1
