"""The report page of a cross-validation: every number, and plainly what was not run, diverged or withheld."""

import copy
import re

import pytest

from medjax.errors import RefusedError
from medjax.report.page.page import render_page
from tests.pages import (
    CLASSES,
    FIGURES,
    HOSTILE,
    METRICS,
    RUN,
    SCORES,
    Page,
    grouped_scores,
    rename_scores,
    spaced,
    write_run,
)

# n, errors, accuracy, loss of each fold
FOLD_SCORES = [(720, 2, 718 / 720, 0.0123), (720, 0, 1.0, 3.2e-6), (721, 5, 716 / 721, 0.0456)]
POOLED = {
    **SCORES,
    "n": 2161,
    "errors": 7,
    "accuracy": 2154 / 2161,
    "accuracy_ci95": [0.99333, 0.99843],
    "loss": 0.0198765,
    "confusion_matrix": [[719, 1, 0], [0, 718, 2], [3, 1, 717]],
}
MEAN = {"accuracy": 0.996764, "accuracy_sd": 0.003481, "loss": 0.019301, "loss_sd": 0.0236}
TEST = {
    **SCORES,
    "n": 144,
    "errors": 3,
    "accuracy": 141 / 144,
    "accuracy_ci95": [0.9406, 0.9929],
    "loss": 0.111,
}
HEADER = "fold,epoch,train_loss,train_accuracy,val_loss,val_accuracy,learning_rate,seconds\n"


def make_history(folds=3, *, val="nan") -> str:
    rows = [
        f"{fold},{epoch},0.{9 - epoch}{fold},0.7{fold},{val},{val},0.001,1"
        for epoch in range(2)
        for fold in range(folds)
    ]
    return HEADER + "\n".join(rows) + "\n"


@pytest.fixture
def run() -> dict:
    run = copy.deepcopy(RUN)
    training = run["config"]
    run["job"] = "crossval"
    run["config"] = {"folds": 3, "repeats": 1, "only_fold": None, "fold_strategy": "auto", "keep_test": False}
    run["config"]["training"] = training
    run["data"] |= {"n": 2161, "counts": {"images": dict(zip(CLASSES, (720, 720, 721), strict=True))}}
    run["data"]["parts"] = "3 folds, stratified by class"
    return run


@pytest.fixture
def metrics() -> dict:
    names = ("n", "errors", "accuracy", "loss")
    common = {"repeat": 0, "epochs": 2, "best_epoch": None, "diverged": False}
    folds = [
        {"fold": fold, **common, **dict(zip(names, scores, strict=True))}
        for fold, scores in enumerate(FOLD_SCORES)
    ]
    return copy.deepcopy(
        {"folds": folds, "mean": MEAN, "pooled": POOLED, "baselines": None, "seconds": METRICS["seconds"]}
    )


def write(run_dir, run, metrics, *, history=None, figures=FIGURES):
    write_run(run_dir, run, metrics, figures)
    (run_dir / "history.csv").write_text(make_history() if history is None else history)
    return run_dir


def diverge(run, metrics, *folds) -> None:
    run["status"] = "diverged"
    metrics.update(mean=None, pooled=None)
    for fold in folds:
        metrics["folds"][fold].update(diverged=True, n=None, errors=None, accuracy=None, loss=None)


def test_page_is_one_document_with_a_contents_list_that_leads_somewhere(tmp_path, run, metrics) -> None:
    html = render_page(write(tmp_path, run, metrics))
    page = Page(html)
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    targets = [f"#{id}" for id in page.values("section", "id")]
    assert len(targets) == 19
    assert page.values("a", "href") == targets
    assert not re.search(r"https?:|//[a-z]|<script|@import|url\(|<iframe|<object", html, re.IGNORECASE)
    assert len(page.values("img", "src")) == len(FIGURES)
    assert "Cross-validation report, preset “report”, 22 November 2026, 09:30 UTC" in page.text
    assert "diverged" not in page.text
    assert "not finished" not in page.text


def test_summary_can_be_read_aloud(tmp_path, run, metrics) -> None:
    write(tmp_path, run, metrics)
    assert (
        "In 3 folds, each of 2,161 images was scored once, by a model that was not trained on it. "
        "Together the models made 7 errors: an accuracy of 99.68 %, with a 95 % Wilson interval of 99.33 to 99.84 %. "
        "The model was not compared with baselines, so nothing here shows that it is needed. "
        "It is not known whether images of one patient lie in several parts, so the score may be too optimistic for "
        "new patients. "
        "The mean cross-entropy loss is 0.0199 nats; 0 is perfect, and a uniform guess among 3 classes scores "
        "1.10. Over the folds, accuracy was 99.68 ± 0.35 % and loss 0.0193 ± 0.0236 (mean ± standard deviation). "
        "Each model is the network “cnn” with 225,034 parameters, trained for 2 epochs on the other folds of "
        "“phantom” (28 × 28 pixels, gray)."
    ) in spaced(tmp_path)


def test_every_number_of_the_metrics_is_shown(tmp_path, run, metrics) -> None:
    write(tmp_path, run, metrics)
    text = spaced(tmp_path)
    assert "All folds, pooled 2,161 7 99.68 % (99.33 to 99.84) 0.0199" in text
    assert "0 720 2 99.72 % 0.0123 2 1 720 0 100.00 % 3.20 × 10⁻⁶ 2 2 721 5 99.31 % 0.0456 2 Mean" in text
    assert "Mean ± sd 99.68 ± 0.35 % 0.0193 ± 0.0236" in text
    assert "AbdomenCT 719 1 0 CXR 0 718 2 Hand 3 1 717" in text
    assert "AbdomenCT 180 0.9944 1.0000 1.0000 0.9972 > 0.9999" in text
    assert "Hand 179 0.0000 < 0.0001 undefined undefined undefined" in text
    assert "0 1 0.900 0.7000 0.001 1.00 s 0 2 0.800 0.7000 0.001 1.00 s 1 1 0.910 0.7100 0.001 1.00 s" in text
    assert "undefined undefined 0.001" not in text


def test_a_spread_over_folds_is_not_called_an_interval(tmp_path, run, metrics) -> None:
    text = Page(render_page(write(tmp_path, run, metrics))).text
    assert "the spread between folds that share training images" in text
    assert "It is no confidence interval, and the errors of the folds are not independent." in text


def test_run_is_described(tmp_path, run, metrics) -> None:
    run["data"]["groups"] = {"path": "/home/someone/secret/groups.csv", "n": 300, "sources": ["user"]}
    html = render_page(write(tmp_path, run, metrics))
    text = spaced(tmp_path)
    for words in (
        "Split: 3 folds, stratified by class. Whole groups were kept together: 300 groups.",
        "The split keeps the images of a group together.",
        "AbdomenCT 720 CXR 720 Hand 721 All classes 2,161",
        "Cross-validation folds 3 repeats 1 only fold none fold strategy auto keep test no",
        "learning rate 0.001",
        "rotation 10 degrees either way",
        "seed 7",
    ):
        assert words.lower() in text.lower()
    assert "patience" not in text
    assert "factor" not in text
    assert "secret" not in html
    run["data"]["groups"] = None
    assert "The split is at image level." in Page(render_page(write(tmp_path, run, metrics))).text


def test_what_was_chosen_by_looking_is_said(tmp_path, run, metrics) -> None:
    text = Page(render_page(write(tmp_path, run, metrics))).text
    assert "No validation part was held out: nothing was decided by validation scores." in text
    assert "inner validation part" not in text
    run["config"]["training"] |= {"early_stopping": True, "reduce_on_plateau": True, "keep": "best"}
    metrics["folds"][1] |= {"epochs": 7, "best_epoch": 3}
    write(tmp_path, run, metrics, history=make_history(val="0.25"))
    text = spaced(tmp_path)
    assert (
        "An inner validation part of the training folds decided which epoch's parameters are scored, when training "
        "stopped and when the learning rate was reduced; the fold that is scored decided nothing."
    ) in text
    assert "No validation part" not in text
    assert "trained for 2 to 7 epochs on the other folds" in text
    assert "0 720 2 99.72 % 0.0123 2 2 1 720 0 100.00 % 3.20 × 10⁻⁶ 7 4 2 721" in text
    assert "0 1 0.900 0.7000 0.250 0.2500 0.001 1.00 s" in text
    assert "stop patience 5 epochs" in text
    assert "factor 0.1" in text


def test_repeats_add_predictions_but_no_images(tmp_path, run, metrics) -> None:
    run["config"]["repeats"] = 2
    again = [{**fold, "fold": fold["fold"] + 3, "repeat": 1} for fold in metrics["folds"]]
    metrics["folds"] += again
    metrics["pooled"] |= {"n": 4322, "errors": 14}
    write(tmp_path, run, metrics, history=make_history(6))
    text = spaced(tmp_path)
    assert (
        "In 2 repeats of 3 folds, each of 2,161 images was scored 2 times, each time by a model that was not "
        "trained on it. Together the models made 14 errors"
    ) in text
    assert (
        "(computed for the 2,161 different images, since scoring an image again adds no information)" in text
    )
    assert "2 0 721 5 99.31 % 0.0456 2 3 1 720 2 99.72 % 0.0123 2" in text
    assert "All folds, pooled 4,322 14" in text
    assert "misclassified in several repeats appears once for each" in text
    assert "Pooled predictions: rows are the true class" in text


@pytest.mark.parametrize(("folds", "words"), [((1,), "Fold 1 diverged"), ((0, 2), "Folds 0 and 2 diverged")])
def test_a_fold_that_diverged_withholds_the_pooled_score(tmp_path, run, metrics, folds, words) -> None:
    diverge(run, metrics, *folds)
    write(tmp_path, run, metrics, figures=("curves", "samples", "augmented"))
    page, text = Page(render_page(tmp_path)), spaced(tmp_path)
    assert f"{words}; the pooled score is withheld." in text
    assert "so the pooled score and the mean over folds are withheld" in text
    for fold, (_, _, _, loss) in enumerate(FOLD_SCORES):
        is_shown = (f" {loss}" if loss > 0.001 else "3.20 × 10⁻⁶") in text
        assert is_shown == (fold not in folds)
        assert (f"{fold} diverged, no score 2" in text) == (fold in folds)
    assert "99.68" not in text
    assert "Wilson" not in text
    assert "not finished" not in text
    assert not {"confusion", "errors", "classes"} & set(page.values("section", "id"))
    assert page.values("a", "href") == [f"#{id}" for id in page.values("section", "id")]


def test_a_page_where_every_fold_diverged_is_made(tmp_path, run, metrics) -> None:
    diverge(run, metrics, 0, 1, 2)
    metrics["folds"][0]["epochs"] = None
    text = Page(render_page(write(tmp_path, run, metrics))).text
    assert "Folds 0, 1 and 2 diverged" in text


def test_a_single_fold_says_that_it_is_one(tmp_path, run, metrics) -> None:
    run["config"]["only_fold"] = 2
    metrics["folds"] = metrics["folds"][2:]
    metrics["pooled"] |= {"n": 721, "errors": 5}
    metrics["mean"] |= {"accuracy_sd": None, "loss_sd": None}
    history = HEADER + "2,0,0.9,0.7,nan,nan,0.001,1\n"
    write(tmp_path, run, metrics, history=history)
    text = spaced(tmp_path)
    assert "Only fold 2 of 3 was run; folds count from 0." in text
    assert "On the 721 images of fold 2, which it was not trained on, the model made 5 errors" in text
    assert "Fold 2 alone 721 5" in text
    assert "ooled" not in text
    assert "±" not in text
    run["config"].update(only_fold=4, repeats=2)
    write(tmp_path, run, metrics, history=history)
    assert "Only fold 4 of 6 was run (3 folds in each of 2 repeats)" in spaced(tmp_path)
    run["config"].update(only_fold=2, repeats=1)
    diverge(run, metrics, 0)
    write(tmp_path, run, metrics, history=history)
    assert "Fold 2 diverged" in spaced(tmp_path)


def test_official_test_images_that_were_kept_have_their_own_row(tmp_path, run, metrics) -> None:
    run["config"]["keep_test"] = True
    metrics["test"] = copy.deepcopy(TEST)
    write(tmp_path, run, metrics)
    text = spaced(tmp_path)
    assert "Official test images 144 3 97.92 % (94.06 to 99.29) 0.111" in text
    assert "by the mean of the probabilities of the 3 models" in text
    assert "Counts of the official test images" in text
    diverge(run, metrics, 1)
    write(tmp_path, run, metrics)
    assert "Official test images 144 3" in spaced(tmp_path)


def test_groups_lead_and_unequal_classes_are_told(tmp_path, run, metrics) -> None:
    run["config"]["repeats"] = 2
    metrics["pooled"] = grouped_scores(metrics["pooled"])
    metrics["pooled"]["largest_class"] = {"name": "CXR", "share": 0.7, "gain_ci95": [-0.2, -0.1]}
    write(tmp_path, run, metrics)
    text = spaced(tmp_path)
    assert "Balanced accuracy99.62 % 70.00 % of the images are of CXR Pooled accuracy99.68 %" in text
    assert "95 % interval 90.00 to 99.90 %, over 40 groups" in text
    assert "which takes the 40 groups, not the images, as independent. The classes are unequal" in text
    assert "The interval takes the 40 groups as independent." in text
    assert "Warning: accuracy is below 70.00 %" in text
    assert "99.33" not in text


def test_no_error_is_said(tmp_path, run, metrics) -> None:
    metrics["pooled"].update(errors=0, accuracy=1.0, accuracy_ci95=[0.9982, 1.0])
    text = Page(render_page(write(tmp_path, run, metrics))).text
    assert "Together the models made no error: an accuracy of 100.00 %" in text
    assert "None of the 2,161 pooled images was misclassified." in text


def test_names_of_strangers_stay_text(tmp_path, run, metrics) -> None:
    new = dict(zip(CLASSES, HOSTILE, strict=True))
    run["class_names"] = HOSTILE
    run["data"]["counts"]["images"] = {new[old]: n for old, n in run["data"]["counts"]["images"].items()}
    rename_scores(metrics["pooled"], new)
    run["data"]["name"] = run["strategy"] = run["data"]["parts"] = HOSTILE[1]
    run["config"]["fold_strategy"] = run["config"]["training"]["schedule"] = HOSTILE[0]
    page = Page(render_page(write(tmp_path, run, metrics)))
    assert "script" not in {name for name, _ in page.tags}
    assert all(src.startswith("data:") for src in page.values("img", "src"))
    assert not any(attribute.startswith("on") for _, attributes in page.tags for attribute in attributes)
    assert all(name in page.text for name in HOSTILE)


def test_a_job_of_a_later_version_is_refused(tmp_path, run, metrics) -> None:
    run["job"] = "sweep"
    with pytest.raises(RefusedError, match="sweep"):
        render_page(write(tmp_path, run, metrics))
