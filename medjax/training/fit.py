"""The loop over epochs, as a generator. It touches no disk and no screen."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32

from medjax.config import ClassBalance
from medjax.errors import refuse
from medjax.metrics import Sums, zero_sums
from medjax.records import Split
from medjax.training.fold_plan import FoldPlan, make_plan
from medjax.training.folds import Controls, FoldState
from medjax.training.inputs import as_arrays, require_classes, require_options, require_splits, require_state
from medjax.training.learner import Learner
from medjax.training.programs import (
    Compiling,
    EpochPrograms,
    compile_ahead,
    compile_epoch,
    compile_init,
    make_init,
)
from medjax.training.strategies import StrategyName, abstract_arrays, put_on_devices

# Long enough that the calls cost nothing beside the work, short enough that a bar moves and a signal is seen.
_CHUNK_SECONDS = 1.0
_NO_CONTROLS = Controls()


class EpochInfo(NamedTuple):
    """What a person needs to know of an epoch. Of several folds, arrays have a leading axis of folds."""

    epoch: int  # from 0
    train: Sums  # as trained on: augmented, with dropout, while the parameters change
    val: Sums  # with the variables at the end of the epoch; of no image for a fold that has no part in the epoch
    learning_rate_scale: Float32[np.ndarray, "*fold"]  # that the epoch was trained with
    took_part: Bool[
        np.ndarray, "*fold"
    ]  # whether the fold finished this epoch, rather than having stopped before


class Progress(NamedTuple):
    """How far an epoch is; what `on_progress` is told between two calls of the compiled program."""

    epoch: int
    step: int
    num_steps: int
    train: Sums


def fit(
    learner: Learner,
    data: Any,
    split: Split,
    *,
    seed: int = 0,
    num_epochs: int = 20,
    batch_size: int = 32,
    loss_proportional_sampling: int = 0,
    class_balance: ClassBalance = "none",
    controls: Controls = _NO_CONTROLS,
    state: FoldState | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Iterator[tuple[FoldState, EpochInfo]]:
    """Train on one split; yield (state, info) at the end of each epoch.

    The arguments are those of `fit_folds`; states and infos have no axis of folds.
    """
    epochs = fit_folds(
        learner,
        data,
        [split],
        seed=seed,
        num_epochs=num_epochs,
        batch_size=batch_size,
        loss_proportional_sampling=loss_proportional_sampling,
        class_balance=class_balance,
        controls=controls,
        state=None if state is None else jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], state),
        on_progress=on_progress,
    )
    for folds_state, info in epochs:
        yield _first_fold(folds_state), EpochInfo(info.epoch, *_first_fold(tuple(info[1:])))


def fit_folds(
    learner: Learner,
    data: Any,
    splits: Sequence[Split],
    *,
    seed: int = 0,
    num_epochs: int = 20,
    batch_size: int = 32,
    loss_proportional_sampling: int = 0,
    class_balance: ClassBalance = "none",
    controls: Controls = _NO_CONTROLS,
    strategy: StrategyName = "loop",
    folds: Sequence[int] | None = None,
    state: FoldState | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Iterator[tuple[FoldState, EpochInfo]]:
    """Train one network a split; yield (state, info) of all folds at the end of each epoch.

    `data` is a `Dataset` or a pair (images uint8 [n, height, width, channel], labels [n]), which all folds share.
    `folds` trains some of the splits only, each exactly as it would be trained among all; `strategy` says how they are
    worked on. `loss_proportional_sampling` is how often an epoch draws its images anew, in proportion to their losses so
    far; it has as many steps as ever. `class_balance` makes rare classes count more in the loss, or come up more often. A
    batch is never larger than the longest train part.

    `state` continues where it left off: folds that have not stopped must have finished the same number of epochs. A
    yielded state is only good until the generator is resumed, which reuses its memory; the last one stays. Training ends
    early when no fold is active any more.

    Raises RefusedError, before anything is computed, for arrays, splits and a state that do not fit together, for options
    out of range, for controls that decide over training where a split has no validation part, and for sampling both by
    class and by loss.
    """
    arrays = as_arrays(data, needs_labels=True)
    splits = require_splits(splits, len(arrays.images))
    num_classes = require_classes(learner, arrays)
    if learner.several_labels and class_balance == "sampling":
        reason = "an image with several labels has no class to be drawn by"
        raise refuse("class_balance", reason, "give weights, or none")
    require_options(
        splits,
        seed=seed,
        num_epochs=num_epochs,
        batch_size=batch_size,
        loss_proportional_sampling=loss_proportional_sampling,
        class_balance=class_balance,
        controls=controls,
        strategy=strategy,
        folds=folds,
    )
    # A batch that is larger than all training images would be padding, and may not fit into memory.
    batch_size = min(batch_size, max(len(split.train) for split in splits))
    images, labels = put_on_devices(strategy, tuple(arrays))
    planning = functools.partial(
        make_plan,
        splits,
        seed=seed,
        batch_size=batch_size,
        folds=folds,
        labels=None if class_balance == "none" else np.asarray(labels),
        class_balance=class_balance,
    )
    plan_shapes = jax.eval_shape(planning)
    num_steps = plan_shapes.train.shape[1] // batch_size
    steps_per_shuffle = -(-num_steps // max(loss_proportional_sampling, 1))
    programs = compile_epoch(learner, num_classes, batch_size, steps_per_shuffle, controls, strategy)
    init_options = learner, images.shape, controls, loss_proportional_sampling > 0
    state_shapes = jax.eval_shape(jax.vmap(make_init(*init_options)), plan_shapes.key)
    if state is not None:
        require_state(state, state_shapes)
        if not _has_work(state, num_epochs):
            return
    no_sums = _zero_sums(plan_shapes.key.shape[0], num_classes)
    shapes = abstract_arrays(strategy, (plan_shapes, state_shapes, no_sums))
    with compile_ahead(programs, images, labels, *shapes) as compiling:
        plan = put_on_devices(strategy, planning())
        # A copy, because it is donated to the first step.
        state = _copy(state) if state is not None else compile_init(*init_options)(plan.key)
        epochs = _Epochs(programs, compiling, images, labels, plan, num_steps, steps_per_shuffle, on_progress)
        zeros = functools.partial(put_on_devices, strategy, no_sums)
        yield from _run_epochs(epochs, put_on_devices(strategy, state), num_epochs, zeros)


def _run_epochs(
    epochs: "_Epochs", state: FoldState, num_epochs: int, zeros: Callable[[], Sums]
) -> Iterator[tuple[FoldState, EpochInfo]]:
    # Folds that have stopped keep the epoch they stopped in; the others are all in the same.
    for epoch in range(int(np.asarray(state.epoch).max()), num_epochs):
        if not _has_work(state, num_epochs):
            return
        state, info = epochs.run(epoch, state, zeros())
        yield state, info


class _Epochs:
    """Runs epochs in chunks of steps, whose length follows how long the last one took."""

    def __init__(
        self,
        programs: EpochPrograms,
        compiling: Compiling,
        images: Array,
        labels: Array,
        plan: FoldPlan,
        num_steps: int,
        steps_per_shuffle: int,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._programs, self._compiling = programs, compiling
        self._images, self._labels, self._plan = images, labels, plan
        self._num_steps, self._steps_per_shuffle = num_steps, steps_per_shuffle
        self._on_progress = on_progress
        self._chunk = (
            0  # The first call takes no step: it waits for the program, and what follows can be timed.
        )

    def run(self, epoch: int, state: FoldState, sums: Sums) -> tuple[FoldState, EpochInfo]:
        """One epoch: all of its steps, then the scores of the validation part; `sums` are zero."""
        step = next_shuffle = 0
        while step < self._num_steps and np.asarray(state.active).any():
            if step == next_shuffle:
                start = jax.device_put(np.int32(step))
                shuffled = self._programs.shuffle(self._labels, start, self._plan, state)
                next_shuffle = min(step + self._steps_per_shuffle, self._num_steps)
            step, state, sums = self._run_chunk(step, next_shuffle, shuffled, state, sums)
            if self._on_progress is not None:
                self._on_progress(Progress(epoch, step, self._num_steps, sums))
        self._compiling.end_epoch.result()
        scale, before = np.array(state.learner.learning_rate_scale), np.array(state.epoch)
        state, val = self._programs.end_epoch(self._images, self._labels, self._plan, state)
        return state, EpochInfo(epoch, sums, val, scale, np.asarray(state.epoch) > before)

    def _run_chunk(
        self, start: int, last: int, plan: FoldPlan, state: FoldState, sums: Sums
    ) -> tuple[int, FoldState, Sums]:
        """The steps from `start` on that take about a second, at most until `last`; the step after them comes first."""
        self._compiling.run_chunk.result()
        started = time.perf_counter()
        stop = min(start + self._chunk, last)
        bounds = jax.device_put((start, stop))
        state, sums = self._programs.run_chunk(self._images, self._labels, *bounds, plan, state, sums)
        jax.block_until_ready(sums)
        self._chunk = _next_chunk(stop - start, time.perf_counter() - started)
        return stop, state, sums


def _has_work(state: FoldState, num_epochs: int) -> bool:
    """Whether a fold is active and has epochs before it."""
    return bool(np.asarray(state.active).any()) and int(np.asarray(state.epoch).max()) < num_epochs


def _zero_sums(num_folds: int, num_classes: int) -> Sums:
    """Sums over no image, of each fold, on the host."""
    shapes = jax.eval_shape(lambda: zero_sums(num_classes))
    return jax.tree.map(lambda leaf: np.zeros((num_folds, *leaf.shape), leaf.dtype), shapes)


@jax.jit
def _copy(state: FoldState) -> FoldState:
    return jax.tree.map(jnp.copy, state)


@jax.jit
def _first_fold(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], tree)


def _next_chunk(steps: int, seconds: float) -> int:
    """Steps that should take about `_CHUNK_SECONDS`, given that `steps` took `seconds`."""
    if steps == 0:
        return 1
    return max(1, min(4 * steps, int(steps * _CHUNK_SECONDS / seconds)))
