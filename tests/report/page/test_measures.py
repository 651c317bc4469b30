"""The table of headline metrics."""

from medjax.report.page.measures import MEASURES, describe_measures
from tests.pages import SCORES, grouped_scores


def test_a_block_is_shown_in_the_order_of_the_page():
    rows = describe_measures({**SCORES, "accuracy": 0.995, "accuracy_ci95": [0.96, 0.9991]})
    assert [row.title for row in rows] == [measure.title for measure in MEASURES]
    shown = {row.title: (row.value, row.interval) for row in rows}
    assert shown["Accuracy"] == ("0.9950", "0.9600 to 0.9991")
    assert shown["Loss"] == ("0.0123", "")


def test_undefined_is_not_zero():
    rows = {row.title: row for row in describe_measures({**SCORES, "auc": None, "auc_ci95": None})}
    assert (rows["AUC"].value, rows["AUC"].interval) == ("undefined", "")


def test_the_interval_of_the_accuracy_is_the_one_that_leads():
    assert describe_measures(grouped_scores(SCORES))[0].interval == "0.9000 to 0.9990"
    assert describe_measures(grouped_scores(SCORES, interval=None))[0].interval == ""


def test_no_measure_stands_twice():
    assert len({measure.key for measure in MEASURES}) == len(MEASURES)
