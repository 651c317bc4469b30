"""A run from its directory alone: evaluate and predict."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import medjax
from medjax.errors import RefusedError
from medjax.jobs.restored_run import reading_settings
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


def test_images_of_16_bits_are_refused_by_what_the_model_was_trained_on(trained_run, tmp_path):
    name = trained_run.record["class_names"][0]
    (tmp_path / name).mkdir()
    path = tmp_path / name / "deep.png"
    Image.fromarray(np.full((64, 64), 4000, np.uint16)).save(path)
    remedy = r"deep.png: has 16 bits per sample \(the model was trained on 8-bit images: convert these the same way\)"
    with pytest.raises(RefusedError, match=remedy):
        trained_run.predict([path])
    with pytest.raises(RefusedError, match=remedy):
        trained_run.evaluate(tmp_path)


def test_predict_agrees_with_predictions_csv(trained_run, phantom_folder):
    rows = read_predictions(trained_run)[:10]
    paths = [phantom_folder / f"{row['id']}" for row in rows]
    ids, probabilities = trained_run.predict(paths)
    assert ids.tolist() == [str(path) for path in paths]
    for row, given in zip(rows, probabilities, strict=True):
        expected = [float(row[f"p_{name}"]) for name in trained_run.record["class_names"]]
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-7)


def test_images_are_read_as_the_run_read_its_own_unless_told_otherwise(trained_run, phantom_folder):
    reading = dataclasses.replace(reading_settings(trained_run.directory), ignore=("*1.png",), cache=False)
    ids, _ = trained_run.predict([phantom_folder / "Hand"], reading=reading)
    all_ids, _ = trained_run.predict([phantom_folder / "Hand"])
    assert 0 < len(ids) < len(all_ids)
    assert set(ids) == {id for id in all_ids if not id.endswith("1.png")}


@pytest.mark.parametrize(
    ("change", "flag"), [({"color": "rgb"}, "--color rgb"), ({"max_megapixels": -1.0}, "--max-m")]
)
def test_a_wrong_way_to_read_images_is_refused(trained_run, phantom_folder, change, flag):
    reading = dataclasses.replace(reading_settings(trained_run.directory), **change)
    with pytest.raises(RefusedError, match=flag):
        trained_run.predict([phantom_folder / "Hand"], reading=reading)


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
