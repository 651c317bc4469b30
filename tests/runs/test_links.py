"""A run directory is refused for whatever in it could lead elsewhere, and none of it is touched."""

import os
import socket

import pytest

from medjax.errors import RefusedError
from medjax.runs.links import require_no_links


@pytest.fixture
def run(tmp_path):
    """A directory with files at every depth that a run has, and a folder outside."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    checkpoint = tmp_path / "run" / "checkpoints" / "fold_00" / "epoch_0001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "array").touch()
    for name in ("run.json", ".lock"):
        (tmp_path / "run" / name).touch()
    return tmp_path / "run"


def test_plain_files_and_folders_pass_and_the_run_itself_may_be_reached_by_a_link(run, tmp_path):
    require_no_links(run)
    (tmp_path / "latest").symlink_to("run")
    require_no_links(tmp_path / "latest")
    os.link(run / "run.json", tmp_path / "backup.json")
    require_no_links(run)


@pytest.mark.parametrize("place", ["figures", "checkpoints/fold_01", "checkpoints/fold_00/epoch_0001/x"])
@pytest.mark.parametrize("target", ["elsewhere", "elsewhere/file", "nothing"])
def test_a_link_is_named_wherever_it_lies_and_leads(run, tmp_path, place, target):
    (run / place).symlink_to(tmp_path / target)
    with pytest.raises(RefusedError) as caught:
        require_no_links(run)
    (line,) = caught.value.lines()
    assert line.startswith(f"{run / place}: is a link")


def test_every_link_has_a_line(run):
    for name in ("b", "a"):
        (run / name).symlink_to(run)
    with pytest.raises(RefusedError) as caught:
        require_no_links(run)
    assert [problem.name for problem in caught.value.problems] == [str(run / "a"), str(run / "b")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_is_neither_file_nor_folder_is_refused(run, kind, monkeypatch):
    monkeypatch.chdir(run)  # the name of a socket may not be long
    if kind == "pipe":
        os.mkfifo("metrics.json")
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("metrics.json")
    with pytest.raises(RefusedError, match="is a pipe, socket or device"):
        require_no_links(run)


def test_a_lock_that_is_another_file_too_is_refused(run, tmp_path):
    (run / ".lock").unlink()
    os.link(tmp_path / "elsewhere" / "file", run / ".lock")
    with pytest.raises(RefusedError, match=r"\.lock: is another file too"):
        require_no_links(run)
