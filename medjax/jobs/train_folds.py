"""Train folds: with progress, history.csv and checkpoints, continuing from the newest checkpoint."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from medjax.config import TrainConfig
from medjax.errors import RefusedError, counted, refusing_memory
from medjax.jobs.from_config import make_controls, make_phases, make_rate
from medjax.models.network import Network, Variables
from medjax.progress import Display
from medjax.records import Split
from medjax.report.terminal import epoch_line
from medjax.runs import directory as run_files
from medjax.runs.checkpoint import largest_checkpoint, load_checkpoint, require_facts
from medjax.runs.checkpoint_series import (
    CheckpointWriter,
    checkpoint_path,
    find_newest,
    keep_until,
    list_epochs,
)
from medjax.training.fit import EpochInfo, Progress, fit_folds
from medjax.training.folds import FoldState, init_fold
from medjax.training.learner import Learner
from medjax.training.strategies import StrategyName, select_fold, stack_folds


class TrainedFolds(NamedTuple):
    """The result of training; the state has a leading axis of folds."""

    learner: Learner
    state: FoldState
    history: list[dict[str, Any]]  # rows of history.csv
    compile_seconds: float

    def variables(self, index: int, config: TrainConfig) -> Variables:
        """The variables of one fold that are scored, as NumPy arrays: JAX would compile a program for each shape of a slice."""
        return select_fold(jax.device_get(_scored_variables(self.state, config)), index)


def train_folds(
    directory: Path,
    network: Network,
    arrays: tuple[jax.Array, jax.Array],
    splits: Sequence[Split],
    folds: Sequence[int],
    config: TrainConfig,
    strategy: StrategyName,
    display: Display,
    facts: Mapping[str, Any],
    *,
    complete: Callable[[Variables], Variables] = lambda variables: variables,
    on_start: Callable[[], None],
) -> TrainedFolds:
    """Train `folds` of `splits`, from their checkpoints where there are any; `arrays` are the images and labels.

    Where `network` is a part of one, `complete` makes the variables that checkpoints hold of its own.
    `facts` of the run are saved with each checkpoint, and are those of the one that it continues from. `on_start` is
    called when the checkpoints are found to be sound, before the first program is compiled. history.csv and the checkpoints
    are kept up to date; an interruption saves the last epoch that was finished.
    """
    several_labels = arrays[1].ndim == 2
    phases = make_phases(config, network, splits, arrays[0].shape[1:], several_labels=several_labels)
    learner = phases[-1][0]
    controls = make_controls(config)
    watcher = _Watcher(directory, splits, folds, config, display)
    state = restored = _restore(directory, learner, arrays[0].shape, folds, config, display, facts)
    if state is not None:
        watcher.history = _read_history(directory, int(state.epoch.max()))
    else:
        keep_until(directory / "checkpoints", folds, None)
    on_start()
    display.start("compiling")
    fit_phase = functools.partial(
        fit_folds,
        data=arrays,
        splits=splits,
        seed=config.seed,
        batch_size=config.batch_size,
        loss_proportional_sampling=config.loss_proportional_sampling,
        class_balance=config.class_balance,
        controls=controls,
        strategy=strategy,
        folds=folds,
        on_progress=watcher.show,
    )
    with (
        refusing_memory("training", _remedy_of_memory(config, strategy)),
        CheckpointWriter(directory / "checkpoints", facts) as writer,
    ):
        for state, info in _fit_phases(phases, fit_phase, restored):
            on_host = jax.device_get((state, info))
            # Its rows are on disk before the checkpoint, so that a run that continues has them all.
            rows = watcher.record(info.epoch, *on_host)
            writer.offer(info.epoch + 1, _checkpoint_items(on_host[0], folds, config, complete))
            watcher.tell(info.epoch, rows, *on_host)
    assert state is not None
    return TrainedFolds(learner, state, watcher.history, watcher.compile_seconds)


def _fit_phases(
    phases: Sequence[tuple[Learner, int]], fit_phase: Callable[..., Any], state: FoldState | None
) -> Iterator[tuple[FoldState, EpochInfo]]:
    """The epochs of all learners; each goes on with the state that the one before it left."""
    for learner, last in phases:
        for epoch in fit_phase(learner, num_epochs=last, state=state):
            state = epoch[0]
            yield epoch


def _remedy_of_memory(config: TrainConfig, strategy: StrategyName) -> str:
    loop = "" if strategy == "loop" else ", or with --fold-strategy loop"
    size = f"--batch-size (it is {config.batch_size}) or --image-size (it is {config.data.size_words})"
    return f"train anew with a smaller {size}{loop}"


def _scored_variables(state: FoldState, config: TrainConfig) -> Variables:
    return state.learner.variables if config.keep == "last" else state.best.variables


def _checkpoint_items(
    state: FoldState,
    folds: Sequence[int],
    config: TrainConfig,
    complete: Callable[[Variables], Variables],
) -> dict[int, dict[str, Any]]:
    variables = _scored_variables(state, config)
    return {
        fold: {"variables": complete(select_fold(variables, index)), "state": select_fold(state, index)}
        for index, fold in enumerate(folds)
    }


def _restore(
    directory: Path,
    learner: Learner,
    image_shape: tuple[int, ...],
    folds: Sequence[int],
    config: TrainConfig,
    display: Display,
    facts: Mapping[str, Any],
) -> FoldState | None:
    """The folds' states after the newest epoch that all have an intact checkpoint of, if there is one."""
    parent = directory / "checkpoints"
    if not list_epochs(parent, folds):
        return None

    def init() -> FoldState:
        return init_fold(
            jax.random.key(config.seed),
            learner,
            make_controls(config),
            image_shape,
            keeps_losses=config.loss_proportional_sampling > 0,
        )

    like = jax.eval_shape(init)
    epoch, damages = find_newest(parent, folds, largest_checkpoint(like))
    if epoch is None and damages:
        # Starting again would delete what may be the only copies.
        raise RefusedError(problem for damage in damages for problem in damage.problems)
    if epoch is None:
        return None
    for damage in damages:
        display.warn(f"{damage}; the checkpoint before it is used")
    paths = [checkpoint_path(parent, fold, epoch) for fold in folds]
    for path in paths:
        require_facts(path, facts, directory / "run.json")
    keep_until(parent, folds, epoch)
    display.say(f"continuing after epoch {epoch} of {config.epochs}")
    return stack_folds([load_checkpoint(path, "state", like) for path in paths])


def _read_history(directory: Path, epoch: int) -> list[dict[str, Any]]:
    """The rows of history.csv before `epoch`."""
    if epoch == 0:  # every fold diverged in its first
        return []
    rows = run_files.read_history(directory / "history.csv")
    return [
        {**row, "fold": int(row["fold"]), "epoch": int(row["epoch"])} for row in rows if row["epoch"] < epoch
    ]


class _Watcher:
    """Shows and records the training; changes nothing."""

    def __init__(
        self,
        directory: Path,
        splits: Sequence[Split],
        folds: Sequence[int],
        config: TrainConfig,
        display: Display,
    ) -> None:
        self.history: list[dict[str, Any]] = []
        self.compile_seconds = 0.0
        self._directory = directory
        self._folds = folds
        self._config = config
        self._rate = make_rate(config, splits)
        self._batch_size = min(config.batch_size, max(len(split.train) for split in splits))
        self._display = display
        self._is_compiled = False
        self._epoch_started = time.perf_counter()

    def show(self, progress: Progress) -> None:
        """Move the bar."""
        if not self._is_compiled:
            self._is_compiled = True
            now = time.perf_counter()
            self.compile_seconds, self._epoch_started = now - self._epoch_started, now
            self._display.start("training")
        sums = jax.device_get(progress.train)  # NumPy arrays, so that showing them compiles nothing
        images = self._batch_size * len(self._folds)
        done = (progress.epoch * progress.num_steps + progress.step) * images
        total = self._config.epochs * progress.num_steps * images
        loss, accuracy = float(np.mean(sums.mean_loss)), float(np.mean(sums.accuracy))
        note = f"epoch {progress.epoch + 1}/{self._config.epochs} loss {loss:.4f} accuracy {accuracy:.4f}"
        self._display.advance(done, total, note)

    def record(self, epoch: int, state: FoldState, info: EpochInfo) -> list[dict[str, Any]]:
        """Write the rows of an epoch, one for each fold that was trained in it, and return them."""
        now = time.perf_counter()
        took_part = np.flatnonzero(info.took_part).tolist()
        seconds = (now - self._epoch_started) / max(len(took_part), 1)
        self._epoch_started = now
        rows = self._rows(took_part, epoch, state, info, seconds)
        self.history += rows
        run_files.write_history(self._directory / "history.csv", self.history)
        return rows

    def tell(self, epoch: int, rows: list[dict[str, Any]], state: FoldState, info: EpochInfo) -> None:
        """Print the scores of an epoch and what the controls did."""
        if rows:
            self._display.say(epoch_line(rows, self._config.epochs))
        for index, fold in enumerate(self._folds):
            name = f"fold {fold}: " if len(self._folds) > 1 else ""
            for event in self._events(index, epoch, state, info):
                self._display.say(f"  {name}{event}")

    def _rows(
        self, folds: Sequence[int], epoch: int, state: FoldState, info: EpochInfo, seconds: float
    ) -> list[dict[str, Any]]:
        """One row of history.csv for each of the folds, given by their index among those that are trained."""
        scores = {
            f"{part}_{name}": np.where(sums.num_images > 0, values, np.nan)
            for part, sums in (("train", info.train), ("val", info.val))
            for name, values in (("loss", sums.mean_loss), ("accuracy", sums.accuracy))
        }
        return [
            {
                "fold": self._folds[index],
                "epoch": epoch,
                **{name: float(values[index]) for name, values in scores.items()},
                "learning_rate": self._rate(int(state.learner.step[index]) - 1)
                * float(info.learning_rate_scale[index]),
                "seconds": round(seconds, 3),
            }
            for index in folds
        ]

    def _events(self, index: int, epoch: int, state: FoldState, info: EpochInfo) -> list[str]:
        """What happened to one fold at the end of an epoch."""
        config, events = self._config, []
        if state.diverged[index] and int(state.epoch[index]) == epoch:
            events.append(f"diverged in epoch {epoch + 1}: the loss or its gradient is not finite")
        if not info.took_part[index]:
            return events
        best = int(state.best.epoch[index])
        if config.keep != "last" and best == epoch:
            monitor = config.stopping.stop_monitor if config.keep == "stopping" else config.best_monitor
            events.append(f"best so far ({monitor})")
        before, after = (
            float(info.learning_rate_scale[index]),
            float(state.learner.learning_rate_scale[index]),
        )
        if after < before:
            rate = self._rate(int(state.learner.step[index]) - 1)
            events.append(
                f"learning rate lowered from {before * rate:.3g} to {after * rate:.3g}: "
                f"{config.plateau.plateau_monitor} is on a plateau"
            )
        if not state.active[index]:
            events.append(
                f"stopped early: {config.stopping.stop_monitor} no better for "
                f"{counted(int(state.controls.stopping.wait[index]), 'epoch')}"
            )
        return events
