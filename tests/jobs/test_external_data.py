"""A restored model on data from elsewhere."""

import csv
import json
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from medjax.config_checks import from_dict
from medjax.data.load import load
from medjax.errors import RefusedError
from medjax.jobs.external_data import find_trained
from medjax.jobs.from_config import make_splits

CLASSES = ("Hand", "CXR", "HeadCT")


@pytest.fixture
def elsewhere(phantom_folder, tmp_path):
    """Three classes of the phantom: five images each that are changed by one gray level, and three that are not."""
    folder = tmp_path / "elsewhere"
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number, path in enumerate(sorted((phantom_folder / name).iterdir())[:8]):
            pixels = np.array(Image.open(path))
            pixels[0, 0] ^= number < 5
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def own_data(trained_run, phantom_folder):
    """What the run was trained on, and its parts."""
    dataset = load(phantom_folder)
    [split] = make_splits(from_dict(trained_run.record["config"]), dataset)
    return dataset, split


def rows_of(path):
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_all_images_are_scored_with_classes_matched_by_name(
    trained_run, elsewhere, own_data, phantom_folder, tmp_path
):
    shutil.copytree(trained_run.directory, tmp_path / "run")
    run = type(trained_run)(tmp_path / "run", trained_run.record)
    before = {path: path.read_bytes() for path in run.directory.rglob("*") if path.is_file()}
    scores = run.evaluate(elsewhere)
    dataset, split = own_data
    trained = set(dataset.ids[split.train])
    copies = [
        f"{name}/{path.name}" for name in CLASSES for path in sorted((phantom_folder / name).iterdir())[5:8]
    ]
    expected = sum(name in trained for name in copies)
    assert 0 < expected < 9
    assert scores["num_identical"] == scores["identical"]["n"] == expected
    assert scores["external"]["n"] == 24 - expected
    assert list(scores["external"]["per_class"]) == trained_run.record["class_names"]
    assert scores["external"]["per_class"]["AbdomenCT"]["auc"] is None
    assert scores["data"]["path"] == str(elsewhere)
    after = {path: path.read_bytes() for path in before}
    assert after == before  # nothing of the run is touched
    folder = run.directory / "external" / "elsewhere-000"
    assert json.loads((folder / "metrics.json").read_text())["external"] == scores["external"]
    overlap = scores["overlap"]
    kinds = {name: overlap[name] for name in ("trained", "held_back", "changed", "new")}
    # The 15 images that were changed have the names 0.png to 4.png, which no image of the run has.
    assert kinds == {"trained": expected, "held_back": 9 - expected, "changed": 0, "new": 15}
    assert scores["new"]["n"] == 15
    assert (overlap["n"], overlap["run"], overlap["missing"]["n"]) == (24, 120, 111)
    rows = rows_of(folder / "images.csv")
    assert Counter(row["kind"] for row in rows) == {**{k: n for k, n in kinds.items() if n}, "missing": 111}
    rows = rows_of(folder / "predictions.csv")
    assert len(rows) == 24
    assert {row["id"].split("/")[0] for row in rows} == set(CLASSES)
    assert all(row["id"].startswith(row["label"]) for row in rows)
    assert run.evaluate(elsewhere)["directory"].endswith("elsewhere-001")


def test_an_image_that_was_trained_on_is_known_by_its_pixels(trained_run, own_data):
    dataset, split = own_data
    assert np.flatnonzero(find_trained(trained_run.directory, dataset)).tolist() == split.train.tolist()


def test_a_run_without_the_digests_of_its_images_is_refused(trained_run, elsewhere, tmp_path):
    shutil.copytree(trained_run.directory, tmp_path / "run")
    (tmp_path / "run" / "trained_digests.npy").unlink()
    with pytest.raises(RefusedError, match=r"trained_digests\.npy: cannot be read"):
        type(trained_run)(tmp_path / "run", trained_run.record).evaluate(elsewhere)


def test_a_class_that_the_model_does_not_know_is_refused_by_name(trained_run, elsewhere):
    (elsewhere / "Hand").rename(elsewhere / "Foot")
    with pytest.raises(RefusedError, match="class Foot: is none of the model's"):
        trained_run.evaluate(elsewhere)


def test_parts_and_folds_of_other_data_are_refused(trained_run, elsewhere):
    with pytest.raises(RefusedError, match="elsewhere: is not the data of this run, so it has no --split"):
        trained_run.evaluate(elsewhere, part="val")
    with pytest.raises(RefusedError, match="so it has no --fold"):
        trained_run.evaluate(elsewhere, fold=0)


def test_nothing_is_written_through_a_link(trained_run, elsewhere, tmp_path):
    shutil.copytree(trained_run.directory, tmp_path / "run")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "run" / "external").symlink_to(tmp_path / "theirs")
    run = type(trained_run)(tmp_path / "run", trained_run.record)
    with pytest.raises(RefusedError, match="external: is a link"):
        run.evaluate(elsewhere)
    assert list((tmp_path / "theirs").iterdir()) == []
