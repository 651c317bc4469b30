"""The checkpoints of a run: one directory a fold, one checkpoint an epoch, saved in the background.

All folds are saved together, the newest two epochs are kept, and older ones go only when every fold has the new one.
So whenever a process dies, all folds have an epoch in common.
"""

import contextlib
import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from medjax.errors import RefusedError
from medjax.files import open_folder, require_folder
from medjax.runs.checkpoint import delete_checkpoint, list_checkpoints, save_checkpoint, verify_checkpoint

SECONDS_BETWEEN = 5.0
_KEPT = 2
_MANIFEST = ".sha256"
_LARGEST_SHARE = 0.05  # of a run's time that saving may take
# A checkpoint, its manifest, and what a save that was cut short leaves of either. Orbax names its own temporary folders.
_OWN_NAME = re.compile(
    r"epoch_[0-9]{4}(|\.sha256|\.sha256\.[0-9a-f]{16}\.partial|\.orbax-checkpoint-tmp(-[0-9]+)?)"
)

Items = Mapping[str, PyTree]
FoldItems = Mapping[int, Items]


def fold_directory(parent: Path, fold: int) -> Path:
    """Where the checkpoints of a fold are."""
    return parent / f"fold_{fold:02d}"


def checkpoint_path(parent: Path, fold: int, epoch: int) -> Path:
    """The checkpoint of a fold after `epoch` epochs; the names sort by age."""
    return fold_directory(parent, fold) / f"epoch_{epoch:04d}"


def list_epochs(parent: Path, folds: Sequence[int]) -> list[int]:
    """The epochs that every fold has a finished checkpoint of, newest first; RefusedError where a folder is a link."""
    for folder in (parent, *(fold_directory(parent, fold) for fold in folds)):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            require_folder(folder)
    finished = [{path.name for path in list_checkpoints(fold_directory(parent, fold))} for fold in folds]
    return sorted((int(name.removeprefix("epoch_")) for name in set.intersection(*finished)), reverse=True)


def find_newest(
    parent: Path, folds: Sequence[int], max_bytes: int | None = None
) -> tuple[int | None, list[RefusedError]]:
    """The newest epoch that every fold has an intact checkpoint of, or None; and what is wrong with newer ones.

    A checkpoint that has more than `max_bytes` counts as damaged, unread.
    """
    damages = []
    for epoch in list_epochs(parent, folds):
        try:
            for fold in folds:
                verify_checkpoint(checkpoint_path(parent, fold, epoch), max_bytes)
        except RefusedError as error:
            damages.append(error)
        else:
            return epoch, damages
    return None, damages


def keep_until(parent: Path, folds: Sequence[int], epoch: int | None) -> None:
    """Delete checkpoints newer than `epoch` (all, for None) and the remains of interrupted saves.

    Only what has a name of our own making is removed, and no link is followed (RefusedError): `parent` lies in a run
    directory, which may be a stranger's.
    """
    for fold in folds:
        directory = fold_directory(parent, fold)
        if not os.path.lexists(directory):
            continue
        newest = "" if epoch is None else checkpoint_path(parent, fold, epoch).name
        with open_folder(directory, root=parent.parent) as folder:
            names = [name for name in folder.names() if _OWN_NAME.fullmatch(name)]
            # Manifests first, so that what is half removed never looks complete.
            names.sort(key=lambda name: not name.endswith(_MANIFEST))
            for name in names:
                checkpoint = name.removesuffix(_MANIFEST)
                if checkpoint > newest or f"{checkpoint}{_MANIFEST}" not in names:
                    folder.remove(name)


class CheckpointWriter:
    """Saves the states of folds in a background thread, not too often; leaving the context saves the last.

    A state that comes too soon after a save waits: the next one takes its place. A save that failed raises its
    OSError at the next call. `facts` are saved with each state (see `save_checkpoint`).
    """

    def __init__(self, parent: Path, facts: Mapping[str, Any] | None = None) -> None:
        self._parent = parent
        self._facts = facts
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._saving: Future[None] | None = None
        self._waiting: tuple[int, FoldItems] | None = None
        self._next_save = -float("inf")

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.flush()
        finally:
            self._thread.shutdown(cancel_futures=True)

    def offer(self, epoch: int, items: FoldItems) -> None:
        """Take the state after `epoch` epochs; it is copied, so its device memory may be reused."""
        self._waiting = epoch, jax.tree.map(np.array, items)
        is_free = self._saving is None or self._saving.done()
        if is_free and time.monotonic() >= self._next_save:
            self._start()

    def flush(self) -> None:
        """Wait until the last state that was offered is saved."""
        if self._waiting is not None:
            self._start()
        self._finish()

    def _start(self) -> None:
        self._finish()
        assert self._waiting is not None
        self._saving = self._thread.submit(self._save, *self._waiting)
        self._waiting = None

    def _finish(self) -> None:
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()

    def _save(self, epoch: int, items: FoldItems) -> None:
        started = time.monotonic()
        for fold, fold_items in items.items():
            path = checkpoint_path(self._parent, fold, epoch)
            save_checkpoint(path, dict(fold_items), self._facts, root=self._parent.parent)
        for fold in items:
            for old in list_checkpoints(fold_directory(self._parent, fold))[:-_KEPT]:
                delete_checkpoint(old, root=self._parent.parent)
        now = time.monotonic()
        self._next_save = now + max(SECONDS_BETWEEN, (now - started) / _LARGEST_SHARE)
