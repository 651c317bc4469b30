"""A threshold chosen where nothing is scored, kept with the run, and applied again."""

import dataclasses

import numpy as np
import pytest

from medjax.config import CrossvalConfig
from medjax.errors import RefusedError
from medjax.evaluation.operating_point import ABOVE_ALL, choose_threshold
from medjax.jobs.operating_point import choose_point, decide, require_point, require_positive, score_point
from medjax.jobs.restored_run import load_run
from medjax.jobs.train import train
from medjax.records import Dataset, Split
from tests.configs import plain
from tests.predicted import make_predictions
from tests.tiny import make_images

NAMES = ("a", "b")
CONFIG = plain(positive="b", threshold="sensitivity=0.8", prevalence=0.1)
CROSSVAL = CrossvalConfig(folds=4, repeats=2, training=CONFIG)


def make_dataset(n=120):
    images, labels = make_images(n)
    ids, digests = np.array([f"{i}.png" for i in range(n)]), np.zeros((n, 32), np.uint8)
    digests[:, :2] = np.arange(n).astype(np.uint16).view(np.uint8).reshape(-1, 2)
    return Dataset(images, labels, NAMES, ids, digests, "stripes")


def test_the_threshold_of_a_fold_is_chosen_on_the_other_folds_of_its_repeat():
    predictions = make_predictions(n=400, shares=(0.6, 0.4))
    folds = np.arange(400) % 8
    point = choose_point(CROSSVAL, NAMES, predictions, folds)
    is_positive, scores = predictions.labels == 1, predictions.probabilities[:, 1]
    for fold, threshold in enumerate(point["fold_thresholds"]):
        others = (folds != fold) & (folds // 4 == fold // 4)
        assert threshold == choose_threshold(is_positive[others], scores[others], "sensitivity", 0.8)
    assert len(point["fold_thresholds"]) == 8
    by_fold = decide(point, NAMES, predictions.probabilities, folds)
    assert by_fold.tolist() == (scores >= np.array(point["fold_thresholds"])[folds]).tolist()
    alone = decide(point, NAMES, predictions.probabilities)
    assert alone.tolist() == (scores >= point["threshold"]).tolist()
    scored = score_point(point, make_dataset(400), predictions, folds)
    assert (scored["threshold"], scored["true_positives"]) == (None, (by_fold & is_positive).sum())
    assert require_point(point, CROSSVAL, NAMES) is point
    for config, names in ((CONFIG, NAMES), (CROSSVAL, ("a", "c"))):
        with pytest.raises(RefusedError, match="operating point of another run"):
            require_point(point, config, names)


def test_a_threshold_above_all_probabilities_calls_nothing_positive():
    point = {"positive": "b", "threshold": ABOVE_ALL, "fold_thresholds": None}
    assert not decide(point, NAMES, np.array([[0, 1]], np.float32)).any()


def test_decisions_on_the_images_that_chose_it_are_as_wanted():
    dataset = make_dataset(400)
    predictions = make_predictions(n=400, shares=(0.6, 0.4))
    point = choose_point(CONFIG, NAMES, predictions)
    found = score_point(point, dataset, predictions)
    assert (found["positive"], found["threshold"], found["n"]) == ("b", point["threshold"], 400)
    assert 0.8 <= found["sensitivity"] < 0.82
    assert found["at_prevalence"]["prevalence"] == 0.1


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (dataclasses.replace(CONFIG, positive="c"), "--positive: c is no class"),
        (CONFIG, "the val part holds no image of b"),
        (CROSSVAL, "the other folds hold no image of b"),
        (dataclasses.replace(CROSSVAL, only_fold=0), "needs the other folds"),
    ],
)
def test_what_could_choose_no_threshold_is_refused_before_training(config, reason):
    dataset = make_dataset(8)
    only_a = np.flatnonzero(dataset.labels == 0)
    splits = [Split(np.arange(4), only_a[:2], only_a[2:])] * 8
    with pytest.raises(RefusedError, match=reason):
        require_positive(config, dataset, splits)
    require_positive(plain(), dataset, splits)


def test_each_repeat_needs_positives_in_more_than_one_fold():
    dataset, config = make_dataset(8), dataclasses.replace(CROSSVAL, folds=2)
    only_a, only_b = (np.flatnonzero(dataset.labels == label) for label in (0, 1))
    none = np.array([], int)
    mixed = [Split(none, none, np.concatenate([only_a[:2], only_b[:2]]))] * 2
    apart = [Split(none, none, only_a), Split(none, none, only_b)]
    require_positive(config, dataset, mixed + mixed)
    with pytest.raises(RefusedError, match="the other folds hold no image of b"):
        require_positive(config, dataset, mixed + apart)


@pytest.mark.parametrize(
    "rule", ["sensitivity", "sensitivity=0", "cost=-1", "best", "specificity=nan", "youden=1"]
)
def test_a_rule_that_is_none_is_refused(rule):
    with pytest.raises(RefusedError, match=r"--threshold: .* is no rule"):
        train("phantom", dataclasses.replace(CONFIG, threshold=rule), is_quiet=True)


def test_a_run_keeps_its_point_and_applies_it(tmp_path):
    dataset = make_dataset()
    config = plain(epochs=1, baselines=False, augment=False, block_features=(4,), positive="b")
    run = train(dataset, config, run_dir=tmp_path / "run")
    scores, point = run.metrics, run.metrics["operating_point"]
    assert point["chosen_on"]["n"] == scores["val"]["n"]
    test = scores["test"]["operating_point"]
    assert test["true_positives"] + test["false_negatives"] == scores["test"]["per_class"]["b"]["n"]
    restored = load_run(run.directory)
    assert restored.evaluate(dataset)["test"]["operating_point"] == test
    _, probabilities = restored.predict(dataset)
    assert restored.decide(probabilities).tolist() == (probabilities[:, 1] >= point["threshold"]).tolist()
    with pytest.warns(UserWarning, match="outside the range"):
        others = restored.evaluate((dataset.images[:40] // 2, dataset.labels[:40]))["external"]
    assert (others["operating_point"]["n"], others["operating_point"]["threshold"]) == (
        40,
        point["threshold"],
    )
    page = (run.directory / "report.html").read_text()
    assert "Operating point" in page
    assert "An image is called b if its probability is at least" in page
