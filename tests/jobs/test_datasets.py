"""Data before training: fetched and laid out by one call each."""

import pytest

from medjax.config import DataConfig
from medjax.data.load import load
from medjax.errors import RefusedError
from medjax.jobs.datasets import fetch_data, load_dataset, split_data
from medjax.progress import Display
from tests.sample_files import small_set, write_folder


def test_a_folder_is_laid_out_in_train_and_test(phantom_folder, tmp_path):
    counts = split_data(phantom_folder, tmp_path / "out", test_share=0.25)
    dataset = load(tmp_path / "out")
    assert {part: (dataset.split == part).sum() for part in ("train", "test")} == {"train": 90, "test": 30}
    assert {part: sum(classes.values()) for part, classes in counts.items()} == {"train": 90, "test": 30}


def test_the_line_about_a_data_set_says_from_and_to_which_size_and_what_was_left_out(tmp_path, capsys):
    root = write_folder(tmp_path / "scans", {**small_set(12), "cat/bad.png": b"bad"})
    config = DataConfig(image_size=6, fit="pad", skip_bad=True, max_bad=0.1, cache=False)
    with pytest.warns(UserWarning, match="1 of 25"), Display() as display:
        load_dataset(root, config, display)
    assert capsys.readouterr().err.splitlines()[-1] == (
        "scans: 24 images of 2 classes; 24 images resized from 8 by 10 to 6 by 6 pixels, the model's size; "
        "24 images not square, so padded with black; 1 image that cannot be used, left out by --skip-bad"
    )


def test_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(RefusedError, match="nothing: is not a data set that medjax can fetch"):
        fetch_data("nothing", tmp_path)
