"""The loop over epochs, as a generator: the only place that compiles, scans and donates. It touches no disk, no screen."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32, PyTree, UInt8

from medjax.metrics import Sums, zero_sums
from medjax.records import Indices, Predictions, Split
from medjax.training.batching import pad_indices
from medjax.training.folds import (
    EVALUATION_BATCH,
    ClassBalance,
    Controls,
    FoldPlan,
    FoldState,
    evaluate_batches,
    finish_epoch,
    init_fold,
    make_plan,
    run_steps,
    shuffle_epoch,
)
from medjax.training.learner import Learner
from medjax.training.strategies import (
    STRATEGIES,
    Lifted,
    StrategyName,
    compiler_options,
    loop,
    outline,
    place,
)

# Long enough that the calls cost nothing beside the work, short enough that a bar moves and a signal is seen.
_CHUNK_SECONDS = 1.0
_EVALUATIONS_A_CALL = 64
_NO_CONTROLS = Controls()


class EpochInfo(NamedTuple):
    """What a person needs to know of an epoch, of each fold."""

    train: Sums  # as trained on: augmented, with dropout, while the parameters change
    val: (
        Sums  # with the parameters at the end of the epoch; of no image where a fold has no part in the epoch
    )
    learning_rate_scale: Float32[np.ndarray, "fold"]  # that the epoch was trained with
    took_part: Bool[
        np.ndarray, "fold"
    ]  # whether the fold finished this epoch, rather than having stopped before


class Progress(NamedTuple):
    """How far an epoch is; what `on_progress` is told between two calls of the compiled program."""

    epoch: int
    step: int
    num_steps: int
    train: Sums


def fit(
    learner: Learner,
    images: UInt8[Array | np.ndarray, "n height width channel"],
    labels: Int32[Array | np.ndarray, "n"],
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
) -> Iterator[tuple[int, FoldState, EpochInfo]]:
    """Train one model a split; yield (epoch, state, info) at the end of each epoch.

    A holdout is one split. All folds share the images, which are moved to the device once; `strategy` says how the
    folds are worked on. With `loss_proportional_sampling` an epoch has as many steps as ever, but its images are drawn afresh so many
    times, in proportion to how hard each has been so far. `class_balance` makes rare classes count more in the loss, or come
    up more often, until all classes weigh alike. `folds` trains some of the splits only, each exactly as it
    would be trained among all.
    `state` continues where it left off (folds that have not stopped must have finished as many epochs as each
    other); without it training starts from fresh parameters. The yielded state is only good until the generator is
    resumed, which reuses its memory; the last one stays. Training ends early when no fold is active any more.
    Controls that decide over training raise ValueError where a fold has no validation part, and so do draws both by class
    and by how hard images are.
    """
    if controls.need_validation and not all(len(split.val) for split in splits):
        raise ValueError("early stopping and plateaus need a validation part in every split")
    if loss_proportional_sampling and class_balance == "sampling":
        raise ValueError("images are drawn either by class or by how hard they are")
    if state is not None and not _has_work(state, num_epochs):
        return
    images, labels = place(strategy, (images, labels))
    planning = functools.partial(
        make_plan,
        splits,
        seed=seed,
        batch_size=batch_size,
        folds=folds,
        labels=None if class_balance == "none" else np.asarray(labels),
        class_balance=class_balance,
    )
    shapes = jax.eval_shape(planning)
    num_steps = shapes.train.shape[1] // batch_size
    steps_a_draw = -(-num_steps // max(loss_proportional_sampling, 1))
    programs = _compile_epoch(learner, batch_size, steps_a_draw, controls, strategy)
    init_options = images.shape, controls, loss_proportional_sampling > 0
    init = _make_init(learner, *init_options)
    no_sums = _zero_sums(shapes.key.shape[0], learner.num_classes)
    shapes = outline(strategy, (shapes, jax.eval_shape(jax.vmap(init), shapes.key), no_sums))
    with _compiling(programs, images, labels, *shapes) as ready:
        plan = place(strategy, planning())
        # A copy, as the first step gives the memory away.
        state = _copy(state) if state is not None else init_state(learner, plan, *init_options)
        state = place(strategy, state)
        chunk = 0  # The first call takes no step: it waits for the program, and what follows can be timed.
        # Folds that have stopped keep the epoch they stopped in; the others are all in the same.
        for epoch in range(int(np.asarray(state.epoch).max()), num_epochs):
            if not _has_work(state, num_epochs):
                return
            sums = place(strategy, no_sums)
            step = next_draw = 0
            while step < num_steps and np.asarray(state.active).any():
                if step == next_draw:
                    shuffled = programs.shuffle(labels, jax.device_put(np.int32(step)), plan, state)
                    next_draw = min(step + steps_a_draw, num_steps)
                ready.run_chunk.result()
                started = time.perf_counter()
                stop = min(step + chunk, next_draw)
                bounds = jax.device_put((step, stop))
                state, sums = programs.run_chunk(images, labels, *bounds, shuffled, state, sums)
                jax.block_until_ready(sums)
                chunk = _next_chunk(stop - step, time.perf_counter() - started)
                step = stop
                if on_progress is not None:
                    on_progress(Progress(epoch, step, num_steps, sums))
            ready.end_epoch.result()
            scale, before = np.array(state.learner.learning_rate_scale), np.array(state.epoch)
            state, val = programs.end_epoch(images, labels, plan, state)
            yield epoch, state, EpochInfo(sums, val, scale, np.asarray(state.epoch) > before)


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


def init_state(
    learner: Learner,
    plan: FoldPlan,
    image_shape: tuple[int, ...],
    controls: Controls = _NO_CONTROLS,
    keeps_losses: bool = False,
) -> FoldState:
    """Fresh states for the folds of a plan; images are (n, height, width, channel)."""
    return _compile_init(learner, tuple(image_shape), controls, keeps_losses)(plan.key)


def predict(
    learner: Learner,
    parameters: PyTree[Float32[Array | np.ndarray, "..."]],
    images: UInt8[Array | np.ndarray, "n height width channel"],
    labels: Int32[Array | np.ndarray, "n"],
    indices: Indices,
) -> Predictions:
    """Probabilities and losses of the images at `indices`, by the parameters of one fold (no leading axis)."""
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    parameters = jax.tree.map(jnp.asarray, parameters)
    evaluate = _compile_evaluation(learner)
    size = EVALUATION_BATCH * _EVALUATIONS_A_CALL  # one program, however many images there are
    calls = [
        evaluate(parameters, images, labels, pad_indices(chosen, size), -(-len(chosen) // EVALUATION_BATCH))
        for chosen in np.split(indices, range(size, len(indices), size))
    ]
    probabilities, losses = (
        np.concatenate(parts)[: len(indices)] for parts in zip(*jax.device_get(calls), strict=True)
    )
    return Predictions(indices, np.asarray(labels)[indices], probabilities, losses)


# Compiled once for each learner, so that a second fit or predict in a process does not wait again.


class _Programs(NamedTuple):
    shuffle: Lifted
    run_chunk: Lifted
    end_epoch: Lifted


class _Ready(NamedTuple):
    """When each of the two is compiled; an error while compiling is raised by `result()`."""

    run_chunk: Future
    end_epoch: Future


@contextlib.contextmanager
def _compiling(
    programs: _Programs, images: Any, labels: Any, plan: Any, state: Any, sums: Any
) -> Iterator[_Ready]:
    """Compile what trains, then what ends an epoch, in a thread of its own, beside whatever is done meanwhile.

    The arguments may be of shapes alone. What is left when the context ends is not waited for.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="compiling")
    bounds = jax.device_put((0, 0))
    try:
        yield _Ready(
            thread.submit(_compile, programs.run_chunk, images, labels, *bounds, plan, state, sums),
            thread.submit(_compile, programs.end_epoch, images, labels, plan, state),
        )
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


def _compile(program: Lifted, *arguments: Any) -> None:
    program.lower(*arguments).compile()


def _make_init(
    learner: Learner, image_shape: tuple[int, ...], controls: Controls, keeps_losses: bool
) -> Callable[[Any], FoldState]:
    return functools.partial(
        init_fold,
        learner=learner,
        controls=controls,
        image_shape=image_shape,
        keeps_losses=keeps_losses,
    )


@functools.lru_cache(maxsize=8)
def _compile_init(
    learner: Learner, image_shape: tuple[int, ...], controls: Controls, keeps_losses: bool
) -> Lifted:
    one_fold = _make_init(learner, image_shape, controls, keeps_losses)
    # Always by `loop`: fresh parameters are the same bits under every strategy. It runs once, so it need not be
    # optimised: a quarter of the time to compile, for the same bits.
    return loop(one_fold, num_shared=0, effort=0)


@functools.lru_cache(maxsize=8)
def _compile_epoch(
    learner: Learner, batch_size: int, steps_a_draw: int, controls: Controls, strategy: StrategyName
) -> _Programs:
    lift = STRATEGIES[strategy]
    return _Programs(
        lift(functools.partial(shuffle_epoch, learner, batch_size, steps_a_draw), num_shared=2),
        lift(functools.partial(run_steps, learner, batch_size), num_shared=4, donate=(5, 6)),
        lift(functools.partial(finish_epoch, learner, controls), num_shared=2, donate=(3,)),
    )


@functools.lru_cache(maxsize=8)
def _compile_evaluation(learner: Learner) -> Callable[..., Any]:
    return jax.jit(functools.partial(evaluate_batches, learner), compiler_options=compiler_options())


def _next_chunk(steps: int, seconds: float) -> int:
    """Steps that should take about `_CHUNK_SECONDS`, given that `steps` took `seconds`."""
    if steps == 0:
        return 1
    return max(1, min(4 * steps, int(steps * _CHUNK_SECONDS / seconds)))
