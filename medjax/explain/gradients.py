"""How the logit of a class changes with the pixels: its gradient, and that gradient along a path (integrated gradients).

Networks are as in evaluation: batch statistics and dropout rest, so no image has a part in the map of another.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Float32, Int32

from medjax.models.network import Network, Variables


class IntegratedGradients(NamedTuple):
    """Attributions of the pixels, and how far their sum is from what it should be."""

    attributions: Float32[Array, "n height width channel"]  # logits
    change: Float32[Array, "n"]  # logit of the image minus that of the baseline
    gap: Float32[Array, "n"]  # change minus the sum of the attributions; 0 in the limit of many steps


def class_logits(
    network: Network,
    variables: Variables,
    images: Float32[Array, "n height width channel"],
    classes: Int32[Array, "n"],
) -> Float32[Array, "n"]:
    """The logit of one class for each image, in evaluation mode; images are 0 to 1."""
    # A constant key, as in evaluation: a network that draws at random even then answers the same each time.
    logits, _ = network.apply(variables, images, is_training=False, key=jax.random.key(0))
    return logits.astype(jnp.float32)[jnp.arange(len(images)), classes]


def input_gradient(
    network: Network,
    variables: Variables,
    images: Float32[Array, "n height width channel"],
    classes: Int32[Array, "n"],
) -> Float32[Array, "n height width channel"]:
    """The gradient of each image's class logit by its pixels (0 to 1).

    Source: Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks", 2013, https://arxiv.org/abs/1312.6034.
    """
    return jax.grad(lambda images: class_logits(network, variables, images, classes).sum())(images)


def integrated_gradients(
    network: Network,
    variables: Variables,
    images: Float32[Array, "n height width channel"],
    classes: Int32[Array, "n"],
    *,
    baseline: float | Float[Array, "..."] = 0.0,
    steps: int = 32,
) -> IntegratedGradients:
    """Pixels' shares in the difference between the class logit of each image and that of a baseline.

    `baseline` is a gray level (0 to 1; black by default) or an image; the gradient is taken at the middle of each of
    `steps` equal parts of the straight line from it. The shares sum to the difference up to `gap`.

    Source: Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", 2017, https://arxiv.org/abs/1703.01365.
    """
    start = jnp.broadcast_to(jnp.asarray(baseline, images.dtype), images.shape)
    difference = images - start

    def add(total: Array, share: Array) -> tuple[Array, None]:
        return total + input_gradient(network, variables, start + share * difference, classes), None

    shares = (jnp.arange(steps, dtype=jnp.float32) + 0.5) / steps
    total, _ = lax.scan(add, jnp.zeros_like(images), shares)
    attributions = difference * total / steps
    change = class_logits(network, variables, images, classes) - class_logits(
        network, variables, start, classes
    )
    return IntegratedGradients(attributions, change, change - attributions.sum((1, 2, 3)))
