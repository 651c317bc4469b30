"""The checklist: answered from the run alone, and never for the author."""

import copy

from medjax.report.page.checklist import AUTHOR, fill_checklist
from tests.pages import METRICS, RUN


def answers(run=RUN, metrics=METRICS):
    return {item.topic: item.answer for item in fill_checklist(run, metrics)}


def test_what_only_the_author_knows_is_blank():
    blank = {topic for topic, answer in answers().items() if answer == AUTHOR}
    assert {"Consent and ethics", "Reference standard", "Fairness"} <= blank
    assert not blank & {"Sample", "Model", "Measures"}


def test_it_does_not_claim_a_comparison_that_was_not_made():
    assert answers()["Comparison"] == "Not measured in this run (--no-baselines)."


def test_groups_and_balanced_classes_are_told():
    run = copy.deepcopy(RUN)
    run["data"]["groups"] = {"n": 300}
    run["config"]["class_balance"] = "weights"
    told = answers(run)
    assert told["Partitions"].endswith("Whole groups stay together: 300 groups.")
    assert told["Class imbalance"] == "Rare classes count more in the loss."


def test_a_withheld_score_is_told():
    assert answers(metrics={**METRICS, "test": None})["Measures"] == "Withheld: a fold diverged."
