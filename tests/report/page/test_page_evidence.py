"""The page's part on how far the scores can be trusted."""

import copy

import pytest

from tests.pages import FIGURES, METRICS, RUN, rendered, spaced, write_run

SIMPLE = {
    "n": 540,
    "errors": 40,
    "accuracy": 500 / 540,
    "ci95": [0.9, 0.95],
    "ci95_grouped": None,
    "auc": 0.98,
}
BASELINES = {
    "part": "test",
    "image_shape": [14, 14, 1],
    "models": {
        "majority": {**SIMPLE, "errors": 359, "accuracy": 181 / 540, "ci95": [0.3, 0.38], "auc": None},
        "nearest_neighbour": SIMPLE,
    },
    "best": "nearest_neighbour",
    "gain_over_best_baseline": {
        "n": 540,
        "difference": 38 / 540,
        "ci95": [0.05, 0.09],
        "unit": "image",
        "only_model_right": 39,
        "only_baseline_right": 1,
    },
}
MEASURED = {
    **METRICS["test"],
    "balanced_accuracy": 0.9962,
    "balanced_accuracy_ci95": [0.99, 1.0],
    "macro_f1": 0.9961,
    "macro_f1_ci95": None,
    "auc": 0.99951,
    "auc_ci95": [0.9991, 0.9998],
    "average_precision": None,
    "brier": 0.0123,
    "brier_ci95": [0.01, 0.02],
    "ece": 0.0211,
    "ece_if_calibrated": [0.004, 0.012],
    "ece_binning": {"bins": 15, "kind": "equal width on the top probability"},
    "accuracy_ci95_grouped": None,
    "bootstrap": {"resamples": 1000, "seed": 0, "unit": "image", "units": 540, "withheld": None},
}
LEAKAGE = {
    "level": "image",
    "statement": "Image level; no patient identifiers: images of one patient may lie in several parts.",
    "threshold": None,
    "test": {"n": 540, "exact": 6, "near": None, "by_class": {"CXR": {"n": 181, "exact": 6, "near": None}}},
}
ALL = (*FIGURES, "ranking", "reliability", "unsure")


@pytest.fixture
def run() -> dict:
    return copy.deepcopy({**RUN, "data": {**RUN["data"], "leakage": LEAKAGE}})


@pytest.fixture
def metrics() -> dict:
    return copy.deepcopy({**METRICS, "test": MEASURED, "baselines": BASELINES})


def test_measures_stand_with_their_intervals_and_what_has_none_says_so(tmp_path, run, metrics) -> None:
    write_run(tmp_path, run, metrics)
    text = spaced(tmp_path)
    assert (
        "Balanced accuracy mean sensitivity of the classes: rare ones count alike 0.9962 0.9900 to 1.0000"
        in text
    )
    assert "precision and recall 0.9961 – AUC" in text
    assert "0.5 is chance 0.9995 0.9991 to 0.9998" in text
    assert "under precision and recall undefined –" in text
    assert "0 is perfect 0.0123 0.0100 to 0.0200" in text
    assert "percentile intervals of 1,000 bootstrap resamples of 540 images, seed 0" in text


def test_a_bootstrap_that_is_withheld_is_explained(tmp_path, run, metrics) -> None:
    metrics["test"]["bootstrap"]["withheld"] = "2 errors are too few"
    assert "No bootstrap is given: 2 errors are too few." in rendered(tmp_path, run, metrics).text


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ([0.05, 0.09], "The network beats the best simple model, the most similar training image"),
        (
            [-0.01, 0.09],
            "It is not shown that the network beats a simple model, the most similar training image",
        ),
        ([-0.09, -0.01], "The network does worse than a simple model, the most similar training image"),
    ],
)
def test_the_page_says_plainly_whether_a_simple_model_would_do(
    tmp_path, run, metrics, interval, words
) -> None:
    metrics["baselines"]["gain_over_best_baseline"]["ci95"] = interval
    text = rendered(tmp_path, run, metrics).text
    assert text.count(words) == 2  # in the summary and beside the table
    assert "+7.04 percentage points of accuracy (95 % interval" in text


def test_simple_models_stand_beside_this_one(tmp_path, run, metrics) -> None:
    write_run(tmp_path, run, metrics)
    text = spaced(tmp_path)
    assert "this model 2 0.9963 (0.9866 to 0.9990) 0.9995" in text
    assert "the largest class, always 359 0.3352 (0.3000 to 0.3800) undefined" in text
    assert "best of them 40 0.9259 (0.9000 to 0.9500) 0.9800" in text


def test_leakage_is_told_and_found_in_the_summary(tmp_path, run, metrics) -> None:
    text = rendered(tmp_path, run, metrics).text
    assert "Of 540 images that are scored, 6 (1.11 %) are identical, pixel by pixel" in text
    assert (
        "The number is too good for new patients: 6 of the images that were scored are copies of images"
        in text
    )
    assert "Near-duplicates were not looked for in this run" in text
    assert "Image level; no patient identifiers" in text
    run["data"]["leakage"]["test"] |= {"exact": 0}
    assert "Nothing that was looked for leaks." in rendered(tmp_path, run, metrics).text


def test_groups_of_copies_alone_are_not_taken_for_patients(tmp_path, run, metrics) -> None:
    run["data"]["leakage"]["test"] |= {"exact": 0}
    run["data"]["groups"] = {"n": 300, "sources": ["exact"]}
    text = rendered(tmp_path, run, metrics).text
    assert "Images of one group of copies were kept together: 300 groups." in text
    assert "Whether images of one patient lie on both sides is not known" in text
    run["data"]["groups"]["sources"] = ["user", "exact"]
    assert "so the number holds for new groups of the same source" in rendered(tmp_path, run, metrics).text


def test_near_copies_are_told_where_they_were_looked_for(tmp_path, run, metrics) -> None:
    counts = {"n": 540, "exact": 6, "near": 60}
    run["data"]["leakage"] |= {"threshold": 2.0, "test": {**counts, "by_class": {"CXR": counts}}}
    text = rendered(tmp_path, run, metrics).text
    assert "60 (11.11 %) are that or differ from one of their class by at most 2 grey levels" in text
    assert "60 of the images that were scored are copies or near-copies" in text


@pytest.mark.parametrize(
    ("ece", "words"), [(0.0211, "further off than chance"), (0.01, "nothing speaks against")]
)
def test_reliability_is_judged_against_chance(tmp_path, run, metrics, ece, words) -> None:
    metrics["test"]["ece"] = ece
    text = rendered(tmp_path, run, metrics, figures=ALL).text
    assert words in text
    assert "15 bins of equal width on the top probability" in text


def test_the_checklist_is_answered_from_the_run_and_blank_where_only_the_author_knows(
    tmp_path, run, metrics
) -> None:
    write_run(tmp_path, run, metrics, ALL)
    text = spaced(tmp_path)
    assert "Who approved the use of the images? to be answered by the author" in text
    assert "+7.04 percentage points of accuracy over the best of four (95 % interval +5.00 to +9.00)" in text
    assert "3,600 images: AbdomenCT 1,201, CXR 1,201, Hand 1,201" in text


def test_with_everything_there_every_section_is_listed(tmp_path, run, metrics) -> None:
    page = rendered(tmp_path, run, metrics, figures=ALL)
    targets = {f"#{id}" for id in page.values("section", "id")}
    assert len(targets) == 19
    assert set(page.values("a", "href")) == targets
