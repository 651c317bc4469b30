"""Patients found in names, by patterns that end."""

import numpy as np
import pytest

from medjax.data.splitting import group_pattern as module
from medjax.data.splitting.group_pattern import pattern_groups, suggest_pattern
from medjax.errors import RefusedError

CHEST = [
    "train/NORMAL/IM-0115-0001.jpeg",
    *(f"train/PNEUMONIA/person{n // 2}_virus_{n}.jpeg" for n in range(4)),
]


def test_the_first_parentheses_are_the_group_and_others_are_alone():
    groups = pattern_groups(np.array(CHEST), r"(person\d+)_(virus|bacteria)")
    assert groups.tolist() == [CHEST[0], "person0", "person0", "person1", "person1"]
    assert pattern_groups(np.array(CHEST[1:]), r"person\d").tolist() == ["person0"] * 2 + ["person1"] * 2


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (CHEST, r"(person\d+)_"),
        (["train/CNV/CNV-1016042-1.jpeg", "train/CNV/CNV-1016042-2.jpeg"], r"(?:CNV|DME|DRUSEN|NORMAL)-(\d+)-\d+"),
        ([f"benign/SOB/SOB_B_A-14-22549AB-40-00{n}.png" for n in (1, 2)], r"SOB_[BM]_[A-Z]+-(\d+-\d+[A-Z]*)-"),
        ([f"train/patient00001/study{n}/view1_frontal.jpg" for n in (1, 2)], r"(patient\d+)/study\d+"),
        ([f"10253/0/10253_idx5_x100{n}_y1001_class0.png" for n in (1, 2)], r"(\d+)_idx\d+_x\d+_y\d+_class"),
        (["a.png", "b.png"], None),
        ([f"person{n}_a.png" for n in range(3)], None),  # no two images of one
        ([*CHEST[1:3], *CHEST[:1] * 5], None),  # few
    ],
    ids=["kaggle", "oct2017", "breakhis", "chexpert", "idc", "none", "single", "few"],
)  # fmt: skip
def test_known_names_are_recognized(names, pattern):
    assert suggest_pattern(np.array(names)) == pattern
    if pattern is not None:
        assert len({*pattern_groups(np.array(names), pattern).tolist()}) < len(names)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(person", r"\(person is no regular expression: missing \)"),
        ("xyz", r"finds nothing in the names, such as train/NORMAL"),
        ("a" * 1_001, "has 1,001 characters"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern, message):
    with pytest.raises(RefusedError, match=f"--group-pattern: {message}"):
        pattern_groups(np.array(CHEST), pattern)


def test_a_pattern_that_takes_for_ever_is_ended(monkeypatch):
    monkeypatch.setattr(module, "MAX_SECONDS", 0.5)
    with pytest.raises(RefusedError, match=r"takes more than 0\.5 s"):
        pattern_groups(np.array(["a" * 50]), "(a+)+$b")
