"""Images read as a run read its own, unless its user says otherwise."""

import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

import medjax
from medjax.config import DataConfig, ReadingConfig
from medjax.csv_text import read_csv
from medjax.errors import RefusedError
from medjax.jobs.run_images import reading_settings
from tests.configs import plain
from tests.dicom_files import dicom, ramp
from tests.finished_runs import read_predictions
from tests.sample_files import encode, write_folder

LEFT_OUT = "1 of 25 images cannot be used and are left out: a/bad.png"


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
    config = plain(
        epochs=1,
        augment=False,
        baselines=False,
        block_features=(4,),
        hidden_units=0,
        data=DataConfig(image_size=(9, 8), depth=16, window="auto", skip_bad=True, max_bad=0.05),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medjax.jobs.pipeline.draw_report", lambda *_, **__: None)
        with pytest.warns(UserWarning, match=LEFT_OUT):
            return medjax.train(deep_folder, config, run_dir=tmp_path_factory.mktemp("runs") / "deep")


def test_a_run_lists_what_it_left_out_and_keeps_its_window(deep_run, deep_folder):
    with (deep_run.directory / "skipped.csv").open(newline="", encoding="utf-8") as lines:
        [row] = read_csv(lines)
    assert row["id"] == "a/bad.png"
    assert "not a PNG" in row["reason"]
    assert "a/bad.png" in row["remedy"]
    data = deep_run.record["data"]
    assert (data["window"]["low"], data["window"]["high"], data["window"]["bits"]) == (0, 4095, 16)
    assert data["image_shape"] == [9, 8, 1]
    assert data["loading"]["bad"] == 1
    assert data["n"] == 24
    assert data["source_sizes"] == [[9, 9], [9, 9]]
    with pytest.warns(UserWarning, match=LEFT_OUT):
        assert deep_run.evaluate() == {"test": deep_run.metrics["test"]}


def test_other_images_are_read_through_the_window_of_the_run(deep_run, deep_folder):
    """A dark image alone, whose own bit depth is lower."""
    row = next(row for row in read_predictions(deep_run) if row["id"].startswith("b/"))
    expected = [float(row["p_a"]), float(row["p_b"])]
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


def test_a_window_that_is_none_is_refused(deep_run, deep_folder):
    record = {
        **deep_run.record,
        "data": {**deep_run.record["data"], "window": {"low": 9, "high": 9, "levels": 1}},
    }
    with pytest.raises(RefusedError, match=r"run\.json: data\.window is none"):
        dataclasses.replace(deep_run, record=record).predict([deep_folder / "a/1.png"])


def test_dicom_images_for_a_run_of_others_are_warned_of(trained_run, tmp_path):
    path = tmp_path / "IM1"
    path.write_bytes(dicom(ramp()))
    with (
        pytest.warns(UserWarning, match="the run's own images were no DICOM files"),
        pytest.warns(UserWarning, match="outside the range of the training images"),
    ):
        trained_run.predict(path)


def test_gray_levels_of_sixteen_bits_are_those_of_eight_of_the_same_shade(deep_run, deep_folder, tmp_path):
    """Files of either kind, and a data set in memory of either kind and another size."""
    pixels = np.asarray(Image.open(deep_folder / "a/1.png"))
    Image.fromarray(np.round(pixels * (255 / 4095)).astype(np.uint8)).save(tmp_path / "eight.png")
    _, (deep, eight) = deep_run.predict([deep_folder / "a/1.png", tmp_path / "eight.png"])
    np.testing.assert_allclose(deep, eight, atol=0.01)
    settings = DataConfig(image_size=(9, 8), window=(0, 4095), ignore=("bad.png",), cache=False)
    with_eight = deep_run.predict(medjax.load(deep_folder, settings))[1]
    with_deep = deep_run.predict(medjax.load(deep_folder, dataclasses.replace(settings, depth=16)))[1]
    np.testing.assert_allclose(with_deep, with_eight, atol=0.01)
    with pytest.raises(RefusedError, match="16 bits per sample"):
        deep_run.predict([deep_folder / "a/1.png"], reading=ReadingConfig())
