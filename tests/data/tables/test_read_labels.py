"""The rows of a table of labels: by image, one where they say the same."""

import pytest

from medjax.config import ReadingConfig
from medjax.data.tables.read_labels import Row, read_labels
from medjax.errors import RefusedError


def rows_of(text, tmp_path, **settings):
    path = tmp_path / "t.csv"
    path.write_text(text)
    return read_labels(path, ReadingConfig(**settings))


def test_rows_that_say_the_same_are_one(tmp_path):
    """As RSNA's, which has a row for each box."""
    table = rows_of("patientId,x,Target\na,1,1\nb,,0\na,7,1\n", tmp_path, image_column="patientId")
    assert table.rows == {"a": Row("1", "", ""), "b": Row("0", "", "")}
    assert (table.num_rows, table.contradicted) == (3, {})


def test_rows_that_differ_are_kept_apart(tmp_path):
    table = rows_of("id,label\na,1\na,2\n", tmp_path)
    assert table.rows["a"].label == "1"
    assert table.contradicted["a"].label == "2"


ONE_HOT = "image,MEL,NV,UNK,age\na,1.0,0.0,0.0,3\nb,0.0,1.0,0.0,1\n"


def test_columns_with_a_single_1_in_each_row_are_classes(tmp_path):
    """As ISIC 2019's."""
    table = rows_of(ONE_HOT, tmp_path)
    assert table.columns.labels == ("MEL", "NV", "UNK")
    assert [row.label for row in table.rows.values()] == ["100", "010"]
    named = rows_of(ONE_HOT, tmp_path, label_columns=("NV", "MEL"))
    assert [row.label for row in named.rows.values()] == ["01", "10"]


def test_columns_of_0_and_1_that_are_no_classes_are_not_taken(tmp_path):
    with pytest.raises(RefusedError, match="none is known to hold the labels"):
        rows_of("image,male,smoker\na,1,1\nb,0,1\n", tmp_path)


@pytest.mark.parametrize(
    ("uncertain", "labels"),
    [("positive", ["1_", "11"]), ("negative", ["1_", "01"]), ("ignore", ["1_", "?1"])],
)
def test_uncertain_findings_are_what_is_said(tmp_path, uncertain, labels):
    text = "Path,A,B\nx,1.0,\ny,-1.0,1.0\n"
    table = rows_of(text, tmp_path, label_columns=("A", "B"), uncertain=uncertain)
    assert [row.label for row in table.rows.values()] == labels
    with pytest.raises(RefusedError, match=r"column A holds -1 \(--uncertain ignore, positive or negative"):
        rows_of(text, tmp_path, label_columns=("A", "B"))


def test_what_is_no_table_of_labels_is_refused(tmp_path):
    with pytest.raises(RefusedError, match=r"2 lines have more or fewer fields than the header: 2, 4"):
        rows_of("id,label\na\nb,1\nc,1,2\n", tmp_path)
    with pytest.raises(RefusedError, match=r"column A holds '0\.3', not 0 or 1"):
        rows_of("id,A,B\na,0.3,0\n", tmp_path, label_columns=("A", "B"))
    with pytest.raises(RefusedError, match=r"cannot be read: No such file .*--labels FILE"):
        read_labels(tmp_path / "nothing.csv", ReadingConfig())
