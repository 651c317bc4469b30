"""Names of files and members: valid, junk, documents, ignored, fit for a class."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax.data.reading.listing import Entry
from medjax.data.reading.names import (
    class_name_fault,
    drop_junk,
    is_document,
    is_ignored,
    is_note,
    is_table,
    tidy_name,
)


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


def test_junk_is_skipped_and_counted():
    tree = ["cat/1.png", "cat/2.png", "dog/1.png", "cat/.hidden.png"]
    junk = [
        "__MACOSX/x",
        "cat/._1.png",
        "cat/.DS_Store",
        "Thumbs.db",
        "dog/thumbs.db",
        ".git/a/b",
        ".gitkeep",
        "cat/1.png:Zone.Identifier",
        "cat/2.png\uf03aZone.Identifier",
        "cat/.ipynb_checkpoints/1-checkpoint.png",
        "cat/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg",
        "$RECYCLE.BIN/1.png",
        "~$labels.xlsx",
        "Icon\r",
    ]
    visible, skipped = drop_junk([Entry(name, key) for key, name in enumerate([*tree, *junk])])
    assert skipped == len(junk)
    assert {entry.name for entry in visible if not entry.is_folder} == set(tree)


def test_a_pattern_is_first_of_all_a_name():
    assert is_ignored("cat/a[1].png", ["cat/a[1].png"])
    assert is_ignored("cat/\u00e9.png", ["cat/e\u0301.png"])
    assert not is_ignored("cat/1.png", [])


@pytest.mark.parametrize("name", ["README", "licence", "labels.csv", "Report.PDF", "notes.txt"])
def test_documents_are_told_by_their_names(name):
    assert is_document(name)
    assert not is_document(f"scan-{name}.png")


def test_among_images_only_endings_tell_documents():
    assert all(map(is_note, ["README", "notes.txt", "labels.CSV", "1.xml"]))
    assert is_document("notice 1")
    assert not any(map(is_note, ["notice 1", "1.png", "1", "readme.png"]))


def test_tables_are_told_by_their_names():
    assert all(map(is_table, ["labels.csv", "a.XLSX", "b.tsv"]))
    assert not any(map(is_table, ["labels.txt", "csv", "a.csv.png"]))


@pytest.mark.parametrize("name", ["cat", "größe 2", "a=b", "1+1"])
def test_ordinary_names_are_fit_for_classes(name):
    assert class_name_fault(name) is None


@pytest.mark.parametrize("name", ["=1+1", "+a", "-a", "@a", "a\tb", "a\x1b"])
def test_names_that_a_spreadsheet_would_run_or_hide_are_not(name):
    assert class_name_fault(name) is not None
