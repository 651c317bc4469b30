"""From predictions of folds to the scores of metrics.json."""

import statistics

import numpy as np
import pytest

from medjax.data.phantom.dataset import make_phantom
from medjax.evaluation.intervals import wilson_interval
from medjax.jobs.score_folds import describe_mean, score_part
from medjax.records import Predictions, concatenate_predictions


def make_predictions(indices, seed=0):
    generator = np.random.default_rng(seed)
    labels = (np.array(indices) % 6).astype(np.int32)
    probabilities = generator.dirichlet(np.ones(6), len(indices)).astype(np.float32)
    losses = -np.log(probabilities[np.arange(len(indices)), labels])
    return Predictions(np.array(indices), labels, probabilities, losses)


def test_mean_and_sample_standard_deviation_over_folds():
    folds = [{"accuracy": accuracy, "loss": 1 - accuracy} for accuracy in (0.9, 0.95, 1.0)]
    mean = describe_mean(folds)
    assert mean["accuracy"] == pytest.approx(0.95)
    assert mean["accuracy_sd"] == pytest.approx(statistics.stdev([0.9, 0.95, 1.0]))
    assert mean["loss"] == pytest.approx(0.05)
    assert describe_mean(folds[:1]) == {
        "accuracy": 0.9,
        "accuracy_sd": None,
        "loss": pytest.approx(0.1),
        "loss_sd": None,
    }


def test_pooled_scores_do_not_depend_on_the_order_of_the_folds():
    dataset = make_phantom(images_per_class=10)
    first, second = make_predictions(range(0, 60, 2)), make_predictions(range(1, 60, 2), seed=1)
    assert score_part(concatenate_predictions([first, second]), dataset, "test") == score_part(
        concatenate_predictions([second, first]), dataset, "test"
    )


def test_an_image_predicted_twice_is_one_image_to_the_interval():
    dataset = make_phantom(images_per_class=10)
    once = make_predictions(range(60))
    block = score_part(concatenate_predictions([once, once]), dataset, "test")
    single = score_part(once, dataset, "test")
    assert block["n"] == 120
    assert block["errors"] == 2 * single["errors"]
    assert block["accuracy_ci95"] == single["accuracy_ci95"]
    assert block["accuracy_ci95"] == list(wilson_interval(60 - single["errors"], 60))
    assert block["bootstrap"]["units"] == 60
    ends = [pytest.approx(value, rel=1e-6) for value in single["per_class"]["Hand"]["sensitivity_ci95"]]
    assert block["per_class"]["Hand"]["sensitivity_ci95"] == ends


def test_groups_of_the_data_set_are_the_units_of_its_intervals():
    dataset = make_phantom(images_per_class=40)
    predictions = make_predictions(range(240))
    alone = score_part(predictions, dataset, "test")
    groups = np.array([f"patient {index // 2}" for index in range(240)])
    grouped = score_part(predictions, dataset._replace(groups=groups), "test")
    assert (alone["bootstrap"]["unit"], alone["bootstrap"]["units"]) == ("image", 240)
    assert (grouped["bootstrap"]["unit"], grouped["bootstrap"]["units"]) == ("group", 120)
    assert alone["accuracy_ci95_grouped"] is None
    assert grouped["accuracy_ci95_grouped"][0] < grouped["accuracy"] < grouped["accuracy_ci95_grouped"][1]
    assert grouped["loss_ci95"] != alone["loss_ci95"]


@pytest.mark.parametrize("part", ["train", "val"])
def test_what_was_learned_from_or_chosen_by_has_no_bootstrap(part):
    dataset = make_phantom(images_per_class=40)
    block = score_part(make_predictions(range(240)), dataset, part)
    assert (block["loss_ci95"], block["bootstrap"]["withheld"]) == (None, "not asked for")
