"""Whole runs: the default one, and the real data where they are at hand."""

import dataclasses
import tarfile
import zipfile

import jax
import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    recall_score,
    roc_auc_score,
)

import medjax
from medjax.config import PRESETS, CrossvalConfig
from medjax.data.load import fingerprint, load
from medjax.runs.checkpoint import list_checkpoints, load_checkpoint
from tests.configs import plain
from tests.finished_runs import assert_same_result, read_predictions


def test_retinamnist_trains_in_color_and_scores_its_official_test_images(retinamnist, tmp_path):
    run = medjax.train(retinamnist, plain(epochs=2), run_dir=tmp_path / "run")
    record, test = run.record, run.metrics["test"]
    assert record["data"]["image_shape"] == [28, 28, 3]
    assert record["data"]["parts"] == "the source's official parts"
    assert {part: sum(counts.values()) for part, counts in record["data"]["counts"].items()} == {
        "train": 1080,
        "val": 120,
        "test": 400,
    }
    assert test["n"] == 400
    with np.load(retinamnist, allow_pickle=False) as arrays:
        expected = np.bincount(arrays["test_labels"].ravel(), minlength=5)
    assert [test["per_class"][name]["n"] for name in "01234"] == expected.tolist()


@pytest.mark.parametrize("job", ["trained_run", "crossval_run"])
def test_every_number_of_a_run_follows_from_its_predictions(job, request):
    run = request.getfixturevalue(job)
    rows, names = read_predictions(run), run.record["class_names"]
    if job == "crossval_run":
        assert_numbers_follow(run.metrics["pooled"], rows, names)
    else:
        for part in ("val", "test"):
            assert_numbers_follow(run.metrics[part], [row for row in rows if row["split"] == part], names)


def test_every_number_of_retinamnist_follows_from_its_predictions(retinamnist, tmp_path):
    run = medjax.train(retinamnist, plain(epochs=2), run_dir=tmp_path / "run")
    rows = [row for row in read_predictions(run) if row["split"] == "test"]
    assert_numbers_follow(run.metrics["test"], rows, run.record["class_names"])


def assert_numbers_follow(block, rows, names):
    """Every number of a block of metrics.json is what scikit-learn makes of these rows of predictions.csv."""
    probabilities = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows], np.float32)
    labels = np.array([names.index(row["label"]) for row in rows])
    called, is_class = probabilities.argmax(1), np.eye(len(names))[labels] == 1
    assert [names[label] for label in called] == [row["predicted"] for row in rows]
    of_classes = {
        "recall": recall_score(labels, called, average=None),
        "sensitivity": recall_score(labels, called, average=None),
        "specificity": [recall_score(own, called == c, pos_label=0) for c, own in enumerate(is_class.T)],
        "f1": f1_score(labels, called, average=None),
        "auc": roc_auc_score(is_class, probabilities, average=None),
        "average_precision": average_precision_score(is_class, probabilities, average=None),
    }
    for key, values in of_classes.items():
        found = [block["per_class"][name][key] for name in names]
        assert found == pytest.approx(list(values), abs=1e-6), key
    for c, name in enumerate(names):
        of_called, found = labels[called == c] == c, block["per_class"][name]["precision"]
        assert found == (pytest.approx(of_called.mean(), abs=1e-6) if len(of_called) else None)
    assert block["confusion_matrix"] == confusion_matrix(labels, called).tolist()
    confidence, is_right = probabilities.max(1).astype(float), called == labels
    bins = np.ceil(confidence * 15)
    expected = {
        "n": len(rows),
        "errors": np.sum(~is_right),
        "accuracy": accuracy_score(labels, called),
        "balanced_accuracy": balanced_accuracy_score(labels, called),
        "macro_f1": f1_score(labels, called, average="macro"),
        "auc": roc_auc_score(is_class, probabilities, average="macro"),
        "average_precision": average_precision_score(is_class, probabilities),
        "loss": log_loss(labels, probabilities),
        "brier": brier_score_loss(labels, probabilities, scale_by_half=False),
        "ece": sum(abs((is_right - confidence)[bins == b].sum()) for b in range(1, 16)) / len(rows),
    }
    assert {key: block[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    numbers = {key for key, value in block.items() if isinstance(value, int | float)}
    assert numbers == expected.keys()  # none is left out


@pytest.mark.slow
def test_the_default_run_passes_98_percent_on_the_phantom(tmp_path):
    run = medjax.train("phantom", run_dir=tmp_path / "run")
    assert run.record["data"]["is_synthetic"]
    assert run.metrics["test"]["accuracy"] >= 0.98


@pytest.mark.slow
def test_medical_mnist_as_zip_folder_and_tar_gives_identical_results(medical_mnist, tmp_path):
    with zipfile.ZipFile(medical_mnist) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    folder = tmp_path / "medical-mnist"
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with tarfile.open(tmp_path / "medical-mnist.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(folder, arcname="medical-mnist")
    config = dataclasses.replace(PRESETS["report"], epochs=1)
    sources = [medical_mnist, folder, tmp_path / "medical-mnist.tar.gz"]
    runs = [
        medjax.train(source, config, run_dir=tmp_path / f"run{number}")
        for number, source in enumerate(sources)
    ]
    assert len({run.record["data"]["fingerprint"] for run in runs}) == 1
    assert len({(run.directory / "predictions.csv").read_bytes() for run in runs}) == 1
    first, *others = (_parameters_of(run) for run in runs)
    assert all(np.array_equal(mine, its) for other in others for mine, its in zip(first, other, strict=True))


def _parameters_of(run):
    saved = list_checkpoints(run.directory / "checkpoints" / "fold_00")
    return jax.tree.leaves(load_checkpoint(saved[-1], "variables"))


@pytest.mark.slow
def test_a_second_load_of_medical_mnist_comes_from_the_cache_and_is_the_same(medical_mnist):
    first, again = load(medical_mnist), load(medical_mnist)
    assert len(again.labels) == 58_954
    assert np.array_equal(first.images, again.images)
    assert fingerprint(first) == fingerprint(again)


@pytest.mark.gpu
def test_on_an_accelerator_the_default_run_learns_as_on_a_cpu(accelerator, tmp_path):
    run = medjax.train("phantom", run_dir=tmp_path / "run")
    assert run.metrics["test"]["accuracy"] >= 0.98
    assert run.evaluate() == {"test": run.metrics["test"]}


@pytest.mark.gpu
@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_on_an_accelerator_the_same_call_gives_the_same_bits(accelerator, strategy, phantom_folder, tmp_path):
    config = CrossvalConfig(folds=3, fold_strategy=strategy, training=plain(epochs=2))
    calls = [
        medjax.cross_validate(phantom_folder, config, run_dir=tmp_path / name) for name in ("first", "again")
    ]
    assert_same_result(*calls)
