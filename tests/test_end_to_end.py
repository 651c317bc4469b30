"""Whole runs: the default one, and the real data where they are at hand."""

import dataclasses
import tarfile
import zipfile

import jax
import numpy as np
import pytest

from medjax import jobs
from medjax.checkpoint import list_checkpoints, load_checkpoint
from medjax.config import PRESETS, TrainConfig
from medjax.data import fingerprint, load


def test_retinamnist_trains_in_colour_and_scores_its_official_test_images(retinamnist, tmp_path):
    run = jobs.train(retinamnist, TrainConfig(epochs=2), run_dir=tmp_path / "run")
    record, test = run.record, run.metrics["test"]
    assert record["data"]["image_shape"] == [28, 28, 3]
    assert record["data"]["parts"] == "as the source fixes them"
    assert {part: sum(counts.values()) for part, counts in record["data"]["counts"].items()} == {
        "train": 1080,
        "val": 120,
        "test": 400,
    }
    assert test["n"] == 400
    with np.load(retinamnist, allow_pickle=False) as arrays:
        expected = np.bincount(arrays["test_labels"].ravel(), minlength=5)
    assert [test["per_class"][name]["n"] for name in "01234"] == expected.tolist()


@pytest.mark.slow
def test_the_default_run_passes_98_percent_on_the_phantom(tmp_path):
    run = jobs.train("phantom", run_dir=tmp_path / "run")
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
        jobs.train(source, config, run_dir=tmp_path / f"run{number}") for number, source in enumerate(sources)
    ]
    assert len({run.record["data"]["fingerprint"] for run in runs}) == 1
    assert len({(run.directory / "predictions.csv").read_bytes() for run in runs}) == 1
    first, *others = (_parameters_of(run) for run in runs)
    assert all(np.array_equal(mine, its) for other in others for mine, its in zip(first, other, strict=True))


def _parameters_of(run):
    saved = list_checkpoints(run.directory / "checkpoints" / "fold_00")
    return jax.tree.leaves(load_checkpoint(saved[-1], "parameters"))


@pytest.mark.slow
def test_a_second_load_of_medical_mnist_comes_from_the_cache_and_is_the_same(medical_mnist):
    first, again = load(medical_mnist), load(medical_mnist)
    assert len(again.labels) == 58_954
    assert np.array_equal(first.images, again.images)
    assert fingerprint(first) == fingerprint(again)


@pytest.mark.gpu
def test_on_an_accelerator_the_default_run_learns_as_on_a_cpu(tmp_path):
    if jax.default_backend() == "cpu":
        pytest.skip("no accelerator here")
    run = jobs.train("phantom", run_dir=tmp_path / "run")
    assert run.metrics["test"]["accuracy"] >= 0.98
    assert run.evaluate() == {"test": run.metrics["test"]}
