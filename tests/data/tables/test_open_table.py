"""Tables as spreadsheets, programs and strangers write them: read row by row, or refused in a line."""

import codecs
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from medjax.data.tables import open_table as module
from medjax.data.tables.open_table import open_table, table_digest
from medjax.errors import RefusedError

PLAIN = 'image,label\na.png,x\n"b,c.png",y\n'


def read(source, encoding=None):
    with open_table(source, encoding, flag="--labels") as table:
        return table.header, [tuple(row) for row in table.rows], table.ragged


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (PLAIN.encode(), None),
        (codecs.BOM_UTF8 + PLAIN.replace("\n", "\r\n").encode(), None),
        (PLAIN.replace("image,label", "image;label").replace("a.png,x", "a.png;x").replace('",y', '";y').encode(), None),
        (PLAIN.replace('"b,c.png"', "b,c.png").replace(",l", "\tl").replace(",x", "\tx").replace(",y", "\ty").encode(), None),
        (PLAIN.encode("utf-16"), "utf-16"),
        (PLAIN.encode("cp1252"), "cp1252"),
    ],
    ids=["plain", "excel", "semicolons", "tabs", "utf-16", "code-page"],
)  # fmt: skip
def test_any_writing_gives_the_same_cells(tmp_path, data, encoding):
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    assert read(path, encoding) == (("image", "label"), [("a.png", "x"), ("b,c.png", "y")], [])


class Frame:
    """What a DataFrame has of a mapping."""

    def __init__(self, **columns):
        self._columns = columns

    def keys(self):
        return list(self._columns)

    def __getitem__(self, name):
        return np.array(self._columns[name])


def test_columns_in_memory_are_read_as_a_csv_would_be():
    header, rows, _ = read(
        {"id": ["a", "b", "c"], "grade": [1.0, None, float("nan")], "is_ill": [True, 0, 2.5]}
    )
    assert header == ("id", "grade", "is_ill")
    assert rows == [("a", "1", "1"), ("b", "", "0"), ("c", "", "2.5")]
    assert read(Frame(id=["a"], grade=[2]))[1] == [("a", "2")]
    assert table_digest({"id": ["a"], "x": ["bc"]}) != table_digest({"id": ["ab"], "x": ["c"]})


def test_a_file_is_known_by_the_digest_of_its_bytes(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("abc")
    assert table_digest(path).startswith("ba7816bf")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"id": ["a"]}, "have fewer than two columns"),
        ({"id": ["a"], "x": []}, "have columns of different lengths"),
        (7, "are a int"),
    ],
)
def test_what_is_no_columns_is_refused(source, reason):
    with pytest.raises(RefusedError, match=f"labels: {reason}"):
        read(source)


HOSTILE = {
    "ten-million-columns": (b"a," * 10_000_000, "has a row of 1,048,576 characters or more"),
    "many-columns": (b"a," * 10_001 + b"b", "has 10,002 columns, more than 10,000"),
    "a-long-field": (b"a,b\nx," + b"y" * 2_000_000, "field larger than field limit|has a row of"),
    "an-open-quote": (b'a,b\n"' + b"y\n" * 2_000_000, "field larger than field limit|has a row of"),
    "a-row-of-many-lines": (b"a,b\n" + b'"\n",' * 500_000, "has a row of"),
    "nul": (b"a,b\nx\0,y\n", "contains a NUL"),
    "utf-16": ("a,b\nx,y\n".encode("utf-16"), r"is not UTF-8 \(byte 0xff\)"),
    "latin": (b"a,b\nM\xfcller,y\n", r"is not UTF-8 \(byte 0xfc\)"),
    "one-column": (b"root:x:0:0\n", "has not two columns"),
    "empty": (b"", "is empty"),
    "bad-quotes": (b'a,b\n"x"y,z\n', "is not CSV, line 2"),
    "a-quote-that-never-ends": (b'a,b\n"x,y\n', "is not CSV, line 2"),
    "one-long-line": (b"a;b" * 500_000, "has a row of"),
    "utf-32": ("a,b\nx,y\n".encode("utf-32"), r"is not UTF-8 \(byte 0xff\)"),
    "a-picture": (b"\x89PNG\r\n\x1a\n\0\0", r"is not UTF-8 \(byte 0x89\)"),
    "half-a-character": (b"a,b\nx,\xe4\xb8", "is not UTF-8"),
    "a-mark-alone": (b"\xef\xbb\xbf", "is empty"),
    "separators-alone": (b";" * 20_000, "has 20,001 columns"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tables_are_refused_in_a_line_and_little_memory(tmp_path, name):
    data, reason = HOSTILE[name]
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError, match=f"t.csv: .*({reason})") as refusal:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()
    assert len(refusal.value.lines()) == 1
    assert "yyy" not in str(refusal.value)


def test_files_that_are_no_text_are_refused(tmp_path, monkeypatch):
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    with pytest.raises(RefusedError, match=r"is no CSV \(save it as CSV"):
        read(tmp_path / "t.xlsx")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(RefusedError, match="not a regular file"):
        read(tmp_path / "pipe.csv")
    with open(tmp_path / "huge.csv", "wb") as file:
        file.truncate(2**30)
    with pytest.raises(RefusedError, match="is larger than 256 MiB"):
        read(tmp_path / "huge.csv")
    (tmp_path / "t.csv").write_text(PLAIN)
    for encoding in ("no-such", "base64"):
        with pytest.raises(RefusedError, match=r"--table-encoding: .* is not an encoding of text"):
            read(tmp_path / "t.csv", encoding)
    monkeypatch.setattr(module, "MAX_ROWS", 1)
    with pytest.raises(RefusedError, match="has more than 1 rows"):
        read(tmp_path / "t.csv")


def test_rows_of_another_width_are_left_out_and_counted(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n\n3\n4,5,6\n7,8\n")
    assert read(path)[1:] == ([("1", "2"), ("7", "8")], ["4", "5"])


@pytest.mark.parametrize(
    ("name", "limit", "data", "reason"),
    [
        ("MAX_CELLS", 100, b"a,b\n" + b"," * 50 + b"\n" + b"," * 50 + b"\n", "more than 100 cells"),
        ("MAX_CELLS", 100, b"a,b\n" + b"x,y\n" * 50, "more than 100 cells"),
        ("MAX_LINES", 100, b"a,b\n" + b'"\n\n\n",x\n' * 50, "more than 100 lines"),
        ("MAX_LINES", 100, b"a,b\n" + b"\n" * 200, "more than 100 lines"),
    ],
    ids=["wide", "long", "of-lines", "empty"],
)
def test_what_would_take_long_is_refused(tmp_path, monkeypatch, name, limit, data, reason):
    """Files of 256 MiB hold 128 million cells, or lines."""
    monkeypatch.setattr(module, name, limit)
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(RefusedError, match=f"t.csv: has {reason}") as refusal:
        read(tmp_path / "t.csv")
    assert len(refusal.value.lines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", [b"," * 9_999 + b"\n", b'"' + b"\n" * 100_000 + b'",\n'], ids=["cells", "lines"]
)
def test_the_longest_tables_are_refused_in_seconds_of_computing(tmp_path, row):
    resource = pytest.importorskip("resource")  # of POSIX
    head = b",".join(b"%d" % number for number in range(10_000 if len(row) == 10_000 else 2)) + b"\n"
    (tmp_path / "t.csv").write_bytes(head + row * ((2**28 - len(head)) // len(row)))
    code = (
        "import collections, sys; from medjax.data.tables.open_table import open_table\n"
        "with open_table(sys.argv[1], flag='--labels') as table: collections.deque(table.rows, maxlen=0)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "t.csv")], capture_output=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert b"RefusedError" in done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5
    assert after.ru_maxrss * 1024 < 2**30
