"""Broken and hostile sources: each is refused by name and reason, quickly, in little memory, leaving nothing behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medjax.config import DataConfig
from medjax.data.load import load
from medjax.data.load_images import load_images
from medjax.errors import RefusedError, printable
from tests.hostile_cases import CASES, PNG, Case
from tests.sample_files import (
    medmnist_arrays,
    png,
    small_set,
    snapshot,
    write_folder,
    write_npz,
    write_tar,
    write_zip,
)

MAX_SECONDS = 5.0
MAX_RESIDENT_BYTES = 2**30
PROGRAM = (sys.executable, "-m", "medjax", "train")

IDS = [case.id for case in CASES]
# 150,000 headers or elements, each of which runs through type checks here: left to the program of its own, which has none.
SLOW_HERE = ("gzip_bomb_of_headers", "dicom_of_elements_in_a_sequence", "dicom_of_pieces")
QUICK_CASES = [case for case in CASES if case.id not in SLOW_HERE]
ARCHIVES = ("tar_", "zip_", "gzip", "xz")


@pytest.mark.parametrize("case", QUICK_CASES, ids=lambda case: case.id)
def test_refused(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = case.make(tmp_path)
    before = snapshot(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RefusedError) as refusal:
        load(source, DataConfig(follow_links=case.follow_links))
    lines = str(refusal.value).split("\n")
    assert len(lines) == len(refusal.value.problems) == case.problems, lines
    assert printable(case.name) in "".join(lines) or case.name in "".join(lines)
    assert case.reason in "".join(lines)
    assert all(line.isprintable() and "(" in line for line in lines)
    assert snapshot(tmp_path) == before


def test_there_are_many() -> None:
    assert len(set(IDS)) == len(IDS) > 100


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    bad = {
        "x.png": png(1),
        "cat/a.png": b"",
        "cat/b.png": PNG[:40],
        "dog/more/c.png": png(2),
        "=x/d.png": png(3),
    }
    root = write_folder(tmp_path, {**small_set(), **bad})
    os.mkfifo(root / "dog" / "pipe")
    with pytest.raises(RefusedError) as refusal:
        load(root)
    text = str(refusal.value)
    assert len(refusal.value.problems) == 7  # the two that cannot be read are counted as well
    assert all(
        name in text for name in ("x.png", "cat/a.png", "cat/b.png", "dog/more/c.png", "=x", "dog/pipe")
    )


@pytest.mark.parametrize("name", ["cat/a.png", "dog/more/c.png", "pipe", "=x", "link"])
def test_what_the_remedy_ignores_is_cured(name: str, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", small_set())
    if name == "pipe":
        os.mkfifo(root / name)
    elif name == "link":
        (root / name).symlink_to(root)
    else:
        write_folder(root, {name + "/x.png" if name == "=x" else name: b""})
    with pytest.raises(RefusedError) as refusal:
        load(root)
    assert all(f"--ignore '{problem.name}'" in problem.remedy for problem in refusal.value.problems)
    dataset = load(root, DataConfig(ignore=tuple(problem.name for problem in refusal.value.problems)))
    assert len(dataset.labels) == 4
    assert dataset.counts.ignored == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["cat/0.png", "cat"])
def test_unreadable(name: str, tmp_path: Path) -> None:
    root = write_folder(tmp_path, small_set())
    (root / name).chmod(0)
    try:
        with pytest.raises(RefusedError, match="Permission denied") as refusal:
            load(root)
    finally:
        (root / name).chmod(0o700)
    assert name in str(refusal.value)


@pytest.mark.parametrize(
    "case", [case for case in QUICK_CASES if case.id.startswith(ARCHIVES)], ids=lambda case: case.id
)
def test_prediction_refuses_archives_alike(case: Case, tmp_path: Path) -> None:
    if case.reason == "outside":
        pytest.skip("images without labels may lie anywhere")
    with pytest.raises(RefusedError) as refusal:
        load_images([case.make(tmp_path)])
    assert case.reason in str(refusal.value)


@pytest.mark.parametrize("kind", ["set.zip", "set.tar", "set.tar.gz", "set.tar.xz", "set.npz"])
@given(data=st.data())
@settings(deadline=None)
def test_mutated_archives_are_read_or_refused(kind, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("mutated") / kind
    write = {".zip": write_zip, ".npz": lambda path, _: write_npz(path, medmnist_arrays())}.get(
        path.suffix, write_tar
    )
    broken = bytearray(write(path, small_set()).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        # From the end, where a zip keeps its table, or from the start.
        broken[data.draw(st.integers(-400, 400))] = data.draw(st.integers(0, 255))
    path.write_bytes(broken[: data.draw(st.integers(1, len(broken)))] if data.draw(st.booleans()) else broken)
    try:
        assert load(path, DataConfig(cache=False)).images.shape[1:] == (28, 28, 1)
    except RefusedError as refusal:
        assert all(line.isprintable() for line in refusal.lines())  # noqa: PT017


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_refused_by_a_program_of_its_own(case: Case, tmp_path: Path) -> None:
    source = case.make(tmp_path)
    if "\0" in str(source):
        pytest.skip("no argument of a program can hold a NUL")
    run = tmp_path / "run"
    arguments = [*PROGRAM, str(source), "--run", str(run), *["--follow-links"] * case.follow_links]
    with open(tmp_path / "stderr", "wb") as stderr:
        started = time.monotonic()
        process = subprocess.Popen(arguments, stderr=stderr)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    text = (tmp_path / "stderr").read_text()
    assert process.returncode == 2, text
    assert all(line.startswith("medjax: error: ") for line in text.splitlines())
    assert case.reason in text
    assert not run.exists()
    assert seconds < MAX_SECONDS
    assert usage.ru_maxrss * 1024 < MAX_RESIDENT_BYTES
