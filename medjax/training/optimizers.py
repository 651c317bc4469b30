"""Optimizers and learning-rate schedules from plain numbers."""

import inspect
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float32, PyTree

from medjax.config import OptimizerName, ScheduleName

_SCHEDULES: dict[ScheduleName, Callable[[float, int], float | optax.Schedule]] = {
    "constant": lambda peak, num_steps: peak,
    "cosine": optax.cosine_decay_schedule,
    "one-cycle": lambda peak, num_steps: optax.cosine_onecycle_schedule(num_steps, peak),
}
# Adam with the decays and the epsilon of Keras, which the report used.
_ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-7}
_SCALINGS: dict[OptimizerName, Callable[[], optax.GradientTransformation]] = {
    "adam": lambda: optax.scale_by_adam(**_ADAM),
    "adamw": lambda: optax.scale_by_adam(**_ADAM),
    "sgd": lambda: optax.trace(decay=0.9, nesterov=True),
    "rmsprop": optax.scale_by_rms,
    "lion": optax.scale_by_lion,
}


def make_optimizer(
    name: OptimizerName,
    learning_rate: float | optax.Schedule,
    *,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
) -> optax.GradientTransformation:
    """An Optax optimizer. "sgd" has Nesterov momentum of 0.9; the others have Optax's defaults, Adam Keras's epsilon.

    Each step takes `weight_decay` times the learning rate off the parameters, except biases and the scales of norms, which
    have a single axis. Gradients of a larger global norm than `clip_norm` are scaled down to it; 0 clips nothing.

    References:
        Kingma and Ba: Adam: A method for stochastic optimization, 2015. https://arxiv.org/abs/1412.6980
        Loshchilov and Hutter: Decoupled weight decay regularization, 2019. https://arxiv.org/abs/1711.05101
    """
    return optax.chain(
        *([optax.clip_by_global_norm(clip_norm)] if clip_norm else []),
        _SCALINGS[name](),
        *([optax.add_decayed_weights(weight_decay, mask=_is_decayed)] if weight_decay else []),
        optax.scale_by_learning_rate(learning_rate),
    )


def scale_features(
    optimizer: optax.GradientTransformation, rate: float, head: str
) -> optax.GradientTransformation:
    """The optimizer with all updates multiplied by `rate` but those of the parameters under `head`; 0 leaves them as they are.

    Whatever the rate, its state is the same, so that training can go on under another.
    """

    def scale(updates: PyTree, _: PyTree = None) -> PyTree:
        return {
            name: each if name == head else jax.tree.map(lambda leaf: rate * leaf, each)
            for name, each in updates.items()
        }

    return optax.chain(optimizer, optax.stateless(scale))


def make_adam(learning_rate: float | optax.Schedule) -> optax.GradientTransformation:
    """The report's optimizer: Adam with Keras's epsilon of 1e-7."""
    return make_optimizer("adam", learning_rate)


def make_schedule(name: ScheduleName, peak: float, num_steps: int) -> float | optax.Schedule:
    """The learning rate over `num_steps` steps, `peak` at its largest; a plain number where it is constant.

    "cosine" falls from `peak` to 0 along half a wave. "one-cycle" rises from peak / 25 over the first 30 % of the
    steps and falls to nearly 0. References: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm
    Restarts", 2017, https://arxiv.org/abs/1608.03983; Smith and Topin, "Super-Convergence", 2018,
    https://arxiv.org/abs/1708.07120.
    """
    return _SCHEDULES[name](peak, num_steps)


class _LookaheadState(NamedTuple):
    slow: PyTree[Float32[Array, "..."]]
    inner: Any


def adapt_optimizer(optimizer: Any, parameters: PyTree) -> optax.GradientTransformationExtraArgs:
    """An optimizer under Optax's widest interface, so that a training step calls all of them alike.

    `optax.lookahead` wants a pair of fast and slow parameters where others want parameters: the slow ones become part of
    its state, and the fast ones are trained and scored.
    """
    if _wants_lookahead_parameters(optimizer, parameters):
        optimizer = _hide_slow_parameters(optimizer)
    known = inspect.signature(optimizer.update).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in known.values())

    def update(gradient: PyTree, state: Any, parameters: PyTree, **extra: Any) -> tuple[PyTree, Any]:
        taken = extra if takes_all else {name: value for name, value in extra.items() if name in known}
        return optimizer.update(gradient, state, parameters, **taken)

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def _wants_lookahead_parameters(optimizer: Any, parameters: PyTree) -> bool:
    """Whether a state of `optax.lookahead` is in the optimizer's state."""
    # Optax logs a warning where it is not given a pair.
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        state = jax.eval_shape(optimizer.init, parameters)
    finally:
        logger.setLevel(level)
    kinds = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, optax.LookaheadState))
    return any(isinstance(node, optax.LookaheadState) for node in kinds)


def _hide_slow_parameters(optimizer: Any) -> optax.GradientTransformation:
    def init(parameters: PyTree) -> _LookaheadState:
        pair = optax.LookaheadParams.init_synced(parameters)
        # A copy, as the memory of both is given away in the first step.
        return _LookaheadState(jax.tree.map(jnp.copy, parameters), optimizer.init(pair))

    def update(
        gradient: PyTree, state: _LookaheadState, parameters: PyTree
    ) -> tuple[PyTree, _LookaheadState]:
        pair = optax.LookaheadParams(fast=parameters, slow=state.slow)
        updates, inner = optimizer.update(gradient, state.inner, pair)
        return updates.fast, _LookaheadState(optax.apply_updates(state.slow, updates.slow), inner)

    return optax.GradientTransformation(init, update)


def _is_decayed(parameters: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, parameters)
