"""The page's part on how far the scores can be trusted."""

import copy

import pytest

from tests.pages import FIGURES, LEAKAGE, METRICS, RUN, grouped_scores, rendered, spaced, write_run

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
LEAKED = {"n": 540, "exact": 6, "near": 6, "by_class": {"CXR": {"n": 181, "exact": 6, "near": 6}}}
ALL = (*FIGURES, "ranking", "reliability", "unsure")


@pytest.fixture
def run() -> dict:
    return copy.deepcopy({**RUN, "data": {**RUN["data"], "leakage": {**LEAKAGE, "test": LEAKED}}})


@pytest.fixture
def metrics() -> dict:
    return copy.deepcopy({**METRICS, "baselines": BASELINES})


def test_measures_stand_with_their_intervals_and_what_has_none_says_so(tmp_path, run, metrics) -> None:
    write_run(tmp_path, run, metrics)
    text = spaced(tmp_path)
    assert (
        "Balanced accuracy mean sensitivity over the classes: a rare class counts as much as a common one 0.9962 0.9900 "
        "to 1.0000"
    ) in text
    assert "precision and recall 0.9961 – AUC" in text
    assert "0.5 is chance 0.9995 0.9991 to 0.9998" in text
    assert "under the precision-recall curve undefined –" in text
    assert "0 is perfect 0.0123 0.0100 to 0.0200" in text
    assert "percentile intervals of 1,000 bootstrap resamples of 540 images, seed 0" in text


def test_a_bootstrap_that_is_withheld_is_explained(tmp_path, run, metrics) -> None:
    metrics["test"]["bootstrap"]["withheld"] = "2 errors are too few"
    assert "There is no bootstrap: 2 errors are too few." in rendered(tmp_path, run, metrics).text


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ([0.05, 0.09], "The model beats the best baseline (nearest neighbour among the training images)"),
        ([-0.01, 0.09], "The model is not shown to beat the best baseline (nearest neighbour"),
        ([-0.09, -0.01], "The model does worse than the best baseline (nearest neighbour"),
        (None, "a single group allows no interval"),
    ],
)
def test_the_page_says_plainly_whether_a_baseline_would_do(tmp_path, run, metrics, interval, words) -> None:
    metrics["baselines"]["gain_over_best_baseline"]["ci95"] = interval
    text = rendered(tmp_path, run, metrics).text
    assert text.count(words) == 2  # in the summary and beside the table
    assert "+7.04 percentage points of accuracy" in text


def test_baselines_stand_beside_this_model(tmp_path, run, metrics) -> None:
    write_run(tmp_path, run, metrics)
    text = spaced(tmp_path)
    assert "this model 2 0.9963 (0.9866 to 0.9990) 0.9995" in text
    assert "majority class 359 0.3352 (0.3000 to 0.3800) undefined" in text
    assert "best baseline 40 0.9259 (0.9000 to 0.9500) 0.9800" in text


def test_leakage_is_told_and_found_in_the_summary(tmp_path, run, metrics) -> None:
    text = rendered(tmp_path, run, metrics).text
    assert "Of 540 scored images, 6 (1.11 %) are identical, pixel by pixel, to a training image" in text
    assert (
        "The score is too optimistic for new patients: 6 of the scored images are copies or near-copies of training"
        in text
    )
    assert "Image level; no patient identifiers" in text
    run["data"]["leakage"]["test"] |= {"exact": 0, "near": 0}
    text = rendered(tmp_path, run, metrics).text
    assert "No leakage of these kinds was found." in text
    assert "Duplicates were not grouped, to match the published protocol of this preset" in text
    run["config"]["data"]["group_duplicates"] = "exact"
    assert "There were no duplicates to keep together." in rendered(tmp_path, run, metrics).text


def test_groups_of_copies_alone_are_not_taken_for_patients(tmp_path, run, metrics) -> None:
    run["data"]["leakage"]["test"] |= {"exact": 0, "near": 0}
    run["data"]["groups"] = {"n": 300, "sources": ["exact"]}
    text = rendered(tmp_path, run, metrics).text
    assert "No patient groups were given; identical images were grouped: 300 groups." in text
    assert "It is not known whether images of one patient lie in several parts" in text
    run["data"]["groups"]["sources"] = ["user", "exact"]
    assert "so the score holds for new groups from the same source" in rendered(tmp_path, run, metrics).text


def test_near_copies_are_told(tmp_path, run, metrics) -> None:
    counts = {"n": 540, "exact": 6, "near": 60}
    run["data"]["leakage"] |= {"test": {**counts, "by_class": {"CXR": counts}}}
    text = rendered(tmp_path, run, metrics).text
    assert (
        "60 (11.11 %) are identical to one, or at most 2 gray levels away from one of the same class" in text
    )
    assert "60 of the scored images are copies or near-copies" in text


@pytest.mark.parametrize("ece", [0.0211, 0.01])
def test_calibration_is_judged_by_tests_and_never_certified(tmp_path, run, metrics, ece) -> None:
    metrics["test"]["ece"] = ece
    text = rendered(tmp_path, run, metrics, figures=ALL).text
    assert ("further off than chance explains" in text) == (ece > 0.012)
    assert ("found no fault, which does not show that there is none: with 540 images" in text) == (
        ece < 0.012
    )
    assert "nothing speaks against" not in text
    assert "15 bins of equal width on the top probability" in text
    assert "a perfectly calibrated model would show 0.00400 to 0.0120 by chance" in text


def test_the_tests_of_calibration_stand_in_a_table_and_class_weights_are_explained(
    tmp_path, run, metrics
) -> None:
    run["config"]["class_balance"] = "weights"
    metrics["test"]["calibration"]["in_the_large"] |= {"value": 0.149, "p_adjusted": 0.021}
    write_run(tmp_path, run, metrics, ALL)
    text = spaced(tmp_path)
    assert "The model is overconfident: its predictions have a mean probability of" in text
    assert "Rare classes weighed more in training (--class-balance weights)" in text
    assert "in percentage points +14.90 −0.73 to +0.31 0 0.021" in text
    assert "too extreme 0.91 0.31 to 1.51 1 –" in text


def test_groups_lead_every_interval(tmp_path, run, metrics) -> None:
    run["data"]["groups"] = {"n": 300, "sources": ["user"]}
    metrics["test"] = grouped_scores(metrics["test"])
    metrics["baselines"]["models"]["majority"]["ci95_grouped"] = [0.2, 0.5]
    write_run(tmp_path, run, metrics, ALL)
    text = spaced(tmp_path)
    assert "Test accuracy99.63 % 95 % interval 90.00 to 99.90 %, over 40 groups" in text
    assert (
        "with a 95 % interval of 90.00 to 99.90 %, which takes the 40 groups, not the images, as independent."
        in text
    )
    assert "Test 540 2 99.63 % (90.00 to 99.90) 0.0123" in text
    assert "is the true one 0.9963 0.9000 to 0.9990" in text
    assert "this model 2 0.9963 (0.9000 to 0.9990)" in text
    assert "majority class 359 0.3352 (0.2000 to 0.5000)" in text
    assert "best baseline 40 0.9259 0.9800" in text
    assert "AbdomenCT 180 0.9944 0.9000 to 0.9990" in text
    assert "98.66" not in text
    assert "0.9866" not in text
    assert "trust this one" not in text


def test_of_a_single_group_the_page_says_that_there_is_no_interval(tmp_path, run, metrics) -> None:
    metrics["test"] = grouped_scores(metrics["test"], interval=None, units=1)
    metrics["test"]["largest_class"]["gain_ci95"] = None
    metrics["test"]["calibration"]["detectable_gap"] = None
    for test in ("in_the_large", "slope", "spiegelhalter"):
        metrics["test"]["calibration"][test] |= {"ci95": None, "p": None, "p_adjusted": None}
    metrics["baselines"]["gain_over_best_baseline"]["ci95"] = None
    write_run(tmp_path, run, metrics, ALL)
    text = spaced(tmp_path)
    assert "Test accuracy99.63 % no interval: all images are of one group" in text
    assert "99.63 % over 3 classes, without an interval, because all of them are of one group." in text
    assert "Test 540 2 99.63 % 0.0123" in text
    assert "Calibration cannot be tested on these images" in text
    assert "the best of 2 baselines (no interval: all images are of one group)." in text


def test_unequal_classes_and_what_a_score_hides_are_told_first(tmp_path, run, metrics) -> None:
    text = rendered(tmp_path, run, metrics).text
    assert "Balanced accuracy99" not in text
    assert "Warning" not in text
    metrics["test"]["largest_class"] = {"name": "CXR", "share": 0.7, "gain_ci95": [-0.1, 0.1]}
    metrics["test"]["never_predicted"] = ["Hand"]
    text = rendered(tmp_path, run, metrics).text
    assert "Balanced accuracy99.62 % 70.00 % of the images are of CXR Test accuracy99.63 %" in text
    assert "judge by the balanced accuracy, 99.62 %" in text
    assert "Warning: Hand is never predicted: none of its 179 images is found." in text
    assert "Warning: accuracy is not shown to be above 70.00 %, that of always predicting CXR" in text


def test_how_to_name_patients_is_said_where_there_may_be_some(tmp_path, run, metrics) -> None:
    assert "--groups FILE" not in rendered(tmp_path, run, metrics).text
    run["data"]["is_synthetic"] = False
    run["data"]["leakage"]["test"] |= {"exact": 0, "near": 0}
    assert "--groups FILE says which images are of one patient" in rendered(tmp_path, run, metrics).text


def test_the_checklist_is_answered_from_the_run_and_blank_where_only_the_author_knows(
    tmp_path, run, metrics
) -> None:
    write_run(tmp_path, run, metrics, ALL)
    text = spaced(tmp_path)
    assert "Who approved the use of the images? to be answered by the author" in text
    assert (
        "+7.04 percentage points of accuracy compared with the best of 2 baselines (95 % interval +5.00 to +9.00)"
        in text
    )
    assert "3,600 images: AbdomenCT 1,201, CXR 1,201, Hand 1,201" in text


def test_with_everything_there_every_section_is_listed(tmp_path, run, metrics) -> None:
    page = rendered(tmp_path, run, metrics, figures=ALL)
    targets = {f"#{id}" for id in page.values("section", "id")}
    assert len(targets) == 19
    assert set(page.values("a", "href")) == targets
