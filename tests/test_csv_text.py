import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import medjax
from medjax.csv_text import read_csv, write_csv
from medjax.errors import RefusedError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
# What has ended rows, begun formulas or looked like the convention itself.
NASTY = [
    "a\rb",
    "a\r\nb",
    "\n",
    "\r",
    "\t=1",
    "=1+1",
    "@x",
    "-x",
    "+x",
    "＝1",
    "'",
    "'=1",
    "''x",
    '"',
    "a,b",
    "a;=1",
    "\0",
]


def read_back(rows):
    return [list(row.values()) for row in read_csv(io.StringIO(write_csv(rows), newline=""))]


@given(st.lists(st.tuples(TEXTS, TEXTS | st.sampled_from(NASTY))))
def test_texts_read_back_exactly(rows):
    assert read_back([("id", "=label"), *rows]) == [list(row) for row in rows]


@pytest.mark.parametrize("text", NASTY)
def test_no_cell_is_a_formula_and_every_reader_finds_as_many_rows(text):
    written = write_csv([["id", text], [text, "x"]])
    for row in csv.reader(io.StringIO(written, newline="")):
        assert len(row) == 2
        assert not any(cell.startswith(tuple("=+-@\t\r\n＝＋－＠")) for cell in row)
    assert read_back([["id", text], [text, "x"]]) == [[text, "x"]]


def test_numbers_are_left_alone():
    cells = [-1, 0.5, np.float32(0.25), np.int64(-3), float("nan"), "-1", "+2.5", "-1e-5", None, ""]
    assert write_csv([cells]) == "-1,0.5,0.25,-3,nan,-1,+2.5,-1e-5,,\n"


def test_plain_names_are_not_quoted():
    assert write_csv([["Hand/scan 1 (2).png", "Größe 肺"]]) == "Hand/scan 1 (2).png,Größe 肺\n"


def test_half_a_character_is_refused_by_name():
    with pytest.raises(RefusedError, match=r"^scan\\udcff\.png: holds half a character"):
        write_csv([["scan\udcff.png"]])


def test_a_row_with_too_many_cells_is_an_error():
    with pytest.raises(ValueError, match="argument"):
        list(read_csv(io.StringIO("a,b\n1,2,3\n")))


def test_every_csv_is_written_by_it():
    package = Path(medjax.__file__).parent
    writing = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"csv\.(writer|DictWriter)", path.read_text(encoding="utf-8"))
    ]
    assert not writing
