"""The order in which an epoch takes its training images: shuffled, in proportion to losses, or by class."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int32, Key

from medjax.training.batching import PADDING, Batch, shuffle_indices
from medjax.training.fold_plan import FoldPlan

# In nats. Images that are learned keep this much weight, so that they still come up now and then.
_SMALLEST_LOSS = 0.005


def order_images(
    key: Key[Array, ""],
    labels: Int32[Array, "n *label"],
    plan: FoldPlan,
    running_losses: Any,
    start: Int32[Array, ""],
    *,
    num_classes: int,
    batch_size: int,
    num_steps: int,
) -> FoldPlan:
    """The plan of one fold with its training images in the order of an epoch.

    With `running_losses`, images are drawn for the `num_steps` steps from `start` on: without replacement, each draw in
    proportion to their losses so far. Where the plan has weights for drawing, images are drawn with replacement, in
    proportion to the weights of their classes. Otherwise the images are shuffled.

    References:
        Loshchilov and Hutter: Online batch selection for faster training of neural networks, 2015.
        https://arxiv.org/abs/1511.06343
        Efraimidis and Spirakis: Weighted random sampling with a reservoir, 2006.
        https://doi.org/10.1016/j.ipl.2005.11.003
    """
    if not isinstance(plan.draw_weights, tuple):
        return plan._replace(train=_draw_by_class(key, labels, plan))
    if isinstance(running_losses, tuple):
        return plan._replace(train=shuffle_indices(key, plan.train))
    order_key, draw_key = jax.random.split(jax.random.fold_in(key, start))
    # An image not seen yet has the loss of an even guess.
    losses = jnp.where(jnp.isinf(running_losses), jnp.log(num_classes), running_losses)
    weights = jnp.log(jnp.maximum(losses[plan.train], _SMALLEST_LOSS))
    ranks = weights + jax.random.gumbel(draw_key, plan.train.shape)
    _, positions = lax.top_k(jnp.where(plan.train == PADDING, -jnp.inf, ranks), num_steps * batch_size)
    drawn = shuffle_indices(order_key, plan.train[positions])
    # The last steps of an epoch may be fewer than `num_steps`: the slice then begins before `start`, in steps already done.
    return plan._replace(train=lax.dynamic_update_slice_in_dim(plan.train, drawn, start * batch_size, axis=0))


def _draw_by_class(key: Key[Array, ""], labels: Array, plan: FoldPlan) -> Int32[Array, "train"]:
    """As many draws as there are training images, each in proportion to the weight of its class."""
    is_image = plan.train != PADDING
    totals = jnp.cumsum(jnp.where(is_image, plan.draw_weights[labels[plan.train]], 0))
    positions = jnp.searchsorted(
        totals, jax.random.uniform(key, totals.shape, maxval=totals[-1]), side="right"
    )
    # Rounding may reach the total itself, whose position is one after the last image.
    return jnp.where(is_image, plan.train[jnp.minimum(positions, is_image.sum() - 1)], PADDING)


def update_running_losses(
    running_losses: Any, plan: FoldPlan, step: Array, batch: Batch, losses: Array
) -> Any:
    """The running losses of all images after a batch; unchanged if none are kept."""
    if isinstance(running_losses, tuple):
        return running_losses
    chosen = lax.dynamic_slice_in_dim(plan.train, step * len(losses), len(losses))
    before = running_losses[chosen]
    # A mean, because augmentation and dropout make a single loss noisy.
    after = jnp.where(jnp.isinf(before), losses, (before + losses) / 2)
    out_of_range = len(running_losses)  # dropped; a negative index would count from the end
    return running_losses.at[jnp.where(batch.mask, chosen, out_of_range)].set(after, mode="drop")
