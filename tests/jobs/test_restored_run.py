"""A run from its directory alone: evaluate and predict."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import medjax
from medjax.config import DataConfig, ReadingConfig
from medjax.data.load import load
from medjax.data.phantom.dataset import make_phantom
from medjax.errors import RefusedError
from medjax.report.terminal import evaluation_lines
from medjax.runs import checkpoint
from tests.configs import plain
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
    gone = sorted(changed.rglob("*.png"))[0]
    gone.unlink()
    with pytest.warns(UserWarning, match="no data from elsewhere: the run's own images: 119 of 119"):
        scores = medjax.load_run(tmp_path / "run").evaluate(changed)
    assert scores["external"]["n"] + scores["num_identical"] == 119
    assert scores["new"] is None
    id = gone.relative_to(changed).as_posix()
    assert scores["overlap"]["missing"] == {"n": 1, "named": [id]}
    (line,) = [line for line in evaluation_lines(scores, trained_run.record) if "the run's own" in line]
    assert line.endswith(f"; new: 0; missing of the run's 120: 1 ({id})")


def test_predict_agrees_with_predictions_csv(trained_run, phantom_folder):
    rows = read_predictions(trained_run)[:10]
    paths = [phantom_folder / f"{row['id']}" for row in rows]
    ids, probabilities = trained_run.predict(paths)
    assert ids.tolist() == [str(path) for path in paths]
    for row, given in zip(rows, probabilities, strict=True):
        expected = [float(row[f"p_{name}"]) for name in trained_run.record["class_names"]]
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-7)


def test_an_image_is_taken_for_what_it_is(trained_run, phantom_folder):
    """A path is one path, not its letters; bytes, files and arrays hold the same image."""
    path = sorted((phantom_folder / "Hand").iterdir())[0]
    with Image.open(path) as image:
        pixels = np.asarray(image)
    expected = trained_run.predict([path])[1]
    with path.open("rb") as file:
        given = {
            str(path): str(path),
            "as a path": path,
            "image 0": path.read_bytes(),
            "an open file": file,
            "an array": pixels,
            "an array with channels": pixels[..., None],
            "a stack": pixels[None, ..., None],
            "a list of several": [str(path), pixels, path.read_bytes(), np.stack([pixels, pixels])],
        }
        found = {name: trained_run.predict(images) for name, images in given.items()}
    for name, (ids, probabilities) in found.items():
        np.testing.assert_allclose(probabilities, np.repeat(expected, len(ids), axis=0), rtol=1e-6)
        if name != "a list of several":
            assert ids.tolist() == [
                str(path) if "file" in name or "path" in name or "/" in name else "image 0"
            ]
    several = found["a list of several"][0].tolist()
    assert several == [str(path), "image 1", "image 2", "image 3", "image 4"]


def test_a_data_set_is_predicted_with_its_ids(trained_run):
    phantom = make_phantom()._replace(name="made")
    few = phantom._replace(images=phantom.images[:3], ids=phantom.ids[:3])
    assert trained_run.predict(few)[0].tolist() == phantom.ids[:3].tolist()


def test_predict_without_images_is_refused(trained_run):
    for nothing in ([], (), iter([])):
        with pytest.raises(RefusedError, match="IMAGES: none given"):
            trained_run.predict(nothing)


def test_labels_and_pixels_are_evaluated_as_data_from_elsewhere(trained_run, tmp_path):
    shutil.copytree(trained_run.directory, tmp_path / "run")
    images = np.random.default_rng(0).integers(0, 256, (6, 40, 30), dtype=np.uint8)
    with pytest.warns(UserWarning, match="outside the range of the training images: 6 of 6"):
        scores = medjax.load_run(tmp_path / "run").evaluate((images, [0, 1, 2, 3, 4, 5]))
    assert scores["external"]["n"] == 6
    with pytest.raises(RefusedError, match=r"data: are a ndarray \(give a path, a Dataset"):
        trained_run.evaluate(images)


def test_a_run_with_groups_is_scored_again_after_their_file_has_moved(phantom_folder, tmp_path, monkeypatch):
    rows = [f"{id},P{number // 2}" for number, id in enumerate(load(phantom_folder).ids)]
    (tmp_path / "groups.csv").write_text("\n".join(["scan;patient", *rows]).replace(",", ";"))
    columns = {"image_column": "scan", "group_column": "patient"}
    data = DataConfig(image_size=9, groups=str(tmp_path / "groups.csv"), **columns)
    config = plain(epochs=1, augment=False, baselines=False, block_features=(4,), hidden_units=0, data=data)
    monkeypatch.setattr("medjax.jobs.pipeline.draw_report", lambda *_, **__: None)
    run = medjax.train(phantom_folder, config, run_dir=tmp_path / "run")
    (tmp_path / "groups.csv").rename(tmp_path / "moved.csv")
    with pytest.raises(RefusedError, match=r"groups\.csv: .*--groups"):
        run.evaluate(phantom_folder)
    reading = ReadingConfig(groups=str(tmp_path / "moved.csv"), **columns)
    for where in (phantom_folder, None):
        assert run.evaluate(where, reading=reading)["test"] == run.metrics["test"]


def write_labels(path, ids, *, part=lambda number: ["train", "train", "val", "test"][number % 4]):
    rows = [f"{id},{id.split('/')[0]},P{number // 2},{part(number)}" for number, id in enumerate(ids)]
    path.write_text("\n".join(["scan;class;patient;split", *rows]).replace(",", ";"))
    return path


def test_a_run_with_a_table_of_labels_is_repeated_by_its_record(phantom_folder, tmp_path, monkeypatch):
    ids = load(phantom_folder).ids.tolist()
    table = write_labels(tmp_path / "labels.csv", ids)
    data = DataConfig(image_size=9, labels=str(table), image_column="scan", group_column="none")
    config = plain(epochs=1, augment=False, baselines=False, block_features=(4,), hidden_units=0, data=data)
    monkeypatch.setattr("medjax.jobs.pipeline.draw_report", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(config, data=dataclasses.replace(data, labels="labels.csv"))
    run = medjax.train(phantom_folder, config, run_dir=tmp_path / "run")
    assert run.record["config"]["data"]["labels"] == str(table)
    used = run.record["data"]["table"]
    assert (used["image_column"], used["label_columns"], used["part_column"]) == ("scan", ["class"], "split")
    assert used["group_column"] is None
    assert run.metrics["test"]["n"] == 30
    assert run.evaluate() == {"test": run.metrics["test"]}
    assert medjax.train(phantom_folder, config, run_dir=tmp_path / "run", resume=True).record == run.record

    longer = dataclasses.replace(config, epochs=2)
    table.write_text(table.read_text().replace("split", "Split"))  # another file that says the same
    medjax.train(phantom_folder, longer, run_dir=tmp_path / "run", resume=True)
    run = medjax.load_run(tmp_path / "run")
    assert run.evaluate() == {"test": run.metrics["test"]}

    # Labels of the same images elsewhere: those of the folders, or of the table again.
    moved = shutil.copytree(phantom_folder, tmp_path / "moved" / "phantoms")
    table.rename(tmp_path / "moved.csv")
    with pytest.raises(RefusedError, match=r"labels\.csv: is not the table that --labels named for this run"):
        run.evaluate()
    reading = ReadingConfig(labels=str(tmp_path / "moved.csv"), image_column="scan", group_column="none")
    assert run.evaluate(moved, reading=reading) == {"test": run.metrics["test"]}
    with pytest.raises(RefusedError, match=r"phantoms: has not the groups or parts .*--labels FILE"):
        run.evaluate(moved)
    write_labels(table, ids, part=lambda number: ["test", "train", "val", "train"][number % 4])
    with pytest.raises(RefusedError, match=r"labels\.csv: is not the parts of this run any more"):
        run.evaluate()
    with pytest.raises(RefusedError, match="the parts that the table of labels fixes have changed"):
        medjax.train(
            phantom_folder, dataclasses.replace(longer, epochs=3), run_dir=tmp_path / "run", resume=True
        )


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
