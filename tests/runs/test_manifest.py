"""What is in a checkpoint's folder is looked at before it is opened, and compared with the manifest."""

import os

import pytest

from medjax.errors import RefusedError
from medjax.runs.manifest import list_files, manifest_path, read_manifest, require_files, write_manifest


@pytest.fixture
def written(tmp_path):
    directory = tmp_path / "epoch_0001"
    (directory / "inner").mkdir(parents=True)
    (directory / "a").write_bytes(b"abc")
    (directory / "inner" / "b").write_bytes(b"")
    write_manifest(directory)
    return directory


def check(directory, max_bytes=None):
    files = list_files(directory, max_bytes)
    require_files(directory, read_manifest(directory), files, files)
    return files


def test_files_are_listed_with_their_sizes(written):
    assert check(written, 3) == {"a": 3, "inner/b": 0}
    assert manifest_path(written).name == "epoch_0001.sha256"


@pytest.mark.parametrize("kind", ["link", "link to a folder", "pipe"])
def test_links_and_special_files_are_refused(written, kind):
    path = written / "inner" / "c"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/" if "folder" in kind else written / "a")
    with pytest.raises(RefusedError, match="inner/c: is a link or a special file"):
        list_files(written)


def test_more_bytes_than_are_allowed_are_refused_unread(written):
    with pytest.raises(RefusedError, match="holds 3 bytes, more than the 2"):
        list_files(written, 2)
    os.truncate(written / "a", 20 * 2**30)
    with pytest.raises(RefusedError, match="a: has 21,474,836,480 bytes, more than 16,777,216"):
        list_files(written)


def test_digests_are_compared_of_what_is_read_only(written):
    (written / "a").write_bytes(b"abd")
    files = list_files(written)
    require_files(written, read_manifest(written), files, {"inner/b"})
    with pytest.raises(RefusedError, match="a: is damaged"):
        require_files(written, read_manifest(written), files, {"a"})


@pytest.mark.parametrize("content", [None, b"\xff\xfe", "pipe"])
def test_without_a_manifest_nothing_is_vouched_for(written, content):
    path = manifest_path(written)
    path.unlink()
    if content == "pipe":
        os.mkfifo(path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(
        RefusedError, match=r"epoch_0001\.sha256: (the manifest cannot be read|is not a regular file)"
    ):
        read_manifest(written)
