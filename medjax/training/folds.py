"""One fold: its plan, its state, and its epoch as pure functions. `fit` compiles them and a strategy lifts them to k.

Every key is a pure function of (seed, fold, epoch, step), so neither the length of a chunk nor an interruption
changes a bit of the result.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float32, Int32, Int64, Key, UInt8, UInt32

from medjax.metrics import Sums, add_sums, sum_batch, zero_sums
from medjax.models.network import Variables, count_classes
from medjax.records import Labels, Split
from medjax.training.batching import PADDING, Batch, choose_fillers, pad_indices, shuffle_indices, take_batch
from medjax.training.controls import Control, best_so_far
from medjax.training.learner import Learner, LearnerState

ClassBalance = Literal["none", "weights", "sampling"]
EVALUATION_BATCH = 128
# In nats. An image that is learned is still drawn now and then, this much against the losses of the hard ones.
_SMALLEST_LOSS = 0.005


class Watch(NamedTuple):
    """A control and the number it follows, computed of the validation part at the end of each epoch."""

    control: Control
    monitor: Callable[[Sums], Float32[Array | np.ndarray, ""]]


class Controls(NamedTuple):
    """What is decided by looking at the validation part; the parts that are None decide nothing."""

    best: Watch = Watch(
        best_so_far(mode="min"), operator.attrgetter("mean_loss")
    )  # which parameters are kept as the best
    stopping: Watch | None = None
    plateau: Watch | None = None
    is_best_by_stopping: bool = False  # keep as the best what `stopping` counts as such, in place of `best`

    @property
    def need_validation(self) -> bool:
        """Whether training itself depends on them."""
        return self.stopping is not None or self.plateau is not None


class ControlStates(NamedTuple):
    """The state of each control; an empty tuple for one that is not there."""

    best: Any
    stopping: Any
    plateau: Any


class Best(NamedTuple):
    """The variables that did best on the validation part so far."""

    variables: Variables
    epoch: Int32[Array, "*fold"]  # from 0; -1 before the first epoch ends


class FoldState(NamedTuple):
    """Everything that decides a fold's future. Outside a strategy every leaf has a leading axis of folds."""

    learner: LearnerState
    controls: ControlStates
    best: Best
    # Of each image, the running mean of its losses, infinite before the first; an empty tuple where epochs do not choose.
    running_losses: Any
    epoch: Int32[Array, "*fold"]  # epochs finished
    active: Bool[Array, "*fold"]  # false once the fold has stopped; it then stays as it is
    diverged: Bool[Array, "*fold"]  # stopped by a loss or gradient that was not finite


class FoldPlan(NamedTuple):
    """What makes a fold different from the others."""

    key: Key[Array, "*fold"]
    train: Int32[Array, "*fold train"]  # indices of images, padded
    val: Int32[Array, "*fold val"]
    # Of each class, n / (classes x images of it) over the training images: float32 [*fold, class], or an empty tuple
    # where the loss, or the drawing of images, does not go by it.
    loss_weights: Any
    draw_weights: Any


def make_plan(
    splits: Sequence[Split],
    *,
    seed: int,
    batch_size: int,
    folds: Sequence[int] | None = None,
    labels: Labels | None = None,
    class_balance: ClassBalance = "none",
) -> FoldPlan:
    """The plans of some folds of these splits (all, by default), with a leading axis of folds.

    The number of a fold, which seeds it, is its place in `splits`. All are padded to the longest of all splits, so
    that a fold's plan does not depend on which others are chosen with it. Balancing classes takes the `labels`.
    """
    chosen = np.arange(len(splits)) if folds is None else np.array(folds)
    weights = () if labels is None else jax.device_put(_balance_classes(splits, labels)[chosen])
    return FoldPlan(
        key=_make_keys(np.uint32(seed), chosen.astype(np.uint32)),
        train=jax.device_put(_pad_folds([split.train for split in splits], batch_size)[chosen]),
        val=jax.device_put(_pad_folds([split.val for split in splits], EVALUATION_BATCH)[chosen]),
        loss_weights=weights if class_balance == "weights" else (),
        draw_weights=weights if class_balance == "sampling" else (),
    )


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
        # A copy, as the memory of both is given away in the first step.
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
    """The plan of one fold with its training images in the order of the epoch that it is in.

    Where the state knows how hard images are, the images of `num_steps` steps from `start` on are drawn without
    replacement, each draw in proportion to how hard they are. An image that is learned comes back only now and then, and
    time goes to the rest. Where the plan weighs the drawing of classes, images are drawn with replacement.

    References:
        Loshchilov and Hutter: Online batch selection for faster training of neural networks, 2015.
        https://arxiv.org/abs/1511.06343
        Efraimidis and Spirakis: Weighted random sampling with a reservoir, 2006.
        https://doi.org/10.1016/j.ipl.2005.11.003
    """
    order_key, _ = _epoch_keys(plan, state)
    if not isinstance(plan.draw_weights, tuple):
        return plan._replace(train=_draw_by_class(order_key, labels, plan))
    if isinstance(state.running_losses, tuple):
        return plan._replace(train=shuffle_indices(order_key, plan.train))
    order_key, draw_key = jax.random.split(jax.random.fold_in(order_key, start))
    # An image not seen yet is as hard as for a model that knows nothing.
    running_losses = jnp.where(jnp.isinf(state.running_losses), jnp.log(num_classes), state.running_losses)
    weights = jnp.log(jnp.maximum(running_losses[plan.train], _SMALLEST_LOSS))
    ranks = weights + jax.random.gumbel(draw_key, plan.train.shape)
    _, places = lax.top_k(jnp.where(plan.train == PADDING, -jnp.inf, ranks), num_steps * batch_size)
    drawn = shuffle_indices(order_key, plan.train[places])
    # The last steps of an epoch may be fewer than `num_steps`: then the slice begins before `start`, where all is done.
    return plan._replace(train=lax.dynamic_update_slice_in_dim(plan.train, drawn, start * batch_size, axis=0))


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
    """Steps `start` to `stop` of the epoch that one fold is in, its plan shuffled for it.

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
            running_losses=_note_losses(state.running_losses, plan, index, batch, info.losses),
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
    images: UInt8[Array, "n height width channel"],
    labels: Int32[Array, "n"],
    plan: FoldPlan,
    state: FoldState,
) -> tuple[FoldState, Sums]:
    """Score one fold on its validation part, let the controls decide, count the epoch; return the scores too.

    A fold that is not active stays as it is, and its scores are of no image.
    """

    num_batches = plan.val.shape[0] // EVALUATION_BATCH
    none = zero_sums(num_classes)

    def work(state: FoldState) -> tuple[FoldState, Sums]:
        def add_batch(index: Array, sums: Sums) -> Sums:
            batch = take_batch(images, labels, plan.val, index, EVALUATION_BATCH)
            logits, losses = learner.eval_step(state.learner.variables, batch)
            return add_sums(sums, sum_batch(losses, logits, batch.labels, batch.mask))

        finished = state._replace(epoch=state.epoch + 1)
        if num_batches == 0:
            return finished, none
        val = lax.fori_loop(0, num_batches, add_batch, none)
        return apply_controls(controls, finished, val), val

    return lax.cond(state.active, work, lambda state: (state, none), state)


def apply_controls(controls: Controls, state: FoldState, val: Sums) -> FoldState:
    """The state of one fold, an epoch finished, after its controls have seen the scores of its validation part."""
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
    images: UInt8[Array, "n height width channel"],
    labels: Int32[Array, "n"],
    indices: Int32[Array, "padded"],
    stop: Int32[Array, ""],
) -> tuple[Float32[Array, "padded class"], Float32[Array, "padded"]]:
    """Probabilities and losses of the images at `indices`, in batches up to number `stop`; zeros after them."""

    def evaluate_one(index: Array, answers: tuple[Array, Array]) -> tuple[Array, Array]:
        batch = take_batch(images, labels, indices, index, EVALUATION_BATCH)
        logits, losses = learner.predict_step(variables, batch)
        first = index * EVALUATION_BATCH
        return (
            lax.dynamic_update_slice_in_dim(answers[0], jax.nn.softmax(logits), first, 0),
            lax.dynamic_update_slice_in_dim(answers[1], losses, first, 0),
        )

    num_classes = count_classes(learner.network, images.shape[1:])
    start = jnp.zeros((len(indices), num_classes), jnp.float32), jnp.zeros(len(indices), jnp.float32)
    return lax.fori_loop(0, stop, evaluate_one, start)


def _draw_by_class(key: Key[Array, ""], labels: Array, plan: FoldPlan) -> Int32[Array, "train"]:
    """As many training images as there are, each draw in proportion to the weight of its class."""
    is_image = plan.train != PADDING
    totals = jnp.cumsum(jnp.where(is_image, plan.draw_weights[labels[plan.train]], 0))
    places = jnp.searchsorted(totals, jax.random.uniform(key, totals.shape, maxval=totals[-1]), side="right")
    # Rounding may reach the total itself, which would be the place after the last image.
    return jnp.where(is_image, plan.train[jnp.minimum(places, is_image.sum() - 1)], PADDING)


def _note_losses(running_losses: Any, plan: FoldPlan, step: Array, batch: Batch, losses: Array) -> Any:
    """The running losses of all images updated by the losses of a batch; unchanged if none are kept."""
    if isinstance(running_losses, tuple):
        return running_losses
    chosen = lax.dynamic_slice_in_dim(plan.train, step * len(losses), len(losses))
    before = running_losses[chosen]
    # A mean, because augmentation and dropout make a single loss a matter of luck.
    after = jnp.where(jnp.isinf(before), losses, (before + losses) / 2)
    nowhere = len(running_losses)  # a place that is dropped: a negative one would count from the end
    return running_losses.at[jnp.where(batch.mask, chosen, nowhere)].set(after, mode="drop")


def _epoch_keys(plan: FoldPlan, state: FoldState) -> tuple[Key[Array, ""], Key[Array, ""]]:
    """Keys of the order of an epoch's images and of its steps."""
    _, train_key = jax.random.split(plan.key)
    order_key, steps_key = jax.random.split(jax.random.fold_in(train_key, state.epoch))
    return order_key, steps_key


@jax.jit  # as one program: outside of one, each of its small operations would be compiled by itself
def _make_keys(seed: UInt32[Array, ""], folds: UInt32[Array, "fold"]) -> Key[Array, "fold"]:
    """The key of each fold."""
    return jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(folds)


def _balance_classes(splits: Sequence[Split], labels: Labels) -> Float32[np.ndarray, "fold class"]:
    """Weights of the classes in each fold; of all its training images they average 1, and every class sums up alike."""
    counts = np.stack([np.bincount(labels[split.train], minlength=labels.max() + 1) for split in splits])
    return (counts.sum(axis=1, keepdims=True) / (counts.shape[1] * counts)).astype(np.float32)


def _pad_folds(parts: Sequence[Int64[np.ndarray, "_"]], batch_size: int) -> Int32[np.ndarray, "fold padded"]:
    longest = max(len(part) for part in parts)
    length = len(pad_indices(np.arange(longest), batch_size))
    padded = [np.pad(part, (0, length - len(part)), constant_values=PADDING) for part in parts]
    return np.stack(padded).astype(np.int32)
