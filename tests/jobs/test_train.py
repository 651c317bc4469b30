"""Training on a holdout: one call, and what it leaves behind."""

import csv
import dataclasses
import filecmp
import json
import zipfile

import numpy as np
import pytest

import medjax
from medjax.config import DataConfig
from medjax.data.load import load
from medjax.data.splitting import splits
from medjax.errors import DivergedError, RefusedError
from medjax.evaluation.baselines import BASELINES
from medjax.evaluation.bootstrap import METRICS as BOOTSTRAPPED
from tests.configs import plain
from tests.finished_runs import assert_same_result, parameters_of, read_predictions
from tests.tiny import make_images

CONFIG = plain(epochs=2)


def test_the_run_directory_holds_what_was_agreed(trained_run):
    names = {path.relative_to(trained_run.directory).as_posix() for path in trained_run.directory.rglob("*")}
    assert {
        "run.json",
        "metrics.json",
        "history.csv",
        "predictions.csv",
        "report.html",
        "checkpoints/fold_00/epoch_0002.sha256",
        "figures/curves.png",
        "figures/confusion_matrix.png",
        "figures/samples.png",
        "figures/augmented.png",
        "figures/errors.png",
    } <= names
    assert not [name for name in names if "partial" in name or "tmp" in name]


def test_run_json_says_how_to_repeat_the_run(trained_run, phantom_folder):
    record = medjax.load_run(trained_run.directory).record
    assert record["status"] == "done"
    assert record["config"] == json.loads(json.dumps(dataclasses.asdict(CONFIG)))
    assert record["data"]["path"] == str(phantom_folder)
    assert record["data"]["n"] == 120
    assert record["data"]["counts"]["test"] == dict.fromkeys(record["class_names"], 3)
    assert record["data"]["loading"]["resized"] == 120
    assert record["model"]["parameters"] == 224_518
    assert record["strategy"] == "loop"
    assert record["resumptions"] == []


def test_metrics_json_has_the_agreed_keys(trained_run):
    metrics = trained_run.metrics
    assert set(metrics) == {"train", "val", "test", "training", "baselines", "diagnosis", "seconds"}
    assert metrics["training"] == {"epochs": 2, "best_epoch": None}
    assert [each["name"] for each in metrics["diagnosis"]] == ["not learnt", "below a baseline"]
    baselines = {"baselines", *(f"baseline_{name}" for name in BASELINES)}
    assert set(metrics["seconds"]) == {"load", "compile", "train", "evaluate", *baselines, "total"}
    assert set(metrics["test"]) == {
        "n",
        "errors",
        "accuracy",
        "accuracy_ci95",
        "accuracy_ci95_grouped",
        "leading_ci95",
        "largest_class",
        "never_predicted",
        "auc",
        "auc_ci95",
        *(f"{name}{kind}" for name in BOOTSTRAPPED for kind in ("", "_ci95")),
        "ece",
        "ece_binning",
        "ece_if_calibrated",
        "calibration",
        "bootstrap",
        "confusion_matrix",
        "per_class",
    }
    assert metrics["test"].keys() == metrics["train"].keys()
    assert (metrics["train"]["n"], metrics["val"]["n"], metrics["test"]["n"]) == (84, 18, 18)


def test_every_val_and_test_image_is_predicted_once_and_metrics_follow(trained_run, phantom_folder):
    rows = read_predictions(trained_run)
    ids = load(phantom_folder).ids
    split = splits.split(load(phantom_folder), seed=0)
    assert [row["id"] for row in rows] == ids[np.concatenate([split.val, split.test])].tolist()
    test = [row for row in rows if row["split"] == "test"]
    assert all(row["id"].startswith(row["label"] + "/") for row in rows)
    errors = sum(row["label"] != row["predicted"] for row in test)
    assert errors == trained_run.metrics["test"]["errors"]
    losses = [-np.log(np.float32(row[f"p_{row['label']}"])) for row in test]
    assert np.mean(losses) == pytest.approx(trained_run.metrics["test"]["loss"], rel=1e-4)


def test_the_same_call_gives_the_same_bits(trained_run, phantom_folder, tmp_path):
    assert_same_result(trained_run, medjax.train(phantom_folder, CONFIG, run_dir=tmp_path / "again"))


def test_a_zip_gives_the_same_bits_as_its_folder(trained_run, phantom_folder, tmp_path):
    archive = tmp_path / "phantoms.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(phantom_folder.rglob("*.png"), reverse=True):
            file.write(path, f"wrapped/{path.relative_to(phantom_folder)}")
    zipped = medjax.train(archive, CONFIG, run_dir=tmp_path / "zipped")
    assert zipped.record["data"]["fingerprint"] == trained_run.record["data"]["fingerprint"]
    assert_same_result(trained_run, zipped)


def test_another_seed_gives_another_result(trained_run, phantom_folder, tmp_path):
    other = medjax.train(phantom_folder, dataclasses.replace(CONFIG, seed=1), run_dir=tmp_path / "other")
    assert not filecmp.cmp(
        trained_run.directory / "predictions.csv", other.directory / "predictions.csv", shallow=False
    )


def test_nothing_is_written_when_the_data_are_refused(tmp_path):
    with pytest.raises(RefusedError):
        medjax.train(tmp_path / "missing", run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_image_size_too_small_for_the_model_is_refused_before_anything_is_written(
    phantom_folder, tmp_path
):
    with pytest.raises(RefusedError, match="too small"):
        medjax.train(phantom_folder, plain(data=DataConfig(image_size=6)), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_divergence_keeps_a_finite_checkpoint(phantom_folder, tmp_path):
    with pytest.raises(DivergedError, match="diverged in epoch 1"):
        medjax.train(
            phantom_folder, dataclasses.replace(CONFIG, learning_rate=1e30), run_dir=tmp_path / "run"
        )
    assert medjax.load_run(tmp_path / "run").record["status"] == "diverged"
    assert all(np.isfinite(leaf).all() for leaf in parameters_of(medjax.load_run(tmp_path / "run")))


def test_best_parameters_can_be_scored_instead_of_the_last(phantom_folder, tmp_path):
    config = dataclasses.replace(CONFIG, epochs=6, learning_rate=0.02, keep="best")
    run = medjax.train(phantom_folder, config, run_dir=tmp_path / "best")
    with (run.directory / "history.csv").open(newline="") as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    assert run.metrics["val"]["loss"] == pytest.approx(min(losses), rel=1e-4)
    assert run.evaluate() == {"test": run.metrics["test"]}


def test_without_augmentation_no_augmented_figure_is_drawn(phantom_folder, tmp_path):
    run = medjax.train(phantom_folder, dataclasses.replace(CONFIG, augment=False), run_dir=tmp_path / "plain")
    assert not (run.directory / "figures" / "augmented.png").exists()


def test_a_data_set_from_arrays_is_trained_scored_and_continued(tmp_path):
    images, labels = make_images(240)
    data = medjax.make_dataset(images, labels, ("level", "upright"))
    config = dataclasses.replace(CONFIG, epochs=2, block_features=(4,))
    run = medjax.train(data, config, run_dir=tmp_path / "run")
    assert run.record["data"]["path"] is None
    assert (run.directory / "report.html").stat().st_size > 0
    assert repr(run) == f"Run({str(run.directory)!r}, train, done)"
    restored = medjax.load_run(run.directory)
    assert restored.evaluate(data)["test"] == run.metrics["test"]
    with pytest.raises(
        RefusedError, match=r"its data were given in Python \(give them again: evaluate\(data\)\)"
    ):
        restored.evaluate()
    longer = dataclasses.replace(config, epochs=3)
    continued = medjax.train(data, longer, run_dir=tmp_path / "run", resume=True)
    assert continued.metrics["training"]["epochs"] == 3
    other = medjax.make_dataset(images[::-1], labels[::-1], ("level", "upright"))
    with pytest.raises(RefusedError, match="is not the data of this run"):
        medjax.train(other, dataclasses.replace(config, epochs=4), run_dir=tmp_path / "run", resume=True)


@pytest.mark.slow
def test_every_setting_of_the_optimizer_reaches_training(tmp_path):
    images, labels = make_images(120)
    data = medjax.make_dataset(images, labels)
    plain = dataclasses.replace(CONFIG, epochs=1, block_features=(4,), baselines=False)
    changes = [
        {"optimizer": "sgd"},
        {"optimizer": "adamw", "weight_decay": 0.5},
        {"clip_norm": 1e-3},
        {"ema_decay": 0.9},
        {"label_smoothing": 0.3},
    ]
    reference = parameters_of(medjax.train(data, plain, run_dir=tmp_path / "plain"))
    for number, change in enumerate(changes):
        run = medjax.train(data, dataclasses.replace(plain, **change), run_dir=tmp_path / str(number))
        found = parameters_of(run)
        assert any(not np.array_equal(mine, its) for mine, its in zip(reference, found, strict=True)), change
