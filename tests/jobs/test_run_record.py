import json

import numpy as np
import pytest

from medjax.config import CrossvalConfig, DataConfig, TrainConfig
from medjax.jobs.run_record import describe_environment, describe_level, describe_parts
from medjax.records import Dataset
from medjax.runs.directory import file_name


@pytest.mark.parametrize(
    ("name", "expected"), [("scans", "scans"), ("Größe / x", "Gr-e-x"), ("..", "data"), ("a\nb", "a-b")]
)
def test_file_names_are_safe(name, expected):
    assert file_name(name) == expected


def make_dataset(split=None, groups=None, grouped_by=("user",)):
    return Dataset(
        images=np.zeros((4, 2, 2, 1), np.uint8),
        labels=np.array([0, 1, 0, 1], np.int32),
        class_names=("a", "b"),
        ids=np.array(list("wxyz")),
        digests=np.zeros((4, 32), np.uint8),
        name="set",
        split=None if split is None else np.array(split),
        groups=None if groups is None else np.array(groups),
        grouped_by=grouped_by,
    )


VAL_AS_TEST = TrainConfig(data=DataConfig(val_as_test=True))
OFFICIAL = ["train", "val", "test", "test"]


@pytest.mark.parametrize(
    ("config", "dataset", "expected"),
    [
        (TrainConfig(), make_dataset(), "random, stratified by class"),
        (
            TrainConfig(),
            make_dataset(groups=list("ppqr")),
            "random, stratified by class, groups kept together",
        ),
        (
            TrainConfig(),
            make_dataset(groups=list("ppqr"), grouped_by=("user", "near")),
            "random, stratified by class, groups and nearly identical images kept together",
        ),
        (TrainConfig(), make_dataset(OFFICIAL), "the source's official parts"),
        (
            TrainConfig(),
            make_dataset(["train", "train", "test", "test"]),
            "the source's official train and test parts, val drawn from train",
        ),
        (
            TrainConfig(),
            make_dataset(["train", "train", "val", "val"], list("ppqr")),
            "the source's official train and val parts, test drawn from train, groups kept together",
        ),
        (
            VAL_AS_TEST,
            make_dataset(["train", "train", "val", "val"]),
            "the source's official train part, its val part as the test part, val drawn from train",
        ),
        (
            CrossvalConfig(keep_test=True, training=VAL_AS_TEST),
            make_dataset(["train", "train", "val", "val"]),
            "5 folds, stratified by class; the source's val images left out of all folds and scored apart",
        ),
        (CrossvalConfig(folds=3), make_dataset(), "3 folds, stratified by class"),
        (
            CrossvalConfig(folds=3, repeats=2),
            make_dataset(groups=list("ppqr")),
            "3 folds, 2 times over, stratified by class, groups kept together",
        ),
        (
            CrossvalConfig(),
            make_dataset(OFFICIAL),
            "5 folds, stratified by class; the source's parts (train, val, test) pooled",
        ),
        (
            CrossvalConfig(keep_test=True),
            make_dataset(OFFICIAL),
            "5 folds, stratified by class; the source's test images left out of all folds and scored apart",
        ),
    ],
)
def test_parts_in_words(config, dataset, expected):
    assert describe_parts(config, dataset) == expected


@pytest.mark.parametrize(
    ("split", "grouped_by", "num_crossing", "level", "words"),
    [
        (None, (), 0, "image", ["no patient identifiers"]),
        (None, ("exact",), 0, "image", ["no patient identifiers", "Identical images are kept together."]),
        (
            None,
            ("user", "near"),
            0,
            "group",
            ["no given group lies in two parts", "at most 2.5 gray levels apart link"],
        ),
        (
            None,
            ("frames", "exact"),
            0,
            "image",
            ["no patient identifiers", "Frames of a file are kept together.", "Identical images"],
        ),
        (OFFICIAL, ("user",), 3, "image", ["the parts are official", "3 groups lie in more than one"]),
        (OFFICIAL, ("exact",), 3, "image", ["kept together where parts are drawn."]),
    ],
)
def test_the_level_at_which_parts_are_disjoint(split, grouped_by, num_crossing, level, words):
    groups = list("ppqr") if grouped_by else None
    found, statement = describe_level(make_dataset(split, groups, grouped_by), num_crossing, 2.5)
    assert found == level
    assert all(each in statement for each in words), statement


def test_the_environment_is_json_and_names_what_decides_the_last_bits():
    environment = json.loads(json.dumps(describe_environment()))
    assert {"python", "medjax", "jax", "jaxlib", "flax", "optax", "numpy"} <= environment["versions"].keys()
    assert environment["machine"]["cores"] >= 1
