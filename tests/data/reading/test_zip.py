"""Zip archives as listings; what is refused is in test_hostile.py."""

import re
import struct
import zipfile
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medjax.data.reading import zip as zips
from medjax.data.reading.listing import UnfitError
from medjax.data.reading.zip import open_zip
from tests.sample_files import small_set, write_zip


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read_in_place(tmp_path, method):
    path = write_zip(tmp_path / "set.zip", {"cat/": b"", **small_set()}, method)
    with open_zip(path) as listing:
        assert [entry.name for entry in listing.entries] == ["cat", *small_set()]
        assert [entry.is_folder for entry in listing.entries] == [True, *[False] * 4]
        read = dict(listing.read([3, 1]))
    assert list(read) == [1, 3]
    assert read[1] == small_set()["cat/0.png"]


def test_backslashes_of_windows_separate(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("set+", "set+cat+1.png", "set+..+x.png"):
            info = zipfile.ZipInfo(name)
            info.create_system = 0
            archive.writestr(info, b"x")
    path.write_bytes(
        re.sub(rb"set\+(?:(?:cat|\.\.)\+)?", lambda match: match[0].replace(b"+", b"\\"), path.read_bytes())
    )
    with open_zip(path) as listing:
        assert [(entry.name, entry.is_folder) for entry in listing.entries[:2]] == [
            ("set", True),
            ("set/cat/1.png", False),
        ]
        assert "'..'" in listing.entries[2].fault.reason
        assert dict(listing.read([1])) == {1: b"x"}


def test_an_archive_behind_other_bytes_and_with_a_comment(tmp_path):
    path = write_zip(tmp_path / "set.zip", small_set())
    path.write_bytes(b"program" * 100 + path.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"PK " * 100
    with open_zip(path) as listing:
        assert all(entry.fault is None for entry in listing.entries)
        assert [data for _, data in listing.read(range(4))] == list(small_set().values())


@pytest.mark.parametrize("is_zip64", [False, True])
def test_the_table_of_members_is_measured_before_it_is_read(tmp_path, monkeypatch, is_zip64):
    path = write_zip(tmp_path / "set.zip", small_set())
    if is_zip64:
        data = path.read_bytes()
        end = data.rindex(b"PK\x05\x06")
        count, size, start = struct.unpack_from("<HLL", data, end + 10)
        record = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
        tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, 2**32 - 1, 2**32 - 1, 0)
        path.write_bytes(data[:end] + record + locator + tail)
    with open_zip(path) as listing:
        assert len(listing.entries) == 4
    monkeypatch.setattr(zips, "MAX_DIRECTORY_BYTES", 100)
    with pytest.raises(UnfitError, match="too many members"), open_zip(path):
        pass


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_quick_way_is_taken_and_gives_what_zipfile_does(tmp_path, monkeypatch, method):
    path = write_zip(tmp_path / "set.zip", {**small_set(), "empty": b""}, method)
    monkeypatch.setattr(zips, "_read_member", lambda *_: pytest.fail("not in perfect order"))
    with open_zip(path) as listing, zipfile.ZipFile(path) as archive:
        assert [data for _, data in listing.read(range(5))] == [archive.read(m) for m in archive.infolist()]


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_damage_reads_as_zipfile_reads_it(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("zips") / "set.zip"
    method = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    whole = bytearray(write_zip(path, {"a/1": b"one" * 9, "b/2": b"two" * 9}, method).read_bytes())
    for _ in range(data.draw(st.integers(1, 2))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    with ExitStack() as stack:
        try:
            listing = stack.enter_context(open_zip(path))
        except UnfitError:
            return  # refused before any member is read
        wanted = [entry.key for entry in listing.entries if entry.fault is None and not entry.is_folder]
        quick = outcome(listing, wanted)
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(zips, "_read_sound", lambda *_: None)
        assert quick == outcome(listing, wanted)


def outcome(listing, wanted):
    """What is read, or why nothing is."""
    try:
        return list(listing.read(wanted))
    except UnfitError as error:
        return error.fault
