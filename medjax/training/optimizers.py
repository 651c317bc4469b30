"""Optimizers and learning-rate schedules from plain numbers."""

from collections.abc import Callable
from typing import Literal

import optax

ScheduleName = Literal["constant", "cosine", "one-cycle"]

_SCHEDULES: dict[ScheduleName, Callable[[float, int], float | optax.Schedule]] = {
    "constant": lambda peak, num_steps: peak,
    "cosine": optax.cosine_decay_schedule,
    "one-cycle": lambda peak, num_steps: optax.cosine_onecycle_schedule(num_steps, peak),
}


def make_adam(learning_rate: float | optax.Schedule) -> optax.GradientTransformation:
    """Adam, with the moments' decays and the epsilon of Keras, which the report used.

    Reference: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, https://arxiv.org/abs/1412.6980.
    """
    return optax.adam(learning_rate, b1=0.9, b2=0.999, eps=1e-7)


def make_schedule(name: ScheduleName, peak: float, num_steps: int) -> float | optax.Schedule:
    """The learning rate over `num_steps` steps, `peak` at its largest; a plain number where it is constant.

    "cosine" falls from `peak` to 0 along half a wave. "one-cycle" rises from peak / 25 over the first 30 % of the
    steps and falls to nearly 0. References: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm
    Restarts", 2017, https://arxiv.org/abs/1608.03983; Smith and Topin, "Super-Convergence", 2018,
    https://arxiv.org/abs/1708.07120.
    """
    return _SCHEDULES[name](peak, num_steps)
