"""Cells as classes: grades keep their order, and what cannot be a class is refused."""

import pytest

from medjax.config import ReadingConfig
from medjax.data.tables.class_names import name_classes
from medjax.errors import RefusedError


def name(labels, **settings):
    return name_classes(labels, "t.csv", "dx", ReadingConfig(**settings))


@pytest.mark.parametrize(
    ("labels", "classes", "names"),
    [
        (["nv", "mel", "nv"], ["nv", "mel", "nv"], ("mel", "nv")),
        (["10", "9", "", "0"], ["10", "9", "", "0"], ("0", "9", "10")),
        (["1.0", "0.0", "1"], ["1", "0", "1"], ("0", "1")),
        (["0.5", "1"], ["0.5", "1"], ("0.5", "1")),
        (["1", "x", "10", "9"], ["1", "x", "10", "9"], ("1", "10", "9", "x")),
    ],
    ids=["names", "grades", "floats", "halves", "mixed"],
)
def test_names_and_their_order(labels, classes, names):
    assert name(labels) == (classes, names)


@pytest.mark.parametrize(
    ("uncertain", "classes"),
    [("positive", ["1", "0", "1"]), ("negative", ["1", "0", "0"]), ("ignore", ["1", "0", ""])],
)
def test_uncertain_labels(uncertain, classes):
    assert name(["1.0", "0.0", "-1.0"], uncertain=uncertain) == (classes, ("0", "1"))
    with pytest.raises(RefusedError, match=r"column dx holds -1 .*--uncertain ignore, positive or negative"):
        name(["1.0", "0.0", "-1.0"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "a", ""], "t.csv: has only one class in dx for these images: a"),
        ([""], r"t.csv: has no class in dx for these images \("),
        ([str(n / 7) for n in range(1001)], "t.csv: has 1,001 different labels in dx, such as 0.0"),
        (["=1+1", "b"], "t.csv: =1.1: is a class that spreadsheets would take for a formula"),
        (["a\x07", "b"], "is a class with a control character"),
        (["Benign", "benign"], "t.csv: benign: is a label beside Benign, which differs in upper and lower case"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_class_is_refused(labels, message):
    with pytest.raises(RefusedError, match=message) as refusal:
        name(labels)
    assert len(refusal.value.lines()) == 1
