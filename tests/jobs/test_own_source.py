"""A record that names a place on this machine makes nothing of it known, and little of it read."""

import os

import pytest

from medjax.errors import RefusedError, refuse
from medjax.jobs import own_source as module
from medjax.jobs.own_source import own_source, unquoted


def record(path, n=3, *, is_synthetic=False):
    return {"data": {"path": None if path is None else str(path), "n": n, "is_synthetic": is_synthetic}}


def test_a_folder_with_some_files_more_than_images_is_the_runs(tmp_path):
    for number in range(9):
        (tmp_path / f"{number}.png").touch()
    assert own_source(tmp_path, record(tmp_path)) == str(tmp_path)
    assert own_source(tmp_path, record("/etc", is_synthetic=True)) == "phantom"


def test_a_folder_with_far_more_files_is_not_walked(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MORE_ENTRIES", 10)
    (tmp_path / "inner").mkdir()
    for number in range(80):
        (tmp_path / "inner" / f"{number}.png").touch()
    seen = []
    real = os.scandir

    def scandir(path):
        seen.append(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(
        RefusedError, match=r"holds more than 70 files for the 3 images .*medjax evaluate .* DATA"
    ):
        own_source(tmp_path, record(tmp_path))
    assert len(seen) == 2
    assert own_source(tmp_path, record(tmp_path, n=4)) == str(tmp_path)


@pytest.mark.parametrize("kind", ["link", "pipe", "text", "sparse", "gone", "python"])
def test_what_cannot_be_a_source_is_refused_unopened(tmp_path, kind):
    path = tmp_path / ("set.zip" if kind == "sparse" else "file")
    if kind == "link":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "text":
        path.write_text("secret")
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(20 * 2**30)
    reason = {"sparse": "has more than", "gone": "is not there", "python": "given in Python"}
    with pytest.raises(RefusedError, match=reason.get(kind, "is not a kind of file")):
        own_source(tmp_path, record(None if kind == "python" else path))


@pytest.mark.parametrize("flag", ["--groups", "--labels"])
def test_a_table_is_not_quoted(tmp_path, flag):
    path = tmp_path / "shadow"
    for name, reason in ((path, "has the columns root:secret"), ("root:secret", f"has a row in {path}")):
        with pytest.raises(RefusedError) as refusal, unquoted(path, flag):
            raise refuse(name, reason, "x")
        assert "secret" not in str(refusal.value)
        assert flag in str(refusal.value)
        assert refusal.value.__cause__ is None
    with pytest.raises(RefusedError, match="why"), unquoted(path, flag):
        raise refuse("other", "why", "x")
