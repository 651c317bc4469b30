"""One interval leads, classes that are unequal are said to be, and what a score hides is warned of."""

import copy

import pytest

from medjax.report.headline import (
    balance_sentence,
    interval_clause,
    interval_words,
    is_grouped,
    is_unequal,
    leading_interval,
    patients_note,
    score_warnings,
)
from tests.pages import RUN, SCORES, grouped_scores


@pytest.fixture
def block():
    return copy.deepcopy(SCORES)


def test_by_image_or_by_group_one_interval_leads(block):
    assert not is_grouped(block)
    assert leading_interval(block, "accuracy") == block["accuracy_ci95"]
    assert interval_words(block) == "95 % interval 98.66 to 99.90 %"
    assert interval_clause(block) == "with a 95 % Wilson interval of 98.66 to 99.90 %"
    grouped = grouped_scores(block)
    assert is_grouped(grouped)
    assert leading_interval(grouped, "accuracy") == [0.9, 0.999]
    assert leading_interval(grouped, "sensitivity", {"sensitivity_ci95_grouped": [0.1, 0.2]}) == [0.1, 0.2]
    assert interval_words(grouped) == "95 % interval 90.00 to 99.90 %, over 40 groups"
    assert interval_clause(grouped) == (
        "with a 95 % interval of 90.00 to 99.90 %, which takes the 40 groups, not the images, as independent"
    )


def test_of_a_single_group_no_interval_leads(block):
    single = grouped_scores(block, interval=None, units=1)
    assert interval_words(single) == "no interval: all images are of one group"
    assert interval_clause(single) == "without an interval, because all of them are of one group"


@pytest.mark.parametrize(
    ("share", "num_classes", "expected"),
    [(0.55, 2, False), (0.61, 2, True), (0.49, 3, False), (0.51, 3, True), (0.2, 6, False), (0.26, 6, True)],
)
def test_classes_are_unequal_if_one_has_far_more_than_an_even_share(block, share, num_classes, expected):
    block["per_class"] = {str(number): {"n": 90} for number in range(num_classes)}
    block["largest_class"] = {"name": "normal", "share": share, "gain_ci95": [0.1, 0.2]}
    assert is_unequal(block) == expected
    assert bool(balance_sentence(block)) == expected


def test_what_to_judge_by_is_said(block):
    block["largest_class"] = {"name": "normal", "share": 0.698, "gain_ci95": None}
    assert balance_sentence(block) == (
        "The classes are unequal (69.80 % of the images are of normal): judge by the balanced accuracy, 99.62 %, the mean "
        "sensitivity over the classes."
    )


def test_nothing_is_warned_of_where_there_is_nothing(block):
    assert score_warnings(block) == []


@pytest.mark.parametrize(
    ("missed", "words"),
    [
        (["CXR"], "CXR is never predicted: none of its 181 images is found"),
        (["CXR", "Hand"], "CXR and Hand are never predicted: none of their 360 images is found"),
    ],
)
def test_classes_that_are_never_predicted_are_named(block, missed, words):
    assert score_warnings({**block, "never_predicted": missed}) == [words]
    block["per_class"]["CXR"]["n"] = 1
    found = score_warnings({**block, "never_predicted": ["CXR"]})
    assert found == ["CXR is never predicted: its one image is not found"]


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        ([-0.1, 0.1], "accuracy is not shown to be above 33.52 %, that of always predicting CXR"),
        ([-0.3, -0.1], "accuracy is below 33.52 %, that of always predicting CXR"),
        (None, "accuracy is not shown to be above 33.52 %"),
    ],
)
def test_a_score_that_one_answer_would_reach_is_warned_of(block, gain, words):
    block["largest_class"]["gain_ci95"] = gain
    (found,) = score_warnings(block)
    assert found.startswith(words)
    assert found.endswith("(whose balanced accuracy is 33.33 %)")


def test_patients_are_asked_for_unless_they_are_known_or_there_are_none():
    data = {**RUN["data"], "is_synthetic": False}
    assert "train with --groups FILE" in patients_note({"data": data})
    copies = {"n": 3, "sources": ["exact"]}
    assert "--groups FILE" in patients_note({"data": {**data, "groups": copies}})
    assert patients_note({"data": {**data, "groups": {"n": 3, "sources": ["user", "exact"]}}}) is None
    assert patients_note(RUN) is None  # the phantom


def test_a_block_that_does_not_fit_together_is_shown_as_it_is(block):
    """metrics.json may be a stranger's: its fields are checked one by one."""
    block.update(per_class={}, never_predicted=["CXR"])
    block["largest_class"]["gain_ci95"] = None
    assert not is_unequal(block)
    assert len(score_warnings(block)) == 2
