import numpy as np
import pytest

from medjax.config import CrossvalConfig, TrainConfig
from medjax.jobs.run_record import describe_level, describe_parts
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
        (TrainConfig(), make_dataset(OFFICIAL), "as the source fixes them"),
        (
            TrainConfig(),
            make_dataset(["train", "train", "test", "test"]),
            "train and test as the source fixes them, val drawn from train",
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
            ["no group of the groups file", "at most 2.5 gray levels apart link"],
        ),
        (OFFICIAL, ("user",), 3, "image", ["the source fixes its parts", "3 groups lie in more than one"]),
        (OFFICIAL, ("exact",), 3, "image", ["kept together where parts are drawn."]),
    ],
)
def test_the_level_at_which_parts_are_disjoint(split, grouped_by, num_crossing, level, words):
    groups = list("ppqr") if grouped_by else None
    found, statement = describe_level(make_dataset(split, groups, grouped_by), num_crossing, 2.5)
    assert found == level
    assert all(each in statement for each in words), statement
