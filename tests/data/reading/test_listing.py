"""Names of members and files as ids."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax.data.reading.listing import Fault, UnfitError, max_unpacked_bytes, problem_of, tidy_name


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("cat/1.png", "cat/1.png"),
        ("./cat//1.png", "cat/1.png"),
        ("cat/", "cat"),
        ("e\u0301.png", "\u00e9.png"),
    ],
)
def test_sound_names_are_tidied(raw, name):
    assert tidy_name(raw) == (name, None)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("/etc/passwd", "absolute"),
        ("C:\\x.png", "absolute"),
        ("c:x.png", "absolute"),
        ("../x.png", "'..'"),
        ("cat/..", "'..'"),
        ("cat\\x.png", "backslash"),
        ("cat/\0.png", "NUL"),
        ("cat/\udcff.png", "UTF-8"),
        ("", "no name"),
        ("./.", "no name"),
    ],
)
def test_unsound_names_are_shown_as_they_are(raw, reason):
    name, fault = tidy_name(raw)
    assert name == raw
    assert reason in fault.reason


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\\")))
def test_the_short_way_agrees_with_the_long_one(raw):
    name, fault = tidy_name(raw)
    if fault is None:
        assert name == unicodedata.normalize("NFC", name)
        assert not {"", ".", ".."} & set(name.split("/"))
        assert tidy_name(name) == (name, None)
        assert tidy_name("./" + raw) == (name, None)


def test_a_problem_names_the_option_that_leaves_the_file_out():
    problem = problem_of("it's/a.png", Fault("is bad", "mend it"))
    assert problem.remedy == "mend it, or --ignore 'it'\"'\"'s/a.png'"
    assert problem_of("a", Fault("is bad", "mend it"), can_ignore=False).remedy == "mend it"


def test_an_unfit_error_carries_its_fault():
    assert UnfitError("is bad", "mend it").fault == Fault("is bad", "mend it")


def test_what_may_come_out_of_an_archive_grows_with_it(tmp_path):
    (tmp_path / "a").write_bytes(bytes(1000))
    assert max_unpacked_bytes(tmp_path / "a", 30) == 32 * 2**20 + 30_000
