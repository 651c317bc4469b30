"""Folders on disk as listings."""

import os

import pytest

from medjax.data.reading import folder as folders
from medjax.data.reading.folder import list_folder, read_file
from medjax.data.reading.listing import Fault, UnfitError
from tests.sample_files import small_set, write_folder


@pytest.fixture
def root(tmp_path):
    return write_folder(tmp_path / "set", small_set())


def test_everything_is_listed_in_order(root):
    listing = list_folder(root)
    assert [entry.name for entry in listing.entries] == sorted([*small_set(), "cat", "dog"])
    assert [entry.name for entry in listing.entries if entry.is_folder] == ["cat", "dog"]
    assert dict(listing.read(small_set())) == small_set()


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "new").touch(),
        lambda root: (root / "cat/0.png").unlink(),
        lambda root: (root / "cat/0.png").rename(root / "cat/9.png"),
        lambda root: (root / "cat/0.png").write_bytes(b"other"),
        lambda root: os.utime(root / "cat/0.png", ns=(0, 0)),
        lambda root: root.rename(root.with_name("other")),
    ],
)
def test_the_stamp_changes_with_names_sizes_and_times(root, change):
    before = list_folder(root).stamp
    assert list_folder(root).stamp == before
    change(root)
    assert list_folder(root if root.exists() else root.with_name("other")).stamp != before


def test_the_stamp_changes_though_size_and_time_are_put_back(root):
    before, status = list_folder(root).stamp, (root / "cat/0.png").stat()
    (root / "cat/0.png").write_bytes(bytes(status.st_size))
    os.utime(root / "cat/0.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list_folder(root).stamp != before


def test_links_to_files_are_followed_only_if_asked(root):
    (root / "cat/link.png").symlink_to(root / "dog/0.png")
    entry = {entry.name: entry for entry in list_folder(root).entries}["cat/link.png"]
    assert entry.fault.reason == "is a symbolic link"
    listing = list_folder(root, follow_links=True)
    assert all(entry.fault is None for entry in listing.entries)
    assert dict(listing.read(["cat/link.png"])) == {"cat/link.png": small_set()["dog/0.png"]}


def test_loops_of_links_end(root):
    for name in ("cat", "dog"):
        (root / name / "loop").symlink_to(root)
    for follow_links in (False, True):
        listing = list_folder(root, follow_links=follow_links)
        assert len(listing.entries) == 8
        assert {entry.name for entry in listing.entries if entry.fault} == {"cat/loop", "dog/loop"}


def test_links_to_folders_inside_the_root_are_followed_if_asked(root):
    write_folder(root, {".store/a/1.png": b"1", ".store/a/deep/2.png": b"2"})
    (root / "bird").symlink_to(".store/a")
    listing = list_folder(root, follow_links=True)
    assert all(entry.fault is None for entry in listing.entries)
    assert dict(listing.read(["bird/1.png", "bird/deep/2.png"])) == {
        "bird/1.png": b"1",
        "bird/deep/2.png": b"2",
    }
    before = listing.stamp
    (root / ".store/a/deep/3.png").write_bytes(b"3")
    assert list_folder(root, follow_links=True).stamp != before
    assert {entry.name for entry in list_folder(root).entries if entry.fault} == {"bird"}


def test_a_folder_is_listed_through_links_once(root):
    """So the number of entries is at most doubled, however links lead into each other."""
    for name in ("a", "b", "c"):
        write_folder(root, {f".store/{name}/deep/1.png": b"1"})
    for name in ("a", "b", "c"):
        for other in ("a", "b", "c"):
            (root / f".store/{name}/to_{other}").symlink_to(root / ".store" / other)
        (root / f"link_{name}").symlink_to(f".store/{name}/deep")
    listing = list_folder(root, follow_links=True)
    read = [
        entry.name for entry in listing.entries if entry.fault is None and entry.name.endswith("deep/1.png")
    ]
    assert len(read) <= 6
    faults = {entry.fault.reason for entry in listing.entries if entry.fault}
    assert faults == {
        "is a symbolic link to a folder around it",
        "is a symbolic link to a folder that another link leads to",
    }


@pytest.mark.parametrize("target", ["../elsewhere", "/"])
def test_links_to_folders_outside_are_not_followed(root, target):
    write_folder(root.parent / "elsewhere", small_set())
    (root / "bird").symlink_to(target)
    entry = {entry.name: entry for entry in list_folder(root, follow_links=True).entries}["bird"]
    assert "outside the data" in entry.fault.reason


def test_a_walk_stays_in_its_file_system(root, monkeypatch):
    real = os.stat

    def stat(path, **options):
        found = real(path, **options)
        return os.stat_result((*found[:2], found[2] + str(path).endswith("dog"), *found[3:]))

    monkeypatch.setattr(os, "stat", stat)
    entries = {entry.name: entry for entry in list_folder(root).entries}
    assert entries["dog"].fault.reason == "is on another file system"
    assert not any(name.startswith("dog/") for name in entries)
    assert entries["cat"].fault is None


def test_a_walk_over_a_whole_disk_ends(root, monkeypatch):
    monkeypatch.setattr(folders, "MAX_ENTRIES", 3)
    with pytest.raises(UnfitError, match="holds more than 3 files and folders"):
        list_folder(root)


def test_a_file_that_has_gone_or_grown_is_a_fault(root, monkeypatch):
    assert "No such file" in read_file(root / "nothing").reason
    monkeypatch.setattr(folders, "MAX_FILE_BYTES", 50)
    assert isinstance(read_file(root / "cat/0.png"), Fault)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_file_that_has_become_a_pipe_is_a_fault_and_is_not_waited_for(root):
    listing = list_folder(root)
    (root / "cat/0.png").unlink()
    os.mkfifo(root / "cat/0.png")
    found = dict(listing.read([entry.key for entry in listing.entries if not entry.is_folder]))
    assert found.pop("cat/0.png").reason == "cannot be read: not a regular file"
    assert found
    assert all(isinstance(data, bytes) for data in found.values())


def test_the_folder_itself_must_be_readable(tmp_path):
    with pytest.raises(UnfitError, match="cannot be read"):
        list_folder(tmp_path / "nothing")
