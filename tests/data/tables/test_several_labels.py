"""Several labels an image in a table, as ChestX-ray14, CheXpert and columns of 0 and 1 have them."""

import pytest

from medjax.config import DataConfig
from medjax.data.reading.listing import Entry
from medjax.data.tables.label_images import label_images
from medjax.data.tables.read_labels import read_labels
from medjax.data.tables.several_labels import describe_marks, read_several, single_label
from medjax.errors import RefusedError

COLUMNS = ("A", "B", "C")


def test_one_column_with_labels_joined():
    found = read_several(["Mass|Nodule", "No Finding", "Nodule"], ["Finding Labels"], "nih")
    assert found.names == ("Mass", "Nodule")
    assert found.matrix.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert read_several(["Mass", "No Finding"], ["Finding Labels"], "nih") is None


def test_columns_are_classes_where_each_row_has_a_single_one():
    for marks in (["100", "010"], ["1__", "01_"], ["100", "0?0"]):
        assert read_several(marks, COLUMNS, "table") is None
    assert [single_label(marks, COLUMNS) for marks in ("010", "0?1", "")] == ["B", "", ""]
    assert describe_marks("101", COLUMNS) == "A, C"
    assert describe_marks("0_0", COLUMNS) == "none"


def test_blank_and_uncertain_cells_are_not_known():
    assert read_several(["1_0", "000", "?11"], COLUMNS, "t").matrix.tolist() == [
        [1, -1, 0],
        [0, 0, 0],
        [-1, 1, 1],
    ]
    # Where nothing is ever 0, a blank cell must be.
    assert read_several(["11_", "__1"], COLUMNS, "t").matrix.tolist() == [[1, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(("uncertain", "value"), [("positive", 1), ("negative", 0), ("ignore", -1)])
def test_uncertain_labels_of_an_image_are_what_is_said(uncertain, value):
    table = {"id": ["a", "b", "c"], "A": [1.0, 0.0, 1.0], "B": [1.0, -1.0, 0.0]}
    config = DataConfig(label_columns=("A", "B"), uncertain=uncertain)
    entries = [Entry(f"x/{name}.png", name) for name in "abc"]
    labelled = label_images(entries, read_labels(table, config), "source", config)
    assert labelled.layout.class_names == ("A", "B")
    assert labelled.matrix.tolist() == [[1, 1], [0, value], [1, 0]]
    with pytest.raises(RefusedError, match=r"column B holds -1 \(--uncertain ignore, positive or negative"):
        read_labels(table, DataConfig(label_columns=("A", "B")))


def test_rows_that_differ_are_told_by_their_labels():
    table = {"id": ["a", "a", "b"], "A": [1, 1, 0], "B": [1, 0, 0]}
    config = DataConfig(label_columns=("A", "B"))
    entries = [Entry(f"x/{name}.png", name) for name in "ab"]
    with pytest.raises(RefusedError, match=r"rows in labels that differ: label A, B and A"):
        label_images(entries, read_labels(table, config), "source", config)


def test_names_that_cannot_be_labels_are_refused():
    with pytest.raises(RefusedError, match="only one label"):
        read_several(["Mass|Mass", "No Finding"], ["Finding Labels"], "nih")
    with pytest.raises(RefusedError, match="formula"):
        read_several(["=A|B"], ["Finding Labels"], "nih")
