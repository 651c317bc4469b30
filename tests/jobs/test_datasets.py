"""Data before training: fetched and laid out by one call each."""

import pytest

from medjax.data.load import load
from medjax.errors import RefusedError
from medjax.jobs.datasets import fetch_data, split_data


def test_a_folder_is_laid_out_in_train_and_test(phantom_folder, tmp_path):
    counts = split_data(phantom_folder, tmp_path / "out", test_share=0.25)
    dataset = load(tmp_path / "out")
    assert {part: (dataset.split == part).sum() for part in ("train", "test")} == {"train": 90, "test": 30}
    assert {part: sum(classes.values()) for part, classes in counts.items()} == {"train": 90, "test": 30}


def test_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(RefusedError, match="nothing: is not a data set that medjax can fetch"):
        fetch_data("nothing", tmp_path)
