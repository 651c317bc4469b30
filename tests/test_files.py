import os
import secrets
import stat

import pytest

from medjax.errors import RefusedError
from medjax.files import PARTIAL, open_bounded, read_bounded, require_folder, write_whole


def test_the_new_content_replaces_the_old_one_at_the_end(tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(b"old")
    with write_whole(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        (temporary,) = set(tmp_path.iterdir()) - {path}
        assert temporary.name.startswith("run.json.")
        assert temporary.name.endswith(PARTIAL)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_written_can_be_read_back_before_it_appears(tmp_path):
    with write_whole(str(tmp_path / "file")) as file:
        file.write(b"content")
        file.seek(0)
        assert file.read() == b"content"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail():
        with write_whole(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_rename_that_fails_leaves_nothing(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(IsADirectoryError), write_whole(path) as file:
        file.write(b"new")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("target", ["other", "missing"])
def test_nothing_is_written_through_a_link(tmp_path, target):
    (tmp_path / "other").write_bytes(b"untouched")
    (tmp_path / "link").symlink_to(tmp_path / target)
    with pytest.raises(RefusedError, match=r"link: is a symbolic link"), write_whole(tmp_path / "link"):
        pytest.fail("the block was entered")
    assert (tmp_path / "other").read_bytes() == b"untouched"
    assert not (tmp_path / "missing").exists()


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "token_hex", lambda _: "known")
    (tmp_path / f"file.known{PARTIAL}").symlink_to(tmp_path / "other")
    with pytest.raises(FileExistsError), write_whole(tmp_path / "file"):
        pytest.fail("the block was entered")
    assert not (tmp_path / "other").exists()


def test_two_writers_at_once_do_not_mix(tmp_path):
    path = tmp_path / "file"
    with write_whole(path) as first:
        first.write(b"first")
        with write_whole(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_permissions_are_those_of_any_new_file_unless_given(tmp_path):
    (tmp_path / "plain").touch()
    with write_whole(tmp_path / "file"), write_whole(tmp_path / "private", mode=0o600):
        pass
    plain, default, private = (
        stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "file", "private")
    )
    assert (default, private) == (plain, 0o600)


@pytest.mark.parametrize("sync", [True, False])
def test_the_content_is_synced_where_asked_for(tmp_path, monkeypatch, sync):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("sync"))
    with write_whole(tmp_path / "file", sync=sync) as file:
        file.write(b"content")
    assert calls == ["sync"] * sync


def test_a_regular_file_is_read_up_to_the_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert read_bounded(path, 7) == b"content"
    with pytest.raises(RefusedError, match="has 7 bytes, more than the 6 that it may need"):
        read_bounded(path, 6)
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "none", 6)


@pytest.mark.parametrize("kind", ["link", "pipe", "socket", "folder"])
def test_nothing_but_a_regular_file_is_opened(tmp_path, kind):
    path = tmp_path / "file"
    if kind == "link":
        (tmp_path / "target").touch()
        path.symlink_to(tmp_path / "target")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    else:
        path.mkdir()
    with pytest.raises(
        RefusedError, match="is a symbolic link" if kind == "link" else "is not a regular file"
    ):
        read_bounded(path, 100)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_file_that_is_replaced_just_before_it_is_opened_is_not_read(tmp_path, kind, monkeypatch):
    path, status = tmp_path / "file", tmp_path.joinpath("other")
    status.touch()
    if kind == "link":
        path.symlink_to(status)
    else:
        os.mkfifo(path)
    monkeypatch.setattr(os, "lstat", lambda _: os.stat(status))
    with pytest.raises((RefusedError, OSError)), open_bounded(path, 100):
        pass


def test_a_folder_is_no_link(tmp_path):
    require_folder(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    for name, reason in (("link", "is a symbolic link"), ("file", "is not a folder")):
        with pytest.raises(RefusedError, match=reason):
            require_folder(tmp_path / name)
