"""The epoch loop, as a generator: the only place that compiles, scans and donates. It touches no disk, no screen.

Every key is a pure function of (seed, fold, epoch, step), so neither the length of a chunk nor an interruption
changes a bit of the result.
"""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float32, Int32, Key, PyTree, UInt8

from medjax.metrics import Sums, add_sums, mean_loss, sum_batch, zero_sums
from medjax.records import Indices, Predictions, Split
from medjax.training.batching import PADDING, pad_indices, shuffle_indices, take_batch
from medjax.training.learner import Learner, LearnerState
from medjax.training.strategies import loop

# Long enough that the calls cost nothing beside the work, short enough that a bar moves and a signal is seen.
_CHUNK_SECONDS = 0.5
_EVALUATION_BATCH = 128


class Best(NamedTuple):
    """The parameters with the lowest validation loss so far."""

    parameters: PyTree[Float32[Array, "..."]]
    loss: Float32[Array, "*fold"]  # infinite before the first epoch ends
    epoch: Int32[Array, "*fold"]


class FoldState(NamedTuple):
    """Everything that decides a fold's future. Outside a strategy every leaf has a leading axis of folds."""

    learner: LearnerState
    best: Best
    epoch: Int32[Array, "*fold"]  # epochs finished
    active: Bool[Array, "*fold"]  # false once the fold has stopped; it then stays as it is
    diverged: Bool[Array, "*fold"]  # stopped by a loss or gradient that was not finite


class FoldPlan(NamedTuple):
    """What makes a fold different from the others."""

    key: Key[Array, "fold"]
    train: Int32[Array, "fold train"]  # indices of images, padded
    val: Int32[Array, "fold val"]


class EpochInfo(NamedTuple):
    """What a person needs to know of an epoch, of each fold."""

    train: Sums  # as trained on: augmented, with dropout, while the parameters change
    val: Sums  # with the parameters at the end of the epoch; zero where the fold diverged
    diverged: Bool[Array, "fold"]


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
    state: FoldState | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Iterator[tuple[int, FoldState, EpochInfo]]:
    """Train one model a split; yield (epoch, state, info) at the end of each epoch.

    A holdout is one split. All folds share the images, which are moved to the device once. `state` continues
    where it left off; without it training starts from fresh parameters. The yielded state is only good until the
    generator is resumed, which reuses its memory; the last one stays. Training ends early when no fold is active.
    """
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    plan = make_plan(splits, seed=seed, batch_size=batch_size)
    num_steps = plan.train.shape[1] // batch_size
    if state is None:
        state = init_state(learner, plan, images.shape[1:])
    run_chunk, end_epoch = _compile_epoch(learner, batch_size)
    no_sums = jax.device_get(jax.vmap(lambda _: zero_sums(learner.num_classes))(plan.key))
    chunk = 0  # The first call takes no step: it compiles, and what follows can be timed.
    for epoch in range(int(state.epoch.min()), num_epochs):
        sums = jax.device_put(no_sums)
        step = 0
        while step < num_steps and state.active.any():
            started = time.perf_counter()
            stop = min(step + chunk, num_steps)
            state, sums = run_chunk(images, labels, *jax.device_put((step, stop)), plan, state, sums)
            jax.block_until_ready(sums)
            chunk = _next_chunk(stop - step, time.perf_counter() - started)
            step = stop
            if on_progress is not None:
                on_progress(Progress(epoch, step, num_steps, sums))
        state, val = end_epoch(images, labels, plan, state)
        yield epoch, state, EpochInfo(sums, val, state.diverged)
        if not state.active.any():
            return


def make_plan(splits: Sequence[Split], *, seed: int, batch_size: int) -> FoldPlan:
    """The plan of each split, padded to the same length; fold numbers, which seed them, count from 0."""
    root = jax.random.key(seed)
    return FoldPlan(
        key=jnp.stack([jax.random.fold_in(root, fold) for fold in range(len(splits))]),
        train=_pad_folds([split.train for split in splits], batch_size),
        val=_pad_folds([split.val for split in splits], _EVALUATION_BATCH),
    )


def init_state(learner: Learner, plan: FoldPlan, image_shape: tuple[int, ...]) -> FoldState:
    """Fresh states for the folds of a plan; images are (height, width, channel)."""

    def one_fold(key: Key[Array, ""]) -> FoldState:
        init_key, _ = jax.random.split(key)
        state = learner.init(init_key, image_shape)
        return FoldState(
            learner=state,
            # A copy, as the memory of both is given away in the first step.
            best=Best(
                jax.tree.map(jnp.copy, state.parameters),
                loss=jnp.full((), jnp.inf, jnp.float32),
                epoch=jnp.full((), -1, jnp.int32),
            ),
            epoch=jnp.zeros((), jnp.int32),
            active=jnp.ones((), bool),
            diverged=jnp.zeros((), bool),
        )

    return loop(one_fold, num_shared=0)(plan.key)


def predict(
    learner: Learner,
    parameters: PyTree[Float32[Array | np.ndarray, "..."]],
    images: UInt8[Array | np.ndarray, "n height width channel"],
    labels: Int32[Array | np.ndarray, "n"],
    indices: Indices,
) -> Predictions:
    """Probabilities and losses of the images at `indices`, by the parameters of one fold (no leading axis)."""
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    padded = jnp.asarray(pad_indices(indices, _EVALUATION_BATCH))
    evaluate = _compile_evaluation(learner)
    batches = [
        evaluate(parameters, images, labels, padded, step) for step in range(len(padded) // _EVALUATION_BATCH)
    ]
    probabilities, losses = (
        np.concatenate([np.asarray(part) for part in parts])[: len(indices)]
        for parts in zip(*batches, strict=True)
    )
    return Predictions(indices, np.asarray(labels)[indices], probabilities, losses)


def run_steps(
    learner: Learner,
    batch_size: int,
    images: UInt8[Array, "n height width channel"],
    labels: Int32[Array, "n"],
    start: Int32[Array, ""],
    stop: Int32[Array, ""],
    plan: FoldPlan,
    state: FoldState,
    sums: Sums,
) -> tuple[FoldState, Sums]:
    """Steps `start` to `stop` of the epoch that one fold is in. The bounds are traced: any chunk, one program."""
    _, train_key = jax.random.split(plan.key)
    order_key, steps_key = jax.random.split(jax.random.fold_in(train_key, state.epoch))
    order = shuffle_indices(order_key, plan.train)

    def step(index: Array, carry: tuple[FoldState, Sums]) -> tuple[FoldState, Sums]:
        state, sums = carry
        batch = take_batch(images, labels, order, index, batch_size)
        batch = batch._replace(mask=batch.mask & state.active)
        key = jax.random.fold_in(steps_key, index)
        learner_state, info = learner.train_step(key, state.learner, batch)
        state = state._replace(
            learner=learner_state,
            active=state.active & info.is_finite,
            diverged=state.diverged | (state.active & ~info.is_finite),
        )
        return state, add_sums(sums, info.sums)

    return lax.fori_loop(start, stop, step, (state, sums))


def finish_epoch(
    learner: Learner,
    images: UInt8[Array, "n height width channel"],
    labels: Int32[Array, "n"],
    plan: FoldPlan,
    state: FoldState,
) -> tuple[FoldState, Sums]:
    """Score one fold on its validation part, and count the epoch; a fold that is not active stays as it is."""

    def add_batch(index: Array, sums: Sums) -> Sums:
        batch = take_batch(images, labels, plan.val, index, _EVALUATION_BATCH)
        logits, losses = learner.eval_step(state.learner.parameters, batch)
        return add_sums(sums, sum_batch(losses, logits, batch.labels, batch.mask & state.active))

    num_batches = plan.val.shape[0] // _EVALUATION_BATCH
    val = lax.fori_loop(0, num_batches, add_batch, zero_sums(learner.num_classes))
    candidate = Best(state.learner.parameters, mean_loss(val), state.epoch)
    is_better = state.active & (candidate.loss < state.best.loss)
    best = jax.tree.map(lambda new, old: jnp.where(is_better, new, old), candidate, state.best)
    return state._replace(best=best, epoch=state.epoch + state.active), val


def evaluate_batch(
    learner: Learner,
    parameters: PyTree[Float32[Array, "..."]],
    images: UInt8[Array, "n height width channel"],
    labels: Int32[Array, "n"],
    indices: Int32[Array, "padded"],
    step: Int32[Array, ""],
) -> tuple[Float32[Array, "batch class"], Float32[Array, "batch"]]:
    """Probabilities and losses of batch number `step` of the images at `indices`."""
    batch = take_batch(images, labels, indices, step, _EVALUATION_BATCH)
    logits, losses = learner.eval_step(parameters, batch)
    return jax.nn.softmax(logits), losses


# Compiled once for each learner, so that a second fit or predict in a process does not wait again.


@functools.lru_cache(maxsize=8)
def _compile_epoch(learner: Learner, batch_size: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return (
        loop(functools.partial(run_steps, learner, batch_size), num_shared=4, donate=(5, 6)),
        loop(functools.partial(finish_epoch, learner), num_shared=2, donate=(3,)),
    )


@functools.lru_cache(maxsize=8)
def _compile_evaluation(learner: Learner) -> Callable[..., Any]:
    return jax.jit(functools.partial(evaluate_batch, learner))


def _next_chunk(steps: int, seconds: float) -> int:
    """Steps that should take about `_CHUNK_SECONDS`, given that `steps` took `seconds`."""
    if steps == 0:
        return 1
    return max(1, min(4 * steps, int(steps * _CHUNK_SECONDS / seconds)))


def _pad_folds(parts: Sequence[Indices], batch_size: int) -> Int32[Array, "fold padded"]:
    longest = max(len(part) for part in parts)
    length = len(pad_indices(np.arange(longest), batch_size))
    return jnp.asarray(
        np.stack([np.pad(part, (0, length - len(part)), constant_values=PADDING) for part in parts]),
        jnp.int32,
    )
