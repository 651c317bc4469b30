"""One fold: its state and its epoch as pure functions, which `fit` compiles and a strategy lifts to k folds.

Every key is a pure function of (seed, fold, epoch, step), so neither the length of a chunk nor an interruption
changes a bit of the result.
"""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float32, Int32, Key

from medjax.metrics import Sums, add_sums, sum_batch, zero_sums
from medjax.models.network import Variables, count_classes
from medjax.training.batching import Batch, Pixels, choose_fillers, take_batch
from medjax.training.controls import Control, best_so_far
from medjax.training.fold_plan import FoldPlan, evaluation_batch
from medjax.training.hoisting import hoist
from medjax.training.learner import Learner, LearnerState
from medjax.training.sampling import order_images, update_running_losses


class Watch(NamedTuple):
    """A control and the metric that it follows, of the validation part at the end of each epoch."""

    control: Control
    monitor: Callable[[Sums], Float32[Array | np.ndarray, ""]]


class Controls(NamedTuple):
    """What is decided by the scores of the validation part; None for what is not used."""

    best: Watch = Watch(
        best_so_far(mode="min"), operator.attrgetter("mean_loss")
    )  # which parameters are kept as the best
    stopping: Watch | None = None
    plateau: Watch | None = None
    is_best_by_stopping: bool = False  # the best epoch is that of `stopping` instead of `best`

    @property
    def need_validation(self) -> bool:
        """Whether training itself depends on them."""
        return self.stopping is not None or self.plateau is not None


class ControlStates(NamedTuple):
    """The state of each control; an empty tuple for one that is not used."""

    best: Any
    stopping: Any
    plateau: Any


class Best(NamedTuple):
    """The variables that did best on the validation part so far."""

    variables: Variables
    epoch: Int32[Array, "*fold"]  # from 0; -1 before the first epoch ends


class FoldState(NamedTuple):
    """All that decides how training goes on. Of several folds, every leaf has a leading axis of folds."""

    learner: LearnerState
    controls: ControlStates
    best: Best
    # The running mean of each image's losses, infinite before the first; an empty tuple without loss-proportional sampling.
    running_losses: Any
    epoch: Int32[Array, "*fold"]  # epochs finished
    active: Bool[Array, "*fold"]  # false once the fold has stopped; it then stays as it is
    diverged: Bool[Array, "*fold"]  # stopped by a loss or gradient that was not finite


def init_fold(
    key: Key[Array, ""],
    learner: Learner,
    controls: Controls,
    image_shape: tuple[int, ...],
    *,
    keeps_losses: bool = False,
) -> FoldState:
    """The state before the first epoch; `image_shape` is (n, height, width, channel)."""
    init_key, _ = jax.random.split(key)
    state = learner.init(init_key, image_shape[1:])
    return FoldState(
        learner=state,
        controls=ControlStates(
            *(
                () if watch is None else watch.control.init()
                for watch in (controls.best, controls.stopping, controls.plateau)
            )
        ),
        # A copy, because both are donated to the first step.
        best=Best(jax.tree.map(jnp.copy, state.variables), epoch=jnp.full((), -1, jnp.int32)),
        running_losses=jnp.full(image_shape[0], jnp.inf, jnp.float32) if keeps_losses else (),
        epoch=jnp.zeros((), jnp.int32),
        active=jnp.ones((), bool),
        diverged=jnp.zeros((), bool),
    )


def shuffle_epoch(
    num_classes: int,
    batch_size: int,
    num_steps: int,
    labels: Int32[Array, "n"],
    start: Int32[Array, ""],
    plan: FoldPlan,
    state: FoldState,
) -> FoldPlan:
    """The plan of one fold with its training images in the order of its epoch (see `order_images`)."""
    order_key, _ = _epoch_keys(plan, state)
    return order_images(
        order_key,
        labels,
        plan,
        state.running_losses,
        start,
        num_classes=num_classes,
        batch_size=batch_size,
        num_steps=num_steps,
    )


def run_steps(
    learner: Learner,
    batch_size: int,
    images: Pixels,
    labels: Int32[Array, "n"],
    start: Int32[Array, ""],
    stop: Int32[Array, ""],
    plan: FoldPlan,
    state: FoldState,
    sums: Sums,
) -> tuple[FoldState, Sums]:
    """Steps `start` to `stop` of one fold's epoch; the plan is in the order of the epoch.

    The bounds are traced: any chunk of the epoch is the same program.
    """

    fillers = choose_fillers(plan.train, batch_size)

    def step(index: Array, carry: tuple[FoldState, Sums, Any]) -> tuple[FoldState, Sums, Any]:
        state, sums, steps_key = carry
        batch = take_batch(images, labels, plan.train, index, batch_size, fillers)
        batch = batch._replace(mask=batch.mask & state.active)
        if not isinstance(plan.loss_weights, tuple):
            batch = batch._replace(weights=plan.loss_weights[batch.labels])
        learner_state, info = learner.train_step(jax.random.fold_in(steps_key, index), state.learner, batch)
        state = state._replace(
            learner=learner_state,
            running_losses=update_running_losses(state.running_losses, plan, index, batch, info.losses),
            active=state.active & info.is_finite,
            diverged=state.diverged | (state.active & ~info.is_finite),
        )
        return state, add_sums(sums, info.sums), steps_key

    def work(state: FoldState, sums: Sums) -> tuple[FoldState, Sums]:
        _, steps_key = _epoch_keys(plan, state)
        return lax.fori_loop(start, stop, step, (state, sums, steps_key))[:2]

    return lax.cond(state.active, work, lambda state, sums: (state, sums), state, sums)


def finish_epoch(
    learner: Learner,
    controls: Controls,
    num_classes: int,
    images: Pixels,
    labels: Int32[Array, "n"],
    plan: FoldPlan,
    state: FoldState,
) -> tuple[FoldState, Sums]:
    """Score one fold on its validation part, update its controls, count the epoch; return the state and the scores.

    A fold that is not active stays as it is, and its scores are of no image.
    """

    batch_size = evaluation_batch()
    num_batches = plan.val.shape[0] // batch_size
    none = zero_sums(num_classes)

    def work(state: FoldState) -> tuple[FoldState, Sums]:
        finished = state._replace(epoch=state.epoch + 1)
        if num_batches == 0:
            return finished, none

        def take(index: Array) -> Batch:
            return take_batch(images, labels, plan.val, index, batch_size)

        eval_step = hoist(learner.eval_step, state.learner.variables, jax.eval_shape(take, jnp.int32(0)))

        def add_batch(index: Array, sums: Sums) -> Sums:
            batch = take(index)
            logits, losses = eval_step(batch)
            return add_sums(sums, sum_batch(losses, logits, batch.labels, batch.mask))

        val = lax.fori_loop(0, num_batches, add_batch, none)
        return apply_controls(controls, finished, val), val

    return lax.cond(state.active, work, lambda state: (state, none), state)


def apply_controls(controls: Controls, state: FoldState, val: Sums) -> FoldState:
    """The state of one fold at the end of an epoch, after its controls have seen the validation scores."""
    states = ControlStates(
        *(
            () if watch is None else watch.control.update(old, jnp.asarray(watch.monitor(val)))
            for watch, old in zip(
                (controls.best, controls.stopping, controls.plateau), state.controls, strict=True
            )
        )
    )
    is_best = (states.stopping if controls.is_best_by_stopping else states.best).is_best
    candidate = Best(state.learner.variables, state.epoch - 1)
    best = jax.tree.map(lambda new, old: jnp.where(is_best, new, old), candidate, state.best)
    learner_state, active = state.learner, state.active
    if controls.plateau is not None:
        learner_state = learner_state._replace(learning_rate_scale=states.plateau.scale)
    if controls.stopping is not None:
        active = active & ~states.stopping.has_stopped
    return state._replace(learner=learner_state, controls=states, best=best, active=active)


def evaluate_batches(
    learner: Learner,
    variables: Variables,
    images: Pixels,
    labels: Int32[Array, "n"],
    indices: Int32[Array, "padded"],
    stop: Int32[Array, ""],
) -> tuple[Float32[Array, "padded class"], Float32[Array, "padded"]]:
    """Probabilities and losses of the images at `indices`, in the batches before number `stop`; zeros for the rest."""
    batch_size = evaluation_batch()

    def take(index: Array) -> Batch:
        return take_batch(images, labels, indices, index, batch_size)

    predict_step = hoist(learner.predict_step, variables, jax.eval_shape(take, jnp.int32(0)))

    def evaluate_one(index: Array, answers: tuple[Array, Array]) -> tuple[Array, Array]:
        logits, losses = predict_step(take(index))
        first = index * batch_size
        return (
            lax.dynamic_update_slice_in_dim(answers[0], jax.nn.softmax(logits), first, 0),
            lax.dynamic_update_slice_in_dim(answers[1], losses, first, 0),
        )

    num_classes = count_classes(learner.network, images.shape[1:])
    start = jnp.zeros((len(indices), num_classes), jnp.float32), jnp.zeros(len(indices), jnp.float32)
    return lax.fori_loop(0, stop, evaluate_one, start)


def _epoch_keys(plan: FoldPlan, state: FoldState) -> tuple[Key[Array, ""], Key[Array, ""]]:
    """The keys of an epoch: one for the order of its images, one for its steps."""
    _, train_key = jax.random.split(plan.key)
    order_key, steps_key = jax.random.split(jax.random.fold_in(train_key, state.epoch))
    return order_key, steps_key
