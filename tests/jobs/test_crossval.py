"""Cross-validation: every image scored once by a model that was not trained on it, and what is left behind."""

import csv
import dataclasses
import json

import numpy as np
import pytest

import medjax
from medjax.config import CrossvalConfig, StoppingConfig
from medjax.data.load import load
from medjax.errors import DivergedError
from medjax.training.strategy_choice import choose_strategy
from tests.configs import plain
from tests.finished_runs import parameters_of, read_history, read_predictions, scores_of

SHORT = plain(epochs=2)


def test_every_image_is_scored_out_of_fold_exactly_once(crossval_run, phantom_folder):
    rows = read_predictions(crossval_run)
    assert [row["id"] for row in rows] == load(phantom_folder).ids.tolist()
    assert {row["split"] for row in rows} == {"test"}
    assert {row["fold"] for row in rows} == {"0", "1", "2"}
    assert {row["repeat"] for row in rows} == {"0"}


def test_the_metrics_follow_from_the_predictions(crossval_run):
    rows, metrics = read_predictions(crossval_run), crossval_run.metrics
    assert set(metrics) == {"folds", "mean", "pooled", "baselines", "diagnosis", "seconds"}
    wrong = np.array([row["label"] != row["predicted"] for row in rows])
    folds = np.array([int(row["fold"]) for row in rows])
    for fold in metrics["folds"]:
        chosen = folds == fold["fold"]
        assert (fold["n"], fold["errors"]) == (chosen.sum(), wrong[chosen].sum())
    assert (metrics["pooled"]["n"], metrics["pooled"]["errors"]) == (120, wrong.sum())
    assert metrics["mean"]["accuracy"] == pytest.approx(
        np.mean([1 - wrong[folds == fold].mean() for fold in range(3)])
    )
    losses = [-np.log(np.float32(row[f"p_{row['label']}"])) for row in rows]
    assert metrics["pooled"]["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_the_run_says_what_it_did(crossval_run):
    record = crossval_run.record
    assert (record["job"], record["strategy"], record["status"]) == ("crossval", choose_strategy(3), "done")
    assert record["data"]["parts"] == "3 folds, stratified by class"
    assert record["data"]["counts"] == {"images": dict.fromkeys(record["class_names"], 20)}
    assert json.loads(json.dumps(record["config"])) == record["config"]
    page = (crossval_run.directory / "report.html").read_text(encoding="utf-8")
    assert "Cross-validation report" in page
    assert "not finished" not in page
    history = read_history(crossval_run)
    assert [(row["fold"], row["epoch"]) for row in history] == [
        (fold, epoch) for epoch in "01" for fold in "012"
    ]
    assert {row["val_loss"] for row in history} == {"nan"}  # nothing was held back, nothing was looked at


def test_one_fold_alone_is_that_fold_of_the_full_run(crossval_run, phantom_folder, tmp_path):
    config = CrossvalConfig(folds=3, only_fold=1, training=SHORT)
    alone = medjax.cross_validate(phantom_folder, config, run_dir=tmp_path / "alone")
    pairs = zip(parameters_of(crossval_run, 1), parameters_of(alone, 1), strict=True)
    assert all(np.array_equal(mine, its) for mine, its in pairs)
    assert read_predictions(alone) == [row for row in read_predictions(crossval_run) if row["fold"] == "1"]
    (fold,) = alone.metrics["folds"]
    assert fold == crossval_run.metrics["folds"][1]
    assert alone.metrics["mean"]["accuracy_sd"] is None


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["map", "vmap", "devices"])
def test_other_strategies_score_nearly_the_same(crossval_run, phantom_folder, tmp_path, strategy):
    config = CrossvalConfig(folds=3, fold_strategy=strategy, training=SHORT)
    other = medjax.cross_validate(phantom_folder, config, run_dir=tmp_path / strategy)
    assert other.record["strategy"] == strategy
    for mine, its in zip(read_predictions(crossval_run), read_predictions(other), strict=True):
        names = [name for name in mine if name.startswith("p_")]
        np.testing.assert_allclose(
            [float(its[name]) for name in names], [float(mine[name]) for name in names], atol=2e-3
        )


@pytest.mark.slow
def test_repeats_divide_anew_and_groups_stay_whole(phantom_folder, tmp_path):
    ids = load(phantom_folder).ids
    groups = {name: f"patient {index // 2}" for index, name in enumerate(ids)}
    with (tmp_path / "groups.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "group"), *groups.items()])
    data = dataclasses.replace(SHORT.data, groups=str(tmp_path / "groups.csv"))
    training = dataclasses.replace(
        SHORT,
        data=data,
        epochs=4,
        keep="best",
        early_stopping=True,
        stopping=StoppingConfig(stop_patience=1),
    )
    config = CrossvalConfig(folds=2, repeats=2, training=training)
    run = medjax.cross_validate(phantom_folder, config, run_dir=tmp_path / "run")
    rows = read_predictions(run)
    assert [(row["id"], row["repeat"]) for row in rows] == [(name, repeat) for repeat in "01" for name in ids]
    folds = {repeat: {} for repeat in "01"}
    for row in rows:
        assert int(row["fold"]) // 2 == int(row["repeat"])
        folds[row["repeat"]].setdefault(groups[row["id"]], set()).add(row["fold"])
    assert all(len(of_group) == 1 for each in folds.values() for of_group in each.values())
    first, second = ([next(iter(of)) for of in each.values()] for each in folds.values())
    assert [int(fold) + 2 for fold in first] != [int(fold) for fold in second]
    assert run.metrics["pooled"]["n"] == 240
    assert run.record["data"]["groups"]["n"] == 60
    assert all(0 <= fold["best_epoch"] < fold["epochs"] <= 4 for fold in run.metrics["folds"])
    assert run.evaluate() == {"test": run.metrics["pooled"]}


def test_test_images_that_the_data_fix_can_be_kept_apart(retinamnist, tmp_path):
    config = CrossvalConfig(folds=2, keep_test=True, training=plain(epochs=1))
    run = medjax.cross_validate(retinamnist, config, run_dir=tmp_path / "run")
    assert run.metrics["pooled"]["n"] == 1200
    assert run.metrics["test"]["n"] == 400
    rows = read_predictions(run)
    assert [row["split"] for row in rows] == ["test"] * 1200 + ["official_test"] * 400
    assert {row["fold"] for row in rows[1200:]} == {"-1"}
    assert all(row["id"].startswith("test/") for row in rows[1200:])


def test_a_diverged_fold_is_frozen_and_the_others_are_scored(phantom_folder, tmp_path, monkeypatch):
    from medjax.training import folds

    original = folds.run_steps

    def poisoned(learner, batch_size, images, labels, start, stop, plan, state, sums):
        """Fold 1 of 3, known by its key, meets a loss that is no number."""
        import jax
        import jax.numpy as jnp

        is_fold_1 = (jax.random.key_data(plan.key) == jax.random.key_data(fold_key)).all()
        bad = jax.tree.map(lambda leaf: leaf * jnp.where(is_fold_1, jnp.nan, 1), state.learner.parameters)
        result, sums = original(
            learner, batch_size, images, labels, start, stop, plan,
            state._replace(learner=state.learner._replace(parameters=bad)), sums,
        )  # fmt: skip
        kept = jax.tree.map(
            lambda old, new: jnp.where(is_fold_1, old, new),
            state.learner.parameters,
            result.learner.parameters,
        )
        return result._replace(learner=result.learner._replace(parameters=kept)), sums

    import jax

    fold_key = jax.random.fold_in(jax.random.key(0), 1)
    monkeypatch.setattr("medjax.training.programs.run_steps", poisoned)
    config = CrossvalConfig(folds=3, training=SHORT)
    with pytest.raises(DivergedError, match=r"training of fold 1 diverged.*pooled score is withheld"):
        medjax.cross_validate(phantom_folder, config, run_dir=tmp_path / "run")
    run = medjax.load_run(tmp_path / "run")
    assert run.record["status"] == "diverged"
    assert (run.metrics["pooled"], run.metrics["mean"]) == (None, None)
    assert [fold["diverged"] for fold in run.metrics["folds"]] == [False, True, False]
    assert [fold["epochs"] for fold in run.metrics["folds"]] == [2, 0, 2]
    assert run.metrics["folds"][1]["accuracy"] is None
    assert {row["fold"] for row in read_predictions(run)} == {"0", "2"}
    assert all(np.isfinite(leaf).all() for leaf in parameters_of(run, 1))
    assert "withheld" in (run.directory / "report.html").read_text(encoding="utf-8")


def test_the_same_call_gives_the_same_bits(crossval_run, phantom_folder, tmp_path):
    config = CrossvalConfig(folds=3, training=SHORT)
    again = medjax.cross_validate(phantom_folder, config, run_dir=tmp_path / "again")
    assert scores_of(again) == scores_of(crossval_run)
