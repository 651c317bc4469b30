"""The whole list of problems, in a file."""

import io

import pytest

from medjax.csv_text import read_csv
from medjax.errors import Problem, RefusedError
from medjax.problem_list import as_csv, lines_of, write_problems

MANY = [Problem(f"cat/{n}.png", "is empty", "copy it again") for n in range(25)]


def rows(text):
    return list(read_csv(io.StringIO(text, newline="")))


def test_a_table_survives_any_name_and_holds_no_formula():
    names = ["=1+1", "a\r\nb", 'quote"d, x', "\x1b[31m", "-x"]
    text = as_csv([Problem(name, "is empty", "copy it") for name in [*names, "half \ud800"]])
    assert "\n=" not in text
    assert rows(text)[0].keys() == {"id", "reason", "remedy"}
    assert [row["id"] for row in rows(text)] == [*names, "half \\ud800"]


def test_a_long_refusal_names_the_file_with_all_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = lines_of(RefusedError(MANY))
    assert len(lines) == 4
    assert lines[-1] == "… 25 problems in all; all are listed in medjax-problems.csv"
    found = rows((tmp_path / "medjax-problems.csv").read_text(encoding="utf-8"))
    assert [row["id"] for row in found] == [problem.name for problem in MANY]


def test_a_refusal_that_is_shown_whole_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(lines_of(RefusedError(MANY[:20]))) == 20
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_or_written_through_a_link(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "medjax-problems.csv").write_text("mine")
    (tmp_path / "medjax-problems-1.csv").symlink_to(tmp_path / "elsewhere")
    assert str(write_problems(MANY)) == "medjax-problems-2.csv"
    assert (tmp_path / "medjax-problems.csv").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture
def _unwritable(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("medjax.problem_list._write_new", refuse)


@pytest.mark.usefixtures("_unwritable")
def test_elsewhere_if_the_working_directory_takes_none(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = write_problems(MANY)
    assert path.parent == tmp_path
    assert len(rows(path.read_text(encoding="utf-8"))) == 25


@pytest.mark.usefixtures("_unwritable")
def test_nowhere_if_nothing_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    assert write_problems(MANY) is None
    assert lines_of(RefusedError(MANY))[-1] == "… 25 problems in all"
