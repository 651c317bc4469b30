"""A configuration that the rest of run.json contradicts is refused."""

import copy

import pytest

from medjax.errors import RefusedError
from medjax.jobs.recorded_config import recorded_config


def test_the_configuration_of_a_run_comes_back(trained_run, crossval_run):
    assert recorded_config(trained_run.directory, trained_run.record).epochs == 2
    assert recorded_config(crossval_run.directory, crossval_run.record).folds == 3


@pytest.mark.parametrize(
    ("block", "name", "value", "reason"),
    [
        ("record", "job", "train", "job is train, its config that of crossval"),
        ("data", "image_shape", [29, 28, 1], r"image_shape is \[29, 28, 1\], image_size 28"),
        ("data", "image_shape", [28, 28, 2], "its last number is 1 or 3"),
        ("data", "n", 2, "has 3 folds of 2 images"),
        ("config", "folds", 10**9, "--folds: 1000000000 is out of range"),
        ("config", "repeats", 9999, "--repeats: 9999 of 3 folds"),
        ("training", "test_time_augmentation", 10**9, "--test-time-augmentation: 1000000000 is out of range"),
        ("training", "batch_size", 10**12, "--batch-size: 1000000000000 is out of range"),
        ("training", "block_features", [4096] * 99, "--block-features: 99 blocks"),
        ("training", "model", "x" * 99999, "--model: has 99,999 characters"),
        ("reading", "image_size", 30000, "--image-size: 30000 is out of range"),
        ("reading", "ignore", ["x"] * 99999, "--ignore: has 99,999 values"),
    ],
)
def test_what_no_run_has_is_refused(crossval_run, block, name, value, reason):
    record = copy.deepcopy(crossval_run.record)
    blocks = {
        "record": record,
        "data": record["data"],
        "config": record["config"],
        "training": record["config"]["training"],
        "reading": record["config"]["training"]["data"],
    }
    blocks[block][name] = value
    with pytest.raises(RefusedError, match=reason):
        recorded_config(crossval_run.directory, record)
