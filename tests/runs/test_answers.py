"""predictions.csv of a stranger: read, or refused before it can do harm."""

import pytest

from medjax.errors import RefusedError
from medjax.runs.answers import Answer, read_answers

HEADER = "id,split,fold,repeat,label,predicted,p_a,p_b\n"
RECORD = {"class_names": ["a", "b"], "config": {}, "data": {"n": 3}}


def write(directory, text):
    (directory / "predictions.csv").write_text(HEADER + text)
    return directory


def test_test_rows_of_the_first_repeat_are_read(tmp_path):
    rows = 'x,test,0,1,a,b,0,1\nx,test,0,0,a,a,1,0\nz,val,0,0,b,b,0,1\n"y\n,",test,0,0,b,b,0,1\n'
    expected = {"x": Answer("a", "a", (1.0, 0.0)), "y\n,": Answer("b", "b", (0.0, 1.0))}
    assert read_answers(write(tmp_path, rows), RECORD) == expected


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("x,test,0,0,a,c,0,1\n", "names 'c', none of the classes"),
        ("x,test,0,0,a\n", "cannot be read .ValueError"),
        ("x,test,0,0,a,b,0,1\nx,test,0,0,a,a,1,0\n", "has the image x twice"),
        ("x,test,0,first,a,b,0,1\n", "cannot be read .ValueError"),
        ("x,test,0," + "9" * 5000 + ",a,b,0,1\n", "cannot be read .ValueError"),
        ("x,test,0,0,a,b,0,1.5\n", "cannot be read .ValueError"),
        ("x,test,0,0,a,b,nan,1\n", "cannot be read .ValueError"),
        ('"' + "x" * 30_000, "bytes, more than the"),
        ("x" * 14_000 + "\0,test,0,0,a,b\n" * 9, "twice|cannot be read|bytes"),
    ],
)
def test_answers_that_no_such_run_gave_are_refused(tmp_path, rows, reason):
    with pytest.raises(RefusedError, match=rf"predictions\.csv: .*({reason})"):
        read_answers(write(tmp_path, rows), RECORD)


def test_a_header_without_the_columns_is_refused(tmp_path):
    (tmp_path / "predictions.csv").write_text("id,split\n1,test\n")
    with pytest.raises(RefusedError, match=r"cannot be read \(KeyError"):
        read_answers(tmp_path, RECORD)
