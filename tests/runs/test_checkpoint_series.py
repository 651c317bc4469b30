"""Checkpoints of k folds: the newest two, an epoch in common, nothing left over."""

import os

import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import RefusedError
from medjax.runs import checkpoint_series
from medjax.runs.checkpoint import list_checkpoints, load_checkpoint
from medjax.runs.checkpoint_series import (
    CheckpointWriter,
    checkpoint_path,
    find_newest,
    fold_directory,
    keep_until,
)
from tests.sample_files import snapshot

FOLDS = [0, 3]


def items(value, folds=FOLDS):
    return {fold: {"parameters": {"x": jnp.full(3, value + 10.0 * fold)}} for fold in folds}


def names(parent, fold):
    return [path.name for path in list_checkpoints(fold_directory(parent, fold))]


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Epochs 1 to 4 offered, each saved before the next."""
    monkeypatch.setattr(checkpoint_series, "SECONDS_BETWEEN", 0.0)
    with CheckpointWriter(tmp_path) as writer:
        for epoch in range(1, 5):
            writer.offer(epoch, items(epoch))
            writer.flush()
    return tmp_path


def test_every_fold_keeps_the_newest_two(saved):
    for fold in FOLDS:
        assert sorted(path.name for path in fold_directory(saved, fold).iterdir()) == [
            "epoch_0003",
            "epoch_0003.sha256",
            "epoch_0004",
            "epoch_0004.sha256",
        ]
        values = load_checkpoint(checkpoint_path(saved, fold, 4), "parameters")["x"]
        assert values.tolist() == [4 + 10 * fold] * 3


def test_a_state_that_comes_too_soon_waits_and_the_last_is_saved_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_series, "SECONDS_BETWEEN", 1000.0)
    with CheckpointWriter(tmp_path) as writer:
        writer.offer(1, items(1))
        for epoch in range(2, 9):
            writer.offer(epoch, items(epoch))
    assert names(tmp_path, 0) == names(tmp_path, 3) == ["epoch_0001", "epoch_0008"]


def test_what_is_offered_is_copied_before_its_memory_is_reused(tmp_path):
    parameters = {"x": np.zeros(3)}
    with CheckpointWriter(tmp_path) as writer:
        writer.offer(1, {0: {"parameters": parameters}})
        parameters["x"][:] = 7
    assert load_checkpoint(checkpoint_path(tmp_path, 0, 1), "parameters")["x"].tolist() == [0, 0, 0]


def test_the_last_state_is_saved_when_an_exception_ends_it(tmp_path):
    def work():
        with CheckpointWriter(tmp_path) as writer:
            writer.offer(1, items(1))
            writer.offer(2, items(2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert names(tmp_path, 0)[-1] == "epoch_0002"


def test_a_save_that_fails_says_so_and_leaves_nothing_that_counts(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "disk")

    monkeypatch.setattr(checkpoint_series, "save_checkpoint", full)
    writer = CheckpointWriter(tmp_path)
    writer.offer(1, items(1))
    with pytest.raises(OSError, match="No space left"):
        writer.flush()
    assert find_newest(tmp_path, FOLDS) == (None, [])


def test_the_newest_epoch_in_common_is_found(saved):
    assert find_newest(saved, FOLDS) == (4, [])
    keep_until(saved, [3], 3)  # as if the fold's save of epoch 4 had been cut short
    assert names(saved, 3) == ["epoch_0003"]
    assert find_newest(saved, FOLDS) == (3, [])
    assert find_newest(saved, [0]) == (4, [])
    assert find_newest(saved, [0, 9]) == (None, [])


def test_a_damaged_newest_is_named_and_the_one_before_it_found(saved):
    files = [path for path in checkpoint_path(saved, 3, 4).rglob("*") if path.is_file()]
    damaged = max(files, key=lambda path: path.stat().st_size)
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    epoch, told = find_newest(saved, FOLDS)
    assert epoch == 3
    assert isinstance(told[0], RefusedError)
    assert "fold_03/epoch_0004" in str(told[0])
    assert "is damaged" in str(told[0])


def test_what_is_newer_and_what_saves_cut_short_have_left_is_removed(saved):
    (fold_directory(saved, 0) / "epoch_0005.orbax-checkpoint-tmp").mkdir()
    (fold_directory(saved, 0) / "epoch_0006").mkdir()  # arrays without a manifest
    (fold_directory(saved, 0) / "epoch_0006.sha256.0123456789abcdef.partial").touch()
    keep_until(saved, FOLDS, 3)
    for fold in FOLDS:
        assert sorted(path.name for path in fold_directory(saved, fold).iterdir()) == [
            "epoch_0003",
            "epoch_0003.sha256",
        ]
    keep_until(saved, FOLDS, None)
    assert names(saved, 0) == names(saved, 3) == []


def test_only_names_of_our_own_making_are_removed(saved):
    directory = fold_directory(saved, 0)
    for name in ("epoch_10", "epoch_0006.partial", "epoch_0007-copy", "epoch_notes"):
        (directory / name).mkdir()
    (directory / "epoch_0008.sha256.txt").touch()
    keep_until(saved, FOLDS, None)
    assert sorted(path.name for path in directory.iterdir()) == [
        "epoch_0006.partial",
        "epoch_0007-copy",
        "epoch_0008.sha256.txt",
        "epoch_10",
        "epoch_notes",
    ]


@pytest.mark.parametrize("level", ["checkpoints", "checkpoints/fold_00"])
def test_nothing_is_saved_or_removed_through_a_link(tmp_path, level):
    theirs = tmp_path / "theirs"
    for folder in (theirs, theirs / "fold_00"):
        for name in ("epoch_0010", "epoch_0011.orbax-checkpoint-tmp"):
            (folder / name).mkdir(parents=True)
    before = snapshot(theirs)
    link = tmp_path / "run" / level
    link.parent.mkdir(parents=True)
    link.symlink_to(theirs)
    parent = tmp_path / "run" / "checkpoints"
    with pytest.raises(RefusedError, match="is a symbolic link"):
        keep_until(parent, [0], None)
    writer = CheckpointWriter(parent)
    writer.offer(1, items(1, [0]))
    with pytest.raises(RefusedError, match="is a symbolic link"):
        writer.flush()
    assert snapshot(theirs) == before


def test_a_checkpoint_that_is_a_link_goes_and_what_it_leads_to_stays(saved, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "weights").touch()
    checkpoint_path(saved, 0, 9).symlink_to(theirs)
    keep_until(saved, [0], 4)
    assert names(saved, 0) == ["epoch_0003", "epoch_0004"]
    assert not os.path.lexists(checkpoint_path(saved, 0, 9))
    assert (theirs / "weights").exists()
