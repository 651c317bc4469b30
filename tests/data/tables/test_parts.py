"""Columns of parts and of folds."""

import pytest

from medjax.data.tables.parts import read_parts
from medjax.errors import RefusedError


def test_parts_and_folds_are_told_apart():
    parts, folds = read_parts(["Training", "valid", "TEST", "train"], "t.csv", "split")
    assert parts.tolist() == ["train", "val", "test", "train"]
    assert folds is None
    parts, folds = read_parts(["1", "02", "10.0", "1"], "t.csv", "fold")
    assert parts is None
    assert folds.tolist() == ["1", "2", "10", "1"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["train", ""], "column split is empty for 1 image "),
        (["train", "A"], r"column split holds A, no parts .*--part-column none"),
        (["1", "test"], "column split holds 1, no parts"),
        (["train", "train"], "column split has no val or test part"),
        (["val", "test"], "column split has no train part"),
        (["3", "3"], "column split holds 3, no parts"),
    ],
)
def test_other_columns_are_refused(values, message):
    with pytest.raises(RefusedError, match=f"^t.csv: {message}"):
        read_parts(values, "t.csv", "split")
