"""A run from its directory alone: evaluate and predict."""

import copy
import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import medjax
from medjax.config import DataConfig, ReadingConfig, TrainConfig
from medjax.csv_text import read_csv
from medjax.data.load import load
from medjax.data.phantom.dataset import make_phantom
from medjax.errors import RefusedError
from medjax.jobs.restored_run import reading_settings
from medjax.jobs.run_record import describe_groups
from medjax.report.terminal import evaluation_lines
from medjax.runs import checkpoint
from tests.finished_runs import read_predictions
from tests.sample_files import encode, write_folder


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


def test_images_of_16_bits_are_refused_by_what_the_model_was_trained_on(trained_run, tmp_path):
    name = trained_run.record["class_names"][0]
    (tmp_path / name).mkdir()
    path = tmp_path / name / "deep.png"
    Image.fromarray(np.full((64, 64), 4000, np.uint16)).save(path)
    remedy = r"deep.png: has 16 bits per sample \(the model was trained on 8-bit images: convert these the same way, "
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


def test_a_run_with_groups_is_scored_again_after_their_file_has_moved(trained_run, phantom_folder, tmp_path):
    dataset = load(phantom_folder)
    rows = [f"{id},P{number // 2}" for number, id in enumerate(dataset.ids)]
    (tmp_path / "moved.csv").write_text("\n".join(["scan;patient", *rows]).replace(",", ";"))
    columns = {"image_column": "scan", "group_column": "patient"}
    groups = load(phantom_folder, DataConfig(groups=str(tmp_path / "moved.csv"), **columns))
    config = copy.deepcopy(trained_run.record["config"])
    config["data"] |= {"groups": str(tmp_path / "gone.csv"), **columns}
    data = {**trained_run.record["data"], "groups": describe_groups(groups)}
    run = dataclasses.replace(trained_run, record={**trained_run.record, "config": config, "data": data})
    with pytest.raises(RefusedError, match=r"gone\.csv: .*--groups"):
        run.evaluate(phantom_folder)
    reading = ReadingConfig(groups=str(tmp_path / "moved.csv"), **columns)
    for where in (phantom_folder, None):
        assert run.evaluate(where, reading=reading)["test"]["n"] == 18


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


LEFT_OUT = "1 of 25 images cannot be used and are left out: a/bad.png"


@pytest.fixture(scope="module")
def deep_folder(tmp_path_factory):
    """Two classes of images of 12 bits in 16, the second one darker; one image is damaged."""
    random = np.random.default_rng(0)
    tree = {
        f"{name}/{n}.png": encode(random.integers(0, top, (9, 9)).astype(np.uint16))
        for name, top in (("a", 4096), ("b", 900))
        for n in range(12)
    }
    return write_folder(tmp_path_factory.mktemp("data") / "deep", {**tree, "a/bad.png": b"bad"})


@pytest.fixture(scope="module")
def deep_run(deep_folder, tmp_path_factory):
    """A run over it, with the damaged image left out, and no page, which others draw."""
    config = TrainConfig(
        epochs=1,
        augment=False,
        baselines=False,
        block_features=(4,),
        hidden_units=0,
        data=DataConfig(image_size=9, window="auto", skip_bad=True, max_bad=0.05),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medjax.jobs.pipeline.draw_report", lambda *_: None)
        with pytest.warns(UserWarning, match=LEFT_OUT):
            return medjax.train(deep_folder, config, run_dir=tmp_path_factory.mktemp("runs") / "deep")


def test_a_run_lists_what_it_left_out_and_keeps_its_window(deep_run, deep_folder):
    with (deep_run.directory / "skipped.csv").open(newline="", encoding="utf-8") as lines:
        [row] = read_csv(lines)
    assert row["id"] == "a/bad.png"
    assert "not a PNG" in row["reason"]
    assert "a/bad.png" in row["remedy"]
    data = deep_run.record["data"]
    assert (data["window"]["low"], data["window"]["high"]) == (0, 4095)
    assert data["loading"]["bad"] == 1
    assert data["n"] == 24
    assert data["source_sizes"] == [[9, 9], [9, 9]]
    with pytest.warns(UserWarning, match=LEFT_OUT):
        assert deep_run.evaluate() == {"test": deep_run.metrics["test"]}


def test_other_images_are_read_through_the_window_of_the_run(deep_run, deep_folder):
    """A dark image alone, whose own bit depth is lower."""
    row = next(row for row in read_predictions(deep_run) if row["id"].startswith("b/"))
    expected = [float(row["p_a"]), float(row["p_b"])]
    with pytest.warns(UserWarning, match="gray levels left, read from 0 to 4095"):
        _, [alone] = deep_run.predict([deep_folder / row["id"]])
    np.testing.assert_allclose(alone, expected, rtol=1e-4, atol=1e-6)
    reading = dataclasses.replace(reading_settings(deep_run.directory), window=(0, 1023))
    _, [brighter] = deep_run.predict([deep_folder / row["id"]], reading=reading)
    assert np.abs(brighter - expected).max() > 1e-3


def test_a_run_of_eight_bits_takes_sixteen_by_a_choice_of_its_user(trained_run, deep_folder):
    paths = [deep_folder / "a/1.png", deep_folder / "b/1.png"]
    with pytest.raises(RefusedError, match="16 bits per sample"):
        trained_run.predict(paths)
    assert len(trained_run.predict(paths, reading=ReadingConfig(window="auto"))[0]) == 2


def test_external_data_list_what_was_left_out(deep_run, deep_folder, tmp_path):
    shutil.copytree(deep_run.directory, tmp_path / "run")
    shutil.copytree(deep_folder, tmp_path / "elsewhere")
    (tmp_path / "elsewhere/a/1.png").unlink()
    run = medjax.load_run(tmp_path / "run")
    with (
        pytest.warns(UserWarning, match="elsewhere: 1 of 24 images"),
        pytest.warns(UserWarning, match="elsewhere: these are no data from elsewhere"),
    ):
        scores = run.evaluate(tmp_path / "elsewhere")
    text = (tmp_path / "run/external/elsewhere-000/skipped.csv").read_text()
    assert "a/bad.png" in text
    assert scores["directory"].endswith("elsewhere-000")


def test_images_that_cannot_be_used_are_left_out_where_a_list_is_given(deep_run, deep_folder):
    left_out = []
    ids, each = deep_run.predict_folds([deep_folder / "a", "missing.png"], left_out=left_out)
    assert len(ids) == each.shape[1] == 12
    assert [problem.name for problem in left_out] == ["missing.png", f"{deep_folder}/a/bad.png"]


@pytest.mark.parametrize(
    "window", [[0, 4095], {}, {"low": "0", "high": 9}, {"low": 9, "high": 9}, {"low": 0, "high": 65536}]
)
def test_a_window_that_is_none_is_refused(deep_run, deep_folder, window):
    record = {**deep_run.record, "data": {**deep_run.record["data"], "window": window}}
    with pytest.raises(RefusedError, match=r"run\.json: data\.window is not a window"):
        dataclasses.replace(deep_run, record=record).predict([deep_folder / "a/1.png"])
