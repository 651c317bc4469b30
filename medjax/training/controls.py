"""Early stopping, learning-rate reduction and the best epoch, decided by a metric at the end of each epoch.

The rules are those of Keras 3, quirks included, as pure functions from one epoch's state to the next. Each is
written for one fold; `jax.vmap` and `jax.lax.map` give one state per fold.

As in Keras, the first epoch counts as an improvement whatever its metric is. A NaN there is never improved
on, because no comparison with NaN is true; a NaN later on is an epoch without improvement. A metric that is
better by exactly `min_delta` has not improved. Metrics are compared in float32. Keras subtracts `min_delta`
in float64 before it rounds, so the two can part where a metric has changed by `min_delta` to the last bit;
not so where float32 holds `min_delta` exactly, as it does zero.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

Mode = Literal["min", "max"]  # whether a lower or a higher metric is better

State = Any  # one of the three below; beartype knows no NamedTuple that is generic

_WORST = {"min": jnp.inf, "max": -jnp.inf}


class StoppingState(NamedTuple):
    """State of early stopping of a fold."""

    best: Float32[Array, "*fold"]  # best metric so far; before the first epoch the worst infinity
    wait: Int32[Array, "*fold"]  # epochs since one last beat both the best metric and the baseline
    epoch: Int32[Array, "*fold"]  # epochs seen
    is_best: Bool[Array, "*fold"]  # the last epoch's weights are the best so far
    has_stopped: Bool[Array, "*fold"]  # updates then change nothing


class PlateauState(NamedTuple):
    """State of the learning-rate rule of a fold."""

    best: Float32[Array, "*fold"]  # best metric so far; before the first epoch the worst infinity
    wait: Int32[Array, "*fold"]  # epochs without improvement, except those of a cooldown
    cooldown: Int32[Array, "*fold"]  # epochs left of it; the last of them counts again
    scale: Float32[Array, "*fold"]  # factor on the learning rate, 0 to 1; 1 before any reduction
    epoch: Int32[Array, "*fold"]  # epochs seen


class BestState(NamedTuple):
    """State of the best epoch of a fold."""

    value: Float32[Array, "*fold"]  # best metric so far; before the first epoch the worst infinity
    is_best: Bool[Array, "*fold"]  # the last epoch's metric is that one
    epoch: Int32[Array, "*fold"]  # epochs seen


class Control(NamedTuple):
    """Two pure functions over an explicit state: `init` makes it, `update` advances it by one epoch."""

    init: Callable[[], State]
    update: Callable[[State, Float32[Array, ""]], State]  # the metric is that of the epoch just finished


def early_stopping(
    *, mode: Mode = "min", min_delta: float = 0.0, patience: int = 0, baseline: float | None = None
) -> Control:
    """Stop after `patience` (0 or more) epochs without improvement, as Keras's EarlyStopping does.

    An improvement is larger than `min_delta` (0 or more, in the metric's unit). With a `baseline`, the wait
    restarts only at an improvement that is also better than the baseline by more than `min_delta`. Only an
    epoch without improvement stops a fold: one that improves every epoch goes on for good, even if it never
    reaches the baseline. A patience of 0 means the same as 1, and the first epoch never stops. `is_best`
    marks the weights that `restore_best_weights=True` would restore; the baseline has no say in them.

    References:
        Keras team: EarlyStopping. Keras 3 API documentation, 2026.
        https://keras.io/api/callbacks/early_stopping/
    """

    def init() -> StoppingState:
        return StoppingState(_worst(mode), _zero(), _zero(), jnp.zeros((), bool), jnp.zeros((), bool))

    def update(state: StoppingState, value: Float32[Array, ""]) -> StoppingState:
        is_best = (state.epoch == 0) | _beats(value, state.best, mode, min_delta)
        restarts = is_best if baseline is None else is_best & _beats(value, baseline, mode, min_delta)
        wait = jnp.where(restarts, 0, state.wait + 1)
        updated = StoppingState(
            best=jnp.where(is_best, value, state.best),
            wait=wait,
            epoch=state.epoch + 1,
            is_best=is_best,
            has_stopped=~is_best & (wait >= patience),
        )
        return jax.tree.map(lambda old, new: jnp.where(state.has_stopped, old, new), state, updated)

    return Control(init, update)


def reduce_on_plateau(
    *,
    learning_rate: float,
    mode: Mode = "min",
    factor: float = 0.1,
    patience: int = 10,
    min_delta: float = 1e-4,
    cooldown: int = 0,
    min_lr: float = 0.0,
) -> Control:
    """Lower the learning rate after `patience` epochs without improvement, as Keras's ReduceLROnPlateau does.

    The rate in force is `learning_rate` times the state's scale. A plateau multiplies it by `factor` (0 to
    below 1), never takes it below `min_lr` (0 or more), and begins `cooldown` (0 or more) epochs that count for
    nothing, but for the last: a cooldown of 1 means the same as none. A rate that is at `min_lr`, or started
    below, stays as it is: then the wait goes on growing and no cooldown begins. An improvement is larger than
    `min_delta` (0 or more, in the metric's unit). A patience of 0 means the same as 1.

    Keras rounds the rate where this rounds a scale, so the two rates differ by float32's rounding. What is
    within a millionth of `min_lr` is taken for `min_lr`. Keras sometimes ends a rounding error above it, and
    then goes through one more wait and cooldown to take that last step.

    References:
        Keras team: ReduceLROnPlateau. Keras 3 API documentation, 2026.
        https://keras.io/api/callbacks/reduce_lr_on_plateau/
    """
    min_scale = min_lr / learning_rate

    def init() -> PlateauState:
        return PlateauState(_worst(mode), _zero(), _zero(), jnp.ones((), jnp.float32), _zero())

    def update(state: PlateauState, value: Float32[Array, ""]) -> PlateauState:
        improves = (state.epoch == 0) | _beats(value, state.best, mode, min_delta)
        # Keras takes the epoch off a cooldown before it asks whether one is left: the last epoch counts.
        remaining = jnp.maximum(state.cooldown - 1, 0)
        is_counted = ~improves & (remaining == 0)
        wait = jnp.where(improves, 0, state.wait + is_counted)
        reduces = is_counted & (wait >= patience) & (state.scale > min_scale)
        lowered = state.scale * factor
        # Rounding must not leave a rate that divides evenly (0.01 to 0.0001 by tenths) just above its bound.
        lowered = jnp.where(lowered > min_scale * (1 + 1e-6), lowered, min_scale)
        return PlateauState(
            best=jnp.where(improves, value, state.best),
            wait=jnp.where(reduces, 0, wait),
            cooldown=jnp.where(reduces, cooldown, remaining),
            scale=jnp.where(reduces, lowered, state.scale),
            epoch=state.epoch + 1,
        )

    return Control(init, update)


def best_so_far(*, mode: Mode = "min") -> Control:
    """Mark each epoch that is better than all before, as Keras's ModelCheckpoint(save_best_only=True) does.

    References:
        Keras team: ModelCheckpoint. Keras 3 API documentation, 2026.
        https://keras.io/api/callbacks/model_checkpoint/
    """

    def init() -> BestState:
        return BestState(_worst(mode), jnp.zeros((), bool), _zero())

    def update(state: BestState, value: Float32[Array, ""]) -> BestState:
        is_best = (state.epoch == 0) | _beats(value, state.value, mode, 0.0)
        return BestState(jnp.where(is_best, value, state.value), is_best, state.epoch + 1)

    return Control(init, update)


def _beats(
    value: Float32[Array, ""], reference: Float32[Array, ""] | float, mode: Mode, min_delta: float
) -> Bool[Array, ""]:
    """Whether `value` is better than `reference` by more than `min_delta`."""
    return value + min_delta < reference if mode == "min" else value - min_delta > reference


def _worst(mode: Mode) -> Float32[Array, ""]:
    return jnp.array(_WORST[mode], jnp.float32)


def _zero() -> Int32[Array, ""]:
    return jnp.zeros((), jnp.int32)
