"""A run from its directory alone: evaluate and predict."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

import medjax
from medjax.errors import RefusedError
from medjax.runs import checkpoint
from tests.finished_runs import read_predictions


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_evaluate_restores_the_very_same_numbers(trained_run, part):
    restored = medjax.load_run(trained_run.directory)
    assert restored.evaluate(part=part) == {part: trained_run.metrics[part]}


def test_evaluate_needs_only_the_run_directory_and_the_data(trained_run, phantom_folder, tmp_path):
    shutil.copytree(trained_run.directory, tmp_path / "moved_run")
    shutil.copytree(phantom_folder, tmp_path / "moved_data")
    moved = medjax.load_run(tmp_path / "moved_run")
    assert moved.evaluate(tmp_path / "moved_data") == {"test": trained_run.metrics["test"]}


def test_evaluate_says_how_to_name_data_that_have_moved(trained_run):
    record = {**trained_run.record, "data": {**trained_run.record["data"], "path": "/gone"}}
    with pytest.raises(
        RefusedError, match=r"/gone: is not there any more \(say where it is: medjax evaluate .* DATA"
    ):
        dataclasses.replace(trained_run, record=record).evaluate()


def test_data_that_are_not_the_runs_are_scored_as_data_from_elsewhere(trained_run, phantom_folder, tmp_path):
    shutil.copytree(trained_run.directory, tmp_path / "run")
    changed = tmp_path / "phantoms"
    shutil.copytree(phantom_folder, changed)
    next(changed.rglob("*.png")).unlink()
    scores = medjax.load_run(tmp_path / "run").evaluate(changed)
    assert scores["external"]["n"] + scores["num_identical"] == 119


def test_predict_agrees_with_predictions_csv(trained_run, phantom_folder):
    rows = read_predictions(trained_run)[:10]
    paths = [phantom_folder / f"{row['id']}" for row in rows]
    ids, probabilities = trained_run.predict(paths)
    assert ids.tolist() == [str(path) for path in paths]
    for row, given in zip(rows, probabilities, strict=True):
        expected = [float(row[f"p_{name}"]) for name in trained_run.record["class_names"]]
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-7)


def test_predict_without_images_is_refused(trained_run):
    with pytest.raises(RefusedError, match="IMAGES"):
        trained_run.predict([])


def test_a_damaged_checkpoint_is_named_and_refused(trained_run, phantom_folder, tmp_path):
    shutil.copytree(trained_run.directory, tmp_path / "run")
    newest = checkpoint.list_checkpoints(tmp_path / "run" / "checkpoints" / "fold_00")[-1]
    damaged = max(newest.rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(RefusedError, match=f"{damaged.name}: is damaged"):
        medjax.load_run(tmp_path / "run").evaluate()


def changed(run, directory, change):
    """A copy of a run whose run.json says something else."""
    shutil.copytree(run.directory, directory)
    record = json.loads((directory / "run.json").read_text())
    change(record)
    (directory / "run.json").write_text(json.dumps(record))
    return medjax.load_run(directory)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda record: record["class_names"].reverse(), "class_names"),
        (lambda record: record["config"]["augmentation"].update(zoom=0.2), r"config\.augmentation\.zoom"),
        (lambda record: record["data"].update(fingerprint="0a"), r"data\.fingerprint"),
        (lambda record: record["config"].update(test_time_augmentation=3), r"config\.test_time_augmentation"),
    ],
)
def test_what_never_changes_in_run_json_is_what_the_checkpoints_were_saved_with(
    trained_run, phantom_folder, tmp_path, change, name
):
    with pytest.raises(RefusedError, match=rf"run\.json: {name} is not what .*epoch_0002 was saved with"):
        changed(trained_run, tmp_path / "run", change).predict([phantom_folder / "Hand"])


def test_more_epochs_asked_for_and_data_that_moved_leave_a_checkpoint_what_it_is(
    trained_run, phantom_folder, tmp_path
):
    def change(record):
        record["config"]["epochs"] = 9
        record["config"]["data"]["cache"] = False
        record["data"] |= {"path": "/moved", "name": "moved"}
        record["status"] = "interrupted"

    ids, _ = changed(trained_run, tmp_path / "run", change).predict([phantom_folder / "Hand"])
    assert len(ids) == 20


@pytest.mark.parametrize("number", [float("nan"), float("-inf")])
def test_parameters_that_are_not_finite_are_refused_on_load(trained_run, phantom_folder, tmp_path, number):
    shutil.copytree(trained_run.directory, tmp_path / "run")
    newest = checkpoint.list_checkpoints(tmp_path / "run" / "checkpoints" / "fold_00")[-1]
    variables = checkpoint.load_checkpoint(newest, "variables")
    state = checkpoint.load_checkpoint(newest, "state")
    facts = json.loads((newest / "facts.json").read_text())
    variables["parameters"]["features"]["block_0"]["bias"][3] = number
    checkpoint.delete_checkpoint(newest)
    checkpoint.save_checkpoint(newest, {"variables": variables, "state": state}, facts)
    run = medjax.load_run(tmp_path / "run")
    for ask in (run.evaluate, lambda: run.predict([phantom_folder / "Hand"])):
        with pytest.raises(RefusedError, match=r"epoch_0002: parameters/features/block_0/bias holds numbers"):
            ask()


def test_a_network_that_no_memory_holds_is_refused(trained_run, phantom_folder, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 10}[name])
    with pytest.raises(RefusedError, match="GB, more than half of this machine's memory"):
        trained_run.predict([phantom_folder / "Hand"])


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RefusedError, match=r"run\.json: not found"):
        medjax.load_run(tmp_path)


def test_of_a_cross_validation_all_folds_together_score_the_pooled_numbers(crossval_run):
    restored = medjax.load_run(crossval_run.directory)
    assert restored.evaluate() == {"test": crossval_run.metrics["pooled"]}


def test_one_fold_scores_its_out_of_fold_part(crossval_run):
    for fold in crossval_run.metrics["folds"]:
        block = crossval_run.evaluate(fold=fold["fold"])["test"]
        assert {name: block[name] for name in ("n", "errors", "accuracy", "loss")} == {
            name: fold[name] for name in ("n", "errors", "accuracy", "loss")
        }


def test_a_fold_or_a_part_that_is_not_there_is_refused(crossval_run):
    with pytest.raises(RefusedError, match=r"--fold 3: no such fold in this run \(it has 0 to 2\)"):
        crossval_run.evaluate(fold=3)
    with pytest.raises(RefusedError, match="--split train: differs from fold to fold"):
        crossval_run.evaluate(part="train")
    with pytest.raises(RefusedError, match="--split val: this run held no such part back"):
        crossval_run.evaluate(part="val", fold=0)


def test_a_cross_validation_predicts_by_the_mean_of_its_folds(crossval_run, phantom_folder):
    rows = read_predictions(crossval_run)[:4]
    paths = [phantom_folder / row["id"] for row in rows]
    ids, each = crossval_run.predict_folds(paths)
    assert each.shape == (3, 4, 6)
    for index, row in enumerate(rows):
        own = [float(row[f"p_{name}"]) for name in crossval_run.record["class_names"]]
        np.testing.assert_allclose(each[int(row["fold"]), index], own, rtol=1e-5, atol=1e-7)
    together = crossval_run.predict(paths)
    assert together[0].tolist() == ids.tolist()
    np.testing.assert_array_equal(together[1], each.mean(axis=0))


def test_a_fold_that_diverged_is_neither_scored_nor_asked(crossval_run, phantom_folder, tmp_path):
    shutil.copytree(crossval_run.directory, tmp_path / "run")
    metrics = crossval_run.metrics
    metrics["folds"][1] |= {"diverged": True}
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics))
    diverged = dataclasses.replace(
        crossval_run, directory=tmp_path / "run", record={**crossval_run.record, "status": "diverged"}
    )
    with pytest.raises(RefusedError, match=r"fold 1 diverged, so its score is withheld .*--fold 0"):
        diverged.evaluate()
    with pytest.raises(RefusedError, match="fold 1 diverged"):
        diverged.predict([phantom_folder / "Hand"])
    assert diverged.evaluate(fold=2) == crossval_run.evaluate(fold=2)
