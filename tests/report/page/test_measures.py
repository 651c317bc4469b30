"""The table of headline metrics."""

from medjax.report.page.measures import MEASURES, describe_measures


def test_a_block_shows_what_it_has_in_the_order_of_the_page():
    rows = describe_measures({"n": 200, "loss": 0.01234, "accuracy": 0.995, "accuracy_ci95": [0.96, 0.9991]})
    assert [(row.title, row.value, row.interval) for row in rows] == [
        ("Accuracy", "0.9950", "0.9600 to 0.9991"),
        ("Loss", "0.0123", ""),
    ]


def test_undefined_is_not_zero():
    [row] = describe_measures({"n": 200, "auc": None, "auc_ci95": None})
    assert (row.value, row.interval) == ("undefined", "")


def test_no_measure_stands_twice():
    assert len({measure.key for measure in MEASURES}) == len(MEASURES)
