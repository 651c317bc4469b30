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
    assert block["errors"] == 1
    assert block["bootstrap"]["withheld"].startswith("1 image holds an error")
    bounds = {name: block[f"{name}_ci95"] for name in ("accuracy", *HEADLINES)}
    assert [name for name in bounds if bounds[name] is not None] == ["accuracy", "auc"]
    assert bounds["auc"][0] < block["auc"] <= bounds["auc"][1]


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
    for name in ("accuracy_ci95", "loss_ci95", "ece_if_calibrated"):
        assert thrice[name] == pytest.approx(once[name], rel=1e-6), name
    assert thrice["auc_ci95"] == pytest.approx(once["auc_ci95"], rel=1e-3)


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


def with_one(value):
    """Probabilities of which one is no probability."""
    probabilities = make_predictions().probabilities.copy()
    probabilities[7, 1] = value
    return probabilities


CERTAIN = np.eye(3, dtype=np.float32)
DEGENERATE = {
    "always certain, often wrong": dict(probabilities=CERTAIN[np.arange(200) % 3]),
    "always the same": dict(probabilities=CERTAIN[np.zeros(200, int)]),
    "all ties": dict(probabilities=np.full((200, 3), 1 / 3, np.float32)),
    "one class": dict(labels=np.ones(200, np.int32)),
    "infinite losses": dict(losses=np.full(200, np.inf, np.float32)),
    "losses that are no numbers": dict(losses=np.full(200, np.nan, np.float32)),
    "one image many times": dict(indices=np.zeros(200, np.int64)),
    "a model of one class": dict(probabilities=np.ones((200, 1), np.float32), labels=np.zeros(200, np.int32)),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("num_groups", [None, 1, 2, 3, 200])
def test_whatever_a_model_answers_has_scores(name, num_groups):
    predictions = make_predictions()._replace(**DEGENERATE[name])
    if num_groups is not None and name == "one image many times":
        num_groups = 1
    groups = None if num_groups is None else np.sort(np.arange(200) % num_groups).astype(str)
    block = score_block(predictions, groups=groups)
    json.dumps(block, allow_nan=False)
    assert block["leading_ci95"] == ("accuracy_ci95" if groups is None else "accuracy_ci95_grouped")
    assert (block[block["leading_ci95"]] is None) == (num_groups == 1)


def test_grouped_intervals_of_each_class_lead_beside_those_by_image():
    predictions = make_predictions(n=600, group_size=6)
    groups = np.array([f"patient {index // 6}" for index in range(600)])
    block = score_block(predictions, NAMES, groups=groups)
    alone = score_block(predictions, NAMES)
    for name, row in block["per_class"].items():
        for key in ("sensitivity", "specificity", "precision"):
            assert row[f"{key}_ci95"] == alone["per_class"][name][f"{key}_ci95"]
            low, high = row[f"{key}_ci95_grouped"]
            assert low < row[key] < high
            assert high - low > np.diff(row[f"{key}_ci95"])[0]
            assert alone["per_class"][name][f"{key}_ci95_grouped"] is None


def test_the_largest_class_and_classes_that_are_never_predicted_are_named():
    predictions = make_predictions(shares=(0.2, 0.75, 0.05))
    block = score_block(predictions, NAMES)
    share = (predictions.labels == 1).mean()
    assert (block["largest_class"]["name"], block["largest_class"]["share"]) == ("b", share)
    low, high = block["largest_class"]["gain_ci95"]
    assert low < block["accuracy"] - share < high
    assert block["never_predicted"] == []
    probabilities = predictions.probabilities.copy()
    probabilities[:, 1] += 1
    block = score_block(predictions._replace(probabilities=probabilities / 2), NAMES)
    assert block["never_predicted"] == ["a", "c"]
    assert block["largest_class"]["gain_ci95"][0] <= 0


def test_what_cannot_be_scored_is_refused_in_one_sentence():
    whole = make_predictions()
    refused = {
        "predictions: have no labels": (whole._replace(labels=None), {}),
        "predictions: there are none": (whole.take(slice(0)), {}),
        "predictions: have labels from 1 to 3": (whole._replace(labels=whole.labels % 3 + 1), {}),
        "apply softmax": (whole._replace(probabilities=whole.probabilities * 2), {}),
        "not finite for 1 of 200 images": (whole._replace(probabilities=with_one(np.nan)), {}),
        "200 images .the network diverged": (whole._replace(probabilities=with_one(np.inf)), {}),
        "no probabilities": (whole._replace(probabilities=with_one(-0.5)), {}),
        "do not fit together": (whole._replace(labels=whole.labels[:7]), {}),
        r"together: \(200,\), \(200,\), \(200,\)": (whole._replace(probabilities=whole.losses), {}),
        "labels to be scored by": (whole._replace(losses=None), {}),
        "groups: 7 are given for 200": (whole, {"groups": np.arange(7).astype(str)}),
        "class_names: are 2": (whole, {"class_names": ("a", "b")}),
        "give 3 different names": (whole, {"class_names": ("a", "b", "a")}),
    }
    for message, (predictions, options) in refused.items():
        with pytest.raises(RefusedError, match=message) as error:
            score(predictions, **options)
        assert len(error.value.lines()) == 1
