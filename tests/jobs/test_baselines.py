"""Baselines on the splits of a run, beside its own scores."""

import dataclasses

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

import medjax
from medjax.config import CrossvalConfig
from medjax.data.load import load
from medjax.data.splitting.splits import fold_splits, split
from medjax.evaluation.baselines import BASELINES
from medjax.jobs.baselines import compare_baselines, first_repeat, fit_baselines
from medjax.records import Predictions
from tests.configs import plain


def neighbour_errors(dataset, splits):
    pixels = dataset.images.reshape(len(dataset.labels), -1) / 255
    return sum(
        (
            KNeighborsClassifier(1).fit(pixels[train], dataset.labels[train]).predict(pixels[test])
            != dataset.labels[test]
        ).sum()
        for train, _, test in splits
    )


def test_a_holdout_has_baselines_of_its_test_part(trained_run, phantom_folder):
    block, seconds = trained_run.metrics["baselines"], trained_run.metrics["seconds"]
    dataset = load(phantom_folder)
    errors = neighbour_errors(dataset, [split(dataset, seed=0)])
    assert (block["part"], block["image_shape"]) == ("test", [28, 28, 1])
    assert block["models"].keys() == BASELINES.keys()
    assert block["models"]["nearest_neighbour"]["errors"] == errors
    assert {row["n"] for row in block["models"].values()} == {18}
    best = block["models"][block["best"]]["accuracy"]
    gain = block["gain_over_best_baseline"]
    assert gain["difference"] == pytest.approx(trained_run.metrics["test"]["accuracy"] - best)
    assert gain["ci95"][0] <= gain["difference"] <= gain["ci95"][1]
    assert all(0 < seconds[f"baseline_{name}"] < seconds["total"] for name in BASELINES)
    assert 0 < seconds["baselines"] < seconds["total"]


def test_a_cross_validation_has_baselines_of_every_fold(crossval_run, phantom_folder):
    block, pooled = crossval_run.metrics["baselines"], crossval_run.metrics["pooled"]
    dataset = load(phantom_folder)
    assert block["part"] == "out of fold"
    assert block["models"]["nearest_neighbour"]["errors"] == neighbour_errors(
        dataset, fold_splits(dataset, 3)
    )
    assert {row["n"] for row in block["models"].values()} == {120}
    best = block["models"][block["best"]]["accuracy"]
    assert block["gain_over_best_baseline"]["difference"] == pytest.approx(pooled["accuracy"] - best)


def test_baselines_can_be_left_out(phantom_folder, tmp_path):
    run = medjax.train(phantom_folder, plain(epochs=1, baselines=False), run_dir=tmp_path / "run")
    assert run.metrics["baselines"] is None
    assert "baselines" not in run.metrics["seconds"]


def test_the_scores_are_kept_when_baselines_are_interrupted(phantom_folder, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("medjax.jobs.beside_training.fit_baselines", interrupted)
    with pytest.raises(KeyboardInterrupt):
        medjax.train(phantom_folder, plain(epochs=1), run_dir=tmp_path / "run")
    run = medjax.load_run(tmp_path / "run")
    assert run.record["status"] == "interrupted"
    assert run.metrics["test"]["n"] == 18
    assert run.metrics["baselines"] is None


def test_of_repeats_one_has_baselines_and_groups_are_the_units(phantom_folder):
    dataset = load(phantom_folder)
    groups = np.array([f"patient {index // 2}" for index in range(120)])
    dataset = dataset._replace(groups=groups)
    config = CrossvalConfig(folds=3, repeats=2, only_fold=4, training=plain())
    splits = fold_splits(dataset, 3, repeats=2)
    test = splits[4].test
    labels = dataset.labels[test]
    right = Predictions(test, labels, np.eye(6, dtype=np.float32)[labels], np.zeros(len(test), np.float32))
    told = []
    baselines = fit_baselines(config, dataset, splits, first_repeat(config), lambda *each: told.append(each))
    assert told[-1] == (len(BASELINES), len(BASELINES), "logistic regression")
    block = compare_baselines(config, dataset, baselines, right)
    all_folds = dataclasses.replace(config, only_fold=None)
    whole = compare_baselines(
        all_folds,
        dataset,
        fit_baselines(all_folds, dataset, splits, 1, lambda *_: None),
        _all_of(dataset),
    )
    assert (first_repeat(config), first_repeat(all_folds), first_repeat(plain())) == (1, 0, 0)
    assert block["models"]["nearest_neighbour"]["errors"] == neighbour_errors(dataset, [splits[4]])
    assert block["gain_over_best_baseline"]["unit"] == "group"
    assert whole["models"]["nearest_neighbour"]["errors"] == neighbour_errors(dataset, splits[3:])


def _all_of(dataset):
    n = len(dataset.labels)
    probabilities = np.full((n, 6), 1 / 6, np.float32)
    return Predictions(np.arange(n), dataset.labels, probabilities, np.zeros(n, np.float32))
