"""The states of folds come together under the facts of the whole, or not at all. `tests/scale` has whole runs."""

import json
import shutil

import jax.numpy as jnp
import pytest

from medjax.errors import RefusedError
from medjax.jobs.gather_folds import gather_folds
from medjax.runs.checkpoint import load_checkpoint, require_facts, save_checkpoint
from medjax.runs.checkpoint_series import checkpoint_path, list_epochs
from medjax.runs.directory import HISTORY_FIELDS, read_history, write_history

FACTS = {"config.folds": 2, "config.only_fold": None}


def row(fold, epoch):
    return {**dict.fromkeys(HISTORY_FIELDS, 0.5), "fold": fold, "epoch": epoch}


@pytest.fixture
def runs(tmp_path):
    """Two runs of a fold each; the first stopped an epoch earlier."""
    for fold, epochs in ((0, 2), (1, 3)):
        path = checkpoint_path(tmp_path / f"fold_{fold}" / "checkpoints", fold, epochs)
        items = {"state": {"a": jnp.full(2, float(fold))}}
        save_checkpoint(path, items, {**FACTS, "config.only_fold": fold}, root=tmp_path)
        rows = [row(fold, epoch) for epoch in range(epochs)]
        write_history(tmp_path / f"fold_{fold}" / "history.csv", rows)
    return [tmp_path / "fold_0", tmp_path / "fold_1"]


def test_all_folds_have_the_last_epoch_and_the_facts_of_the_whole(runs, tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    for _ in range(2):  # again after an interruption
        gather_folds(whole, runs, [0, 1], FACTS)
        assert list_epochs(whole / "checkpoints", [0, 1]) == [3]
        for fold in (0, 1):
            path = checkpoint_path(whole / "checkpoints", fold, 3)
            require_facts(path, FACTS, "run.json")
            assert load_checkpoint(path, "state")["a"].tolist() == [fold, fold]
        read = [(each["epoch"], each["fold"]) for each in read_history(whole / "history.csv")]
        assert read == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 1)]


def test_what_was_gathered_by_half_is_gathered_again(runs, tmp_path):
    whole = tmp_path / "whole"
    path = checkpoint_path(whole / "checkpoints", 0, 3)
    path.mkdir(parents=True)
    (path / "half").touch()
    gather_folds(whole, runs, [0, 1], FACTS)
    assert load_checkpoint(path, "state")["a"].tolist() == [0, 0]


def test_folds_of_another_run_or_damaged_ones_are_refused_before_anything_is_written(runs, tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    with pytest.raises(RefusedError, match=r"config\.folds is not what"):
        gather_folds(whole, runs, [0, 1], {**FACTS, "config.folds": 3})
    with pytest.raises(RefusedError, match=r"holds no finished checkpoint of fold 1"):
        gather_folds(whole, runs[:1] * 2, [0, 1], FACTS)
    facts = checkpoint_path(runs[1] / "checkpoints", 1, 3) / "facts.json"
    facts.write_text(json.dumps({**FACTS, "config.only_fold": 1, "more": 1}))
    with pytest.raises(RefusedError, match="is damaged"):
        gather_folds(whole, runs, [0, 1], FACTS)
    shutil.rmtree(runs[1] / "checkpoints")
    with pytest.raises(RefusedError, match="holds no finished checkpoint"):
        gather_folds(whole, runs, [0, 1], FACTS)
    assert not list(whole.iterdir())
