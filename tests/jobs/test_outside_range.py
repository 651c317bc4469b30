"""Images far from the training images are warned of, counted and marked, color given to a gray model among them."""

import csv
import io
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

import medjax
from medjax import cli
from medjax.data.phantom.dataset import make_phantom
from medjax.errors import RefusedError
from medjax.jobs.outside_range import count_outside, describe_ranges
from tests.sample_files import encode

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)


def colored(phantom_folder):
    """A phantom image in red."""
    with Image.open(sorted((phantom_folder / "Hand").iterdir())[0]) as image:
        gray = np.asarray(image)
    return np.stack([gray, gray // 4, gray // 4], axis=-1)


def test_the_run_keeps_ranges_of_its_training_images_alone(trained_run):
    ranges = trained_run.record["data"]["ranges"]
    assert list(ranges) == ["color", "mean", "spread", "sharpness"]
    assert all(low < high for low, high in ranges.values())


def test_color_of_images_that_were_made_gray_is_not_known():
    dataset = make_phantom(images_per_class=1)
    everything = np.arange(len(dataset.labels))
    assert describe_ranges(dataset, everything)["color"] == [-2.0, 2.0]
    converted = dataset._replace(counts=dataset.counts._replace(recolored=1))
    assert list(describe_ranges(converted, everything)) == ["mean", "spread", "sharpness"]


def test_predict_warns_and_marks(trained_run, phantom_folder):
    ordinary = sorted((phantom_folder / "Hand").iterdir())[1]
    given = [
        ordinary,
        NOISE,
        colored(phantom_folder),
        encode(colored(phantom_folder)),
        np.zeros((50, 50), np.uint8),
    ]
    with pytest.warns(
        UserWarning,
        match=r"images outside the range of the training images: 4 of 5 \(.*color 2, .*spread 1, sharpness 1\)",
    ):
        predicted = trained_run.predict_images(given)
    marks = predicted.outside_training_range
    assert marks[0] == ()
    assert "sharpness" in marks[1]
    assert "color" in marks[2]
    assert marks[2] == marks[3]
    assert "spread" in marks[4]
    # Looking at the color changes no answer.
    gray = np.asarray(Image.fromarray(colored(phantom_folder)).convert("L"))
    np.testing.assert_array_equal(
        predicted.probabilities[:, 2], trained_run.predict_images(gray).probabilities[:, 0]
    )


def test_gray_images_in_color_files_are_no_color(trained_run, phantom_folder):
    with Image.open(sorted((phantom_folder / "Hand").iterdir())[1]) as image:
        assert trained_run.predict_images(np.asarray(image.convert("RGB"))).outside_training_range == [()]


def test_the_command_marks_images_in_the_last_column(trained_run, phantom_folder, tmp_path, capsys):
    Image.fromarray(NOISE).save(tmp_path / "noise.png")
    path = sorted((phantom_folder / "Hand").iterdir())[0]
    with warnings.catch_warnings(action="always"), pytest.raises(SystemExit):
        cli.main(["predict", str(trained_run.directory), str(path), str(tmp_path / "noise.png")])
    out, err = capsys.readouterr()
    assert "medjax: warning: images outside the range of the training images: 1 of 2" in err
    header, *rows = csv.reader(io.StringIO(out))
    assert header[-2:] == [f"p_{trained_run.record['class_names'][-1]}", "outside_training_range"]
    assert rows[0][-1] == ""
    assert "sharpness" in rows[1][-1].split()


def test_other_data_are_counted(trained_run, phantom_folder, tmp_path):
    shutil.copytree(trained_run.directory, tmp_path / "run")
    for number, pixels in enumerate((NOISE, colored(phantom_folder))):
        path = tmp_path / "other" / ("Hand", "CXR")[number] / f"{number}.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels).save(path)
    with pytest.warns(UserWarning, match="training images: 2 of 2"):
        scores = medjax.load_run(tmp_path / "run").evaluate(tmp_path / "other")
    counts = scores["outside_training_range"]
    assert (counts["n"], counts["color"]) == (2, 1)
    with (tmp_path / "run" / "external" / "other-000" / "images.csv").open(newline="") as lines:
        marks = {row["id"]: row["outside_training_range"] for row in csv.DictReader(lines)}
    assert "color" in marks["CXR/1.png"].split()
    assert "color" not in marks["Hand/0.png"].split()


def test_a_record_without_ranges_is_refused(trained_run, phantom_folder):
    data = {**trained_run.record["data"]}
    del data["ranges"]
    run = medjax.Run(trained_run.directory, {**trained_run.record, "data": data})
    with pytest.raises(RefusedError, match=r"run\.json: data\.ranges: are no ranges"):
        run.predict(NOISE)


def test_counts_name_every_statistic():
    assert count_outside([(), ("mean", "color"), ("mean",)]) == {
        "n": 2, "color": 1, "mean": 2, "spread": 0, "sharpness": 0,
    }  # fmt: skip
