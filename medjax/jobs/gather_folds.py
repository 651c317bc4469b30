"""The trained states of all folds in one run directory, from runs that trained a fold each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medjax.errors import refuse
from medjax.runs import directory as run_files
from medjax.runs.checkpoint import copy_checkpoint, require_facts, verify_checkpoint
from medjax.runs.checkpoint_series import checkpoint_path, keep_until, list_epochs

_ONLY_FOLD = "config.only_fold"


def gather_folds(
    directory: Path, fold_runs: Sequence[Path], folds: Sequence[int], facts: Mapping[str, Any]
) -> None:
    """Copy the newest checkpoint of each fold, and the rows of history.csv, into the directory of the whole run.

    `fold_runs` are the directories of runs with `only_fold`, one for each of `folds`; `facts` are those of the whole run
    (see `unchanging_facts`), which theirs must be but for the fold. Afterwards the run continues as one that was stopped
    after its last epoch. Folds that stopped early have the epoch of the last of them, as in a run that trains them
    together. RefusedError, before anything is written, for a checkpoint that is missing, damaged or of another run.
    """
    found: dict[int, tuple[Path, int]] = {}
    for fold, run in zip(folds, fold_runs, strict=True):
        parent = run / "checkpoints"
        epochs = list_epochs(parent, [fold])
        if not epochs:
            raise refuse(run, f"holds no finished checkpoint of fold {fold}", "train that fold again")
        path = checkpoint_path(parent, fold, epochs[0])
        verify_checkpoint(path)
        require_facts(path, {**facts, _ONLY_FOLD: fold}, run / "run.json")
        found[fold] = path, epochs[0]
    last = max(epoch for _, epoch in found.values())
    parent = directory / "checkpoints"
    _gather_history(directory, fold_runs)
    if last in list_epochs(parent, folds):  # gathered before; they are verified when they are restored
        return
    keep_until(parent, folds, None)
    for fold, (path, _) in found.items():
        copy_checkpoint(path, checkpoint_path(parent, fold, last), facts, root=directory)


def _gather_history(directory: Path, fold_runs: Sequence[Path]) -> None:
    """history.csv of all folds, in the order of one run: by epoch, then by fold."""
    rows = [
        {**row, "fold": int(row["fold"]), "epoch": int(row["epoch"])}
        for run in fold_runs
        for row in run_files.read_history(run / "history.csv", at_least=0)  # one may diverge at once
    ]
    rows.sort(key=lambda row: (row["epoch"], row["fold"]))
    run_files.write_history(directory / "history.csv", rows)
