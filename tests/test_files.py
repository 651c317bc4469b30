import os
import secrets
import stat

import pytest

from medjax import files
from medjax.errors import RefusedError
from medjax.files import (
    PARTIAL,
    is_partial,
    open_bounded,
    open_folder,
    open_regular,
    read_bounded,
    require_folder,
    write_whole,
)


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


@pytest.fixture(params=["descriptors", "paths"])
def either_way(request, monkeypatch):
    """With descriptors of folders, and as where there are none."""
    if request.param == "paths":
        monkeypatch.setattr(files, "_HAS_DESCRIPTORS", False)


@pytest.mark.usefixtures("either_way")
def test_a_link_above_the_root_is_followed_and_one_below_it_is_not(tmp_path):
    (tmp_path / "run" / "real").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "named").symlink_to("run")
    (tmp_path / "run" / "figures").symlink_to(tmp_path / "elsewhere")
    root = tmp_path / "named"
    with write_whole(root / "real" / "file", root=root) as file:
        file.write(b"content")
    assert (tmp_path / "run" / "real" / "file").read_bytes() == b"content"
    with (
        pytest.raises(RefusedError, match="figures: is a symbolic link"),
        write_whole(root / "figures" / "file", root=root),
    ):
        pytest.fail("the block was entered")
    with (
        pytest.raises(RefusedError, match="figures: is a symbolic link"),
        open_folder(root / "figures" / "new", root=root, create=True),
    ):
        pytest.fail("the block was entered")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="needs descriptors of folders")
def test_a_link_that_takes_the_place_of_an_open_folder_is_not_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "old").touch()
    (tmp_path / "folder" / "old").touch()
    with open_folder(tmp_path / "folder") as folder, write_whole(tmp_path / "folder" / "new") as file:
        file.write(b"content")
        (tmp_path / "folder").rename(tmp_path / "moved")
        (tmp_path / "folder").symlink_to(tmp_path / "elsewhere")
        folder.remove("old")
    assert [path.name for path in (tmp_path / "moved").iterdir()] == ["new"]
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["old"]


@pytest.mark.skipif(os.name != "posix", reason="needs descriptors of folders")
def test_a_link_that_comes_after_a_folder_was_looked_at_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "folder").symlink_to("elsewhere")
    monkeypatch.setattr(files.Folder, "status", lambda *_: None)
    with pytest.raises(OSError, match="folder"), open_folder(tmp_path / "folder", root=tmp_path):
        pytest.fail("the block was entered")


@pytest.mark.usefixtures("either_way")
def test_what_is_removed_is_never_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    (tmp_path / "run" / "inner").mkdir(parents=True)
    for link in ("run/link", "run/inner/link"):
        (tmp_path / link).symlink_to(tmp_path / "elsewhere")
    with open_folder(tmp_path / "run") as folder:
        for name in ("link", "inner", "nothing"):
            folder.remove(name)
        assert folder.names() == []
    assert (tmp_path / "elsewhere" / "file").exists()


@pytest.mark.usefixtures("either_way")
def test_missing_folders_are_made_below_the_root_alone_and_looked_at_first(tmp_path):
    looked_at = []
    with open_folder(
        tmp_path / "a" / "b", root=tmp_path, create=True, mode=0o700, check=looked_at.append
    ) as folder:
        assert folder.path == tmp_path / "a" / "b"
        assert (folder.as_path() / ".").samefile(tmp_path / "a" / "b")
    assert [each.path for each in looked_at] == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    with pytest.raises(FileNotFoundError), open_folder(tmp_path / "c" / "d", create=True):
        pytest.fail("the block was entered")

    def refuse_all(folder):
        raise RefusedError(())

    with (
        pytest.raises(RefusedError),
        open_folder(tmp_path / "e", root=tmp_path, create=True, check=refuse_all),
    ):
        pytest.fail("the block was entered")
    assert not (tmp_path / "e").exists()


@pytest.mark.usefixtures("either_way")
def test_an_error_names_the_whole_path(tmp_path):
    (tmp_path / "a file").touch()
    with pytest.raises(NotADirectoryError, match="a file"), write_whole(tmp_path / "a file" / "x"):
        pytest.fail("the block was entered")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught, write_whole(tmp_path / "folder"):
        pass
    assert caught.value.filename == str(tmp_path / "folder")


def test_names_of_temporary_files(tmp_path):
    with write_whole(tmp_path / "run.json"):
        (temporary,) = tmp_path.iterdir()
        assert is_partial(temporary.name)
    for name in (
        "run.json",
        "run.json.partial",
        "x.0f1e.partial",
        "notes.partial",
        ".0123456789abcdef.partial",
    ):
        assert not is_partial(name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_only_a_regular_file_is_opened_and_a_pipe_is_not_waited_for(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    os.mkfifo(tmp_path / "pipe")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"content"
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(os.devnull)


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
