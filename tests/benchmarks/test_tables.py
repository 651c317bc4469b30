"""From the JSON of a benchmark to tables: nothing gets lost, and what belongs together stands together."""

from benchmarks.tables import as_text, pivot_cases, tables_of

THROUGHPUT = {
    "benchmark": "throughput",
    "b32": 15_000,
    "b32_aug": 9_000,
    "fraction_of_limit": {"b32": 0.6, "b32_aug": 0.36},
    "matmul_gflops": 376,
    "keras_b32": 5_000,
    "keras_b32_aug": 4_000,
    "ratio_b32": 3.0,
    "ratio_b32_aug": 2.25,
    "turns": 7,
}


def test_cases_are_rows_and_systems_are_columns():
    first, second = tables_of(THROUGHPUT)
    assert first.columns[:2] == ["", "medjax"]
    assert first.rows[1][:4] == ["batch 32, augmented", "9,000", "4,000", "2.25"]
    assert [row[1] for row in second.rows] == ["376"]


def test_the_longest_case_takes_a_figure():
    pivot = pivot_cases({"aug": 1, "b32_aug": 2, "keras_b32_aug": 3, "keras_aug": 4})
    assert pivot.columns["keras"] == {"b32_aug": 3, "aug": 4}


def test_figures_without_cases_are_a_list():
    (table,) = tables_of({"cold_seconds": 2.0, "opencv_seconds": 2.2, "turns": 3})
    assert table.rows == [["cold seconds", "2"], ["OpenCV seconds", "2.2"]]


def test_dictionaries_are_tables_however_deep_they_lie():
    quality, errors = tables_of({"quality": {"errors": {"medjax": 24, "keras": 26}, "of": 8844}})
    assert (quality.title, quality.rows) == ("quality", [["of", "8,844"]])
    assert (errors.title, errors.rows) == ("errors", [["medjax", "24"], ["Keras", "26"]])


def test_a_deviation_stands_behind_its_figure():
    (table,) = tables_of(
        {"errors_mean": 2.5, "errors_sd": 0.71, "n_exponent": 0.98, "n_exponent_sd": 0.01, "b_sd": 3}
    )
    assert [row[1] for row in table.rows] == ["2.5 ± 0.71", "0.98 ± 0.01", "3"]


def test_rows_become_tables_of_their_own_wherever_they_lie():
    rows = [{"folds": 2, "seconds": 0.27}, {"folds": 5, "seconds": None}]
    (flat,) = tables_of({"rows": rows})
    (nested,) = tables_of({"tables": {"folds": rows}})
    assert flat.rows == nested.rows == [["2", "0.27"], ["5", "–"]]
    assert nested.title == "folds"


def test_numbers_keep_the_digits_that_count():
    values = [None, True, 58_954, 11_791.4, 0.00123456, 2.0, -0.06, "vmap"]
    assert [as_text(value) for value in values] == [
        "–",
        "True",
        "58,954",
        "11,791",
        "0.00123",
        "2",
        "−0.06",
        "vmap",
    ]
