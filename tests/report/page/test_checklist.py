"""The checklist: answered from the run alone, and never for the author."""

import copy

from medjax.report.page.checklist import AUTHOR, fill_checklist
from tests.pages import METRICS, RUN, grouped_scores


def answers(run=RUN, metrics=METRICS):
    return {item.topic: item.answer for item in fill_checklist(run, metrics)}


def test_what_only_the_author_knows_is_blank():
    blank = {topic for topic, answer in answers().items() if answer == AUTHOR}
    assert {"Consent and ethics", "Reference standard", "Fairness"} <= blank
    assert not blank & {"Sample", "Model", "Measures"}


def test_it_claims_calibration_only_where_it_was_tested():
    assert ", AUC, calibration and more; " in answers()["Measures"]
    labels = {**METRICS, "test": {**METRICS["test"], "micro": {}}}
    assert ", AUC and more; " in answers(metrics=labels)["Measures"]


def test_it_does_not_claim_a_comparison_that_was_not_made():
    assert answers()["Comparison"] == "Not measured in this run (--no-baselines)."


def test_a_comparison_that_a_diverged_fold_withholds_is_told():
    run = copy.deepcopy(RUN)
    run["config"]["baselines"] = True
    assert answers(run)["Comparison"] == "Withheld: a fold diverged."


def test_network_optimizer_and_averaging_are_those_of_the_run():
    run = copy.deepcopy(RUN)
    assert answers(run)["Model"] == "Network “cnn”, 225,034 parameters."
    assert answers(run)["Training"] == (
        "Preset “report”, seed 7, optimizer adam; within the run nothing was chosen by validation scores."
    )
    run["model"] |= {"name": "my_models:MyResNet", "kind": "NNX module"}
    run["config"] |= {
        "optimizer": "sgd",
        "loss_proportional_sampling": 4,
        "test_time_augmentation": 16,
        "keep": "best",
    }
    told = answers(run)
    assert told["Model"].startswith(
        "Network “my_models:MyResNet” (NNX module), 225,034 parameters; predictions are"
    )
    assert "16 augmentations of the image (test-time augmentation)" in told["Model"]
    assert told["Training"] == (
        "Preset “report”, seed 7, optimizer sgd, loss-proportional sampling; within the run the validation images "
        "decided which epoch's parameters are scored."
    )


def test_groups_and_balanced_classes_are_told():
    run = copy.deepcopy(RUN)
    run["data"]["groups"] = {"n": 300, "sources": ["user"]}
    run["config"]["class_balance"] = "weights"
    told = answers(run)
    assert told["Partitions"].endswith("Whole groups were kept together: 300 groups.")
    assert told["Class imbalance"] == "Rare classes weigh more in the loss."


def test_measures_say_what_is_independent():
    assert answers()["Measures"].endswith("a bootstrap for the others, with images as independent.")
    grouped = {**METRICS, "test": grouped_scores(METRICS["test"])}
    assert answers(metrics=grouped)["Measures"].endswith("with groups as independent.")


def test_a_withheld_score_is_told():
    assert answers(metrics={**METRICS, "test": None})["Measures"] == "Withheld: a fold diverged."
