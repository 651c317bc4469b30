"""A source copied into train and test: the same images, the source untouched, all of it or nothing."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from medjax.config import DataConfig
from medjax.data import folders_out as export
from medjax.data.folders_out import MARKER, export_split
from medjax.data.load import load
from medjax.errors import RefusedError
from tests.sample_files import (
    jpeg,
    parted_set,
    png,
    small_set,
    snapshot,
    write_folder,
    write_tar,
    write_zip,
)

PLAIN = DataConfig(image_size=6, cache=False)
TREE = {**small_set(8), "cat/größe, 2.jpg": jpeg(500), "dog/.hidden.png": png(501), "dog/no suffix": png(502)}


def write_source(folder, kind):
    junk = {"README.md": b"hello", "__MACOSX/._x": b"junk", "cat/Thumbs.db": b"junk"}
    if kind == "folder":
        return write_folder(folder / "set", {**TREE, **junk})
    wrapped = {f"wrap/{name}": data for name, data in {**TREE, **junk}.items()}
    return (write_zip if kind == "zip" else write_tar)(folder / f"set.{kind}", wrapped)


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if not path.is_dir()
    }


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz"])
def test_the_parts_hold_the_images_of_the_source(tmp_path, kind):
    (tmp_path / "in").mkdir()
    source = write_source(tmp_path / "in", kind)
    before = snapshot(tmp_path / "in")
    calls = []
    counts = export_split(
        source, tmp_path / "deep/out", 0.25, config=PLAIN, on_progress=lambda *call: calls.append(call)
    )
    assert snapshot(tmp_path / "in") == before
    assert calls[-1] == (len(TREE), len(TREE))

    found = files_of(tmp_path / "deep/out")
    assert {name.split("/", 1)[1]: data for name, data in found.items()} == TREE
    original, copy = load(source, PLAIN), load(tmp_path / "deep/out", PLAIN)
    assert copy.counts.skipped == 0
    assert set(copy.split) == {"train", "test"}
    positions = [original.ids.tolist().index(id.split("/", 1)[1]) for id in copy.ids]
    assert sorted(positions) == list(range(len(TREE)))
    for name in ("images", "labels", "digests"):
        np.testing.assert_array_equal(getattr(copy, name), getattr(original, name)[positions])
    assert copy.class_names == original.class_names

    assert counts == {"train": {"cat": 7, "dog": 7}, "test": {"cat": 2, "dog": 3}}
    assert sum(name.startswith("test/cat/") for name in found) == 2
    assert os.listdir(tmp_path / "deep") == ["out"]


def test_the_seed_alone_decides(tmp_path):
    source = write_source(tmp_path, "folder")
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        export_split(source, tmp_path / name, 0.25, seed=seed, config=PLAIN)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b") != files_of(tmp_path / "c")


def test_groups_stay_whole(tmp_path):
    tree = small_set(20)
    groups = {id: f"P{number // 3}" for number, id in enumerate(tree)}
    (tmp_path / "groups.csv").write_text(
        "id,group\n" + "".join(f"{id},{each}\n" for id, each in groups.items())
    )
    config = DataConfig(image_size=6, cache=False, groups=str(tmp_path / "groups.csv"))
    export_split(write_folder(tmp_path / "set", tree), tmp_path / "out", 0.3, config=config)
    parts = [{groups[id] for id in files_of(tmp_path / "out" / part)} for part in ("train", "test")]
    assert not parts[0] & parts[1]
    assert all(parts)


def test_images_that_a_table_labels_come_into_the_folders_of_their_classes(tmp_path):
    tree = {f"part_{1 + n % 2}/{n}.png": png(n) for n in range(16)} | {
        "part_1/1.png": png(99),
        "test/x.png": b"",
    }
    source = write_folder(tmp_path / "set", tree)
    lines = [f"{name},{'uv'[n % 4 < 2]},P{n // 2}" for n, name in enumerate(tree) if name != "test/x.png"]
    (tmp_path / "t.csv").write_text("\n".join(["path,dx,patient", *lines]))
    config = DataConfig(image_size=6, cache=False, labels=str(tmp_path / "t.csv"))
    counts = export_split(source, tmp_path / "out", 0.3, config=config)
    assert sum(map(sum, (part.values() for part in counts.values()))) == 17
    original, copy = load(source, config), load(tmp_path / "out", DataConfig(image_size=6, cache=False))
    assert copy.class_names == ("u", "v")
    label_of = {
        digest.tobytes(): label for digest, label in zip(original.digests, original.labels, strict=True)
    }
    assert [label_of[digest.tobytes()] for digest in copy.digests] == copy.labels.tolist()
    names = {name.split("/", 2)[2] for name in files_of(tmp_path / "out")}
    assert {"0.png", "part_1_1.png", "part_2_1.png"} <= names
    (tmp_path / "t.csv").write_text("\n".join(["path,dx,patient", *lines]).replace(",u,", ",../u,"))
    with pytest.raises(RefusedError, match=r"class \.\./u: cannot be the name of a folder"):
        export_split(source, tmp_path / "other", 0.3, config=config)


def test_nested_folders_are_copied_whole(tmp_path):
    tree = {
        f"{name}/{name}{i // 3}/{i}.png": png(100 * label + i)
        for label, name in enumerate("ab")
        for i in range(12)
    }
    config = DataConfig(image_size=6, cache=False, nested="group")
    export_split(write_folder(tmp_path / "set", tree), tmp_path / "out", 0.3, config=config)
    copied = files_of(tmp_path / "out")
    assert {name.split("/", 1)[1]: data for name, data in copied.items()} == tree
    parts = [{name.split("/")[2] for name in copied if name.startswith(part)} for part in ("train", "test")]
    assert not parts[0] & parts[1]
    assert load(tmp_path / "out", config).groups is not None


def test_settings_decide_which_images_are_copied_but_not_their_bytes(tmp_path):
    tree = {**small_set(4), "cat/color.png": png(77, (9, 9, 3)), "cat/bad.png": b"bad"}
    source = write_folder(tmp_path / "set", tree)
    (source / "dog/link.png").symlink_to(source / "cat/0.png")
    (source / "cat/0.png").unlink()
    (source / "dog/link.png").unlink()
    (tmp_path / "elsewhere.png").write_bytes(png(88))
    (source / "dog/link.png").symlink_to(tmp_path / "elsewhere.png")
    config = DataConfig(image_size=6, color="gray", ignore=("bad.png",), follow_links=True, cache=False)
    export_split(source, tmp_path / "out", 0.3, config=config)
    found = {name.split("/", 1)[1]: data for name, data in files_of(tmp_path / "out").items()}
    expected = {**tree, "dog/link.png": png(88)}
    del expected["cat/bad.png"], expected["cat/0.png"]
    assert found == expected
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))


def test_images_that_cannot_be_used_are_not_copied_where_they_may_be_left_out(tmp_path):
    source = write_folder(tmp_path / "set", {**small_set(8), "cat/bad.png": b"bad"})
    config = DataConfig(image_size=6, skip_bad=True, max_bad=0.1, cache=False)
    with pytest.warns(UserWarning, match="1 of 17 images"):
        export_split(source, tmp_path / "out", 0.25, config=config)
    found = {name.split("/", 1)[1] for name in files_of(tmp_path / "out")}
    assert found == {*small_set(8)}


def test_an_empty_folder_may_be_the_target_a_used_one_may_not(tmp_path):
    source = write_source(tmp_path, "folder")
    (tmp_path / "out").mkdir()
    export_split(source, tmp_path / "out", 0.25, config=PLAIN)
    before = snapshot(tmp_path)
    with pytest.raises(RefusedError, match="out: is not empty"):
        export_split(source, tmp_path / "out", 0.25, config=PLAIN)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(RefusedError, match=f"{name}: exists and is not a folder"):
            export_split(source, tmp_path / name, 0.25, config=PLAIN)
    assert [each for each in snapshot(tmp_path) if each[1] not in ("file", "link")] == before


def test_a_target_inside_the_source_is_refused(tmp_path, monkeypatch):
    source = write_source(tmp_path, "folder")
    (tmp_path / "alias").symlink_to(source)
    before = snapshot(tmp_path)
    for target in (source / "out", source / "cat/out", tmp_path / "alias/out"):
        with pytest.raises(RefusedError, match="lies inside the source"):
            export_split(source, target, 0.25, config=PLAIN)
    monkeypatch.chdir(source)
    with pytest.raises(RefusedError, match="lies inside the source"):
        export_split(".", "out", 0.25, config=PLAIN)
    with pytest.raises(RefusedError, match="is not empty"):
        export_split(source, ".", 0.25, config=PLAIN)
    assert snapshot(tmp_path) == before


def test_a_source_that_the_copy_would_replace_is_refused(tmp_path):
    """Even one that carries our marker: it may be what somebody rescued from a killed run."""
    source = write_source(tmp_path, "folder").rename(tmp_path / "out.partial")
    (source / MARKER).touch()
    with pytest.raises(RefusedError, match=r"out.partial: lies inside the source"):
        export_split(source, tmp_path / "out", 0.25, config=PLAIN)
    archive = write_zip(tmp_path / "out.partial/train.zip", TREE)
    with pytest.raises(RefusedError, match=r"out.partial: would replace the source"):
        export_split(archive, tmp_path / "out", 0.25, config=PLAIN)
    assert archive.exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("phantom", "phantom: has no files to copy"),
        ("set.npz", "set.npz: holds arrays in parts of its own"),
        ("parts", "parts: has parts already: test, train, val (train on it as it is"),
        ("missing", "missing: cannot be read: No such file"),
        ("bad", "cat/bad.png: "),
        ("small", "class dog: 1 image cannot be split into 2 parts"),
    ],
)  # fmt: skip
def test_sources_that_cannot_be_parted_are_refused(tmp_path, monkeypatch, name, reason):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "parts", parted_set())
    write_folder(tmp_path / "bad", {**TREE, "cat/bad.png": b"bad"})
    write_folder(tmp_path / "small", {**small_set(1), "cat/2.png": png(9)})
    before = snapshot(tmp_path)
    with pytest.raises(RefusedError) as refusal:
        export_split(name, "out", 0.25, config=PLAIN)
    assert str(refusal.value).startswith(reason)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2, float("nan")])
def test_a_share_out_of_range_is_refused(tmp_path, share):
    with pytest.raises(RefusedError, match=f"^--test: {share} is out of range"):
        export_split(tmp_path, tmp_path / "out", share)


def test_names_that_are_one_where_cases_are_not_told_apart_are_refused(tmp_path):
    tree = {"Cat/1.png": png(1), "Cat/2.png": png(2), "cat/3.png": png(3), "cat/4.png": png(4),
            "dog/ß.png": png(5), "dog/SS.PNG": png(6)}  # fmt: skip
    source = write_zip(tmp_path / "set.zip", tree)
    with pytest.raises(RefusedError) as refusal:
        export_split(source, tmp_path / "out", 0.3, config=PLAIN)
    assert [line.split(" (")[0] for line in refusal.value.lines()] == [
        "cat: differs from Cat only in upper and lower case",
        "dog/ß.png: differs from dog/SS.PNG only in upper and lower case",
    ]
    assert os.listdir(tmp_path) == ["set.zip"]


@pytest.mark.parametrize(
    "id", ["../x", "a/../../x", "/etc/x", "a", "a/b/../c", "a//b", "a/..", "./x", "a//", "a/b\\c", "a/b\0"]
)
def test_no_name_leads_out_of_the_target(tmp_path, id):
    with pytest.raises(RefusedError, match="is not a plain class/file name"):
        export._image_path(tmp_path, f"train/{id}")


def test_a_source_that_changes_meanwhile_leaves_nothing(tmp_path, monkeypatch):
    source = write_source(tmp_path, "folder")

    def load_and_change(*arguments, **options):
        dataset = load(*arguments, **options)
        (source / "cat/new.png").write_bytes(png(1234))
        return dataset

    monkeypatch.setattr(export, "load", load_and_change)
    with pytest.raises(RefusedError, match="set: has changed while it was read"):
        export_split(source, tmp_path / "out", 0.25, config=PLAIN)
    assert os.listdir(tmp_path) == ["set"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_half_way_leaves_nothing(tmp_path, monkeypatch, error):
    source = write_source(tmp_path, "folder")
    before = snapshot(tmp_path)
    monkeypatch.setattr(export, "_PROGRESS_IMAGES", 5)

    def fail(done, total):
        if (tmp_path / "out.partial").exists():
            raise error

    with pytest.raises((RefusedError, KeyboardInterrupt), match=r"No space left|^$"):
        export_split(source, tmp_path / "out", 0.25, config=PLAIN, on_progress=fail)
    assert snapshot(tmp_path) == before


KILLED = """
import sys
from medjax.config import DataConfig
from medjax.data import folders_out as export

def wait(done, total):
    if export.Path(sys.argv[2] + ".partial").exists():
        print("half way", flush=True)
        sys.stdin.read()

export._PROGRESS_IMAGES = 5
export.export_split(sys.argv[1], sys.argv[2], 0.25, config=DataConfig(image_size=6, cache=False), on_progress=wait)
"""


def test_a_killed_run_leaves_no_target_and_the_next_clears_up(tmp_path):
    source, target = write_source(tmp_path, "folder"), tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(source), str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half way\n"
        with pytest.raises(RefusedError, match=r"out.partial: is being written by another run"):
            export_split(source, target, 0.25, config=PLAIN)
        process.send_signal(signal.SIGKILL)
    assert not target.exists()
    assert len(files_of(tmp_path / "out.partial")) == 6
    export_split(source, target, 0.25, config=PLAIN)
    assert len(files_of(target)) == len(TREE)
    assert sorted(os.listdir(tmp_path)) == ["out", "set"]


def test_what_is_in_the_way_is_removed_only_if_it_is_ours(tmp_path):
    source, target, leftover = write_source(tmp_path, "folder"), tmp_path / "out", tmp_path / "out.partial"
    strangers = [{"train/x.png": b""}, {MARKER: b"", "notes.txt": b""}, {f"{MARKER}/x": b""}]
    for number, tree in enumerate(strangers):
        write_folder(leftover, tree)
        with pytest.raises(RefusedError, match=r"out.partial: exists and was not made by medjax"):
            export_split(source, target, 0.25, config=PLAIN)
        assert files_of(leftover) == tree
        leftover.rename(tmp_path / f"stranger-{number}")
    elsewhere = write_folder(tmp_path / "elsewhere", {MARKER: b"", "train/mine.png": b"mine"})
    leftover.symlink_to(elsewhere)
    with pytest.raises(RefusedError, match=r"out.partial: exists and was not made by medjax"):
        export_split(source, target, 0.25, config=PLAIN)
    assert files_of(elsewhere)["train/mine.png"] == b"mine"
    leftover.unlink()
    leftover.touch()
    with pytest.raises(RefusedError, match=r"out.partial: exists and was not made by medjax"):
        export_split(source, target, 0.25, config=PLAIN)
    leftover.unlink()
    leftover.mkdir()  # an empty folder is nobody's loss
    export_split(source, target, 0.25, config=PLAIN)
    assert len(files_of(target)) == len(TREE)


def test_a_target_that_cannot_be_made_is_refused(tmp_path):
    source = write_source(tmp_path, "zip")
    (tmp_path / "file").touch()
    with pytest.raises(RefusedError, match="file: the copy failed: File exists"):
        export_split(source, tmp_path / "file/out", 0.25, config=PLAIN)
    with pytest.raises(RefusedError, match="File name too long"):
        export_split(source, tmp_path / ("x" * 250), 0.25, config=PLAIN)
    assert sorted(os.listdir(tmp_path)) == ["file", "set.zip"]
