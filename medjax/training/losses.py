"""Losses: functions of logits and labels to one loss an image, so that masks and weights apply to any of them."""

from collections.abc import Callable

import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int

Loss = Callable[[Float[Array, "batch class"], Int[Array, "batch *label"]], Float[Array, "batch *label"]]
"""One loss an image; of several labels an image, whose labels are a matrix, one for each label."""


def cross_entropy(logits: Float[Array, "batch class"], labels: Int[Array, "batch"]) -> Float[Array, "batch"]:
    """Cross-entropy of each image, in nats; 0 is perfect.

    As optax.softmax_cross_entropy_with_integer_labels, without its gather, whose gradient is a scatter: slow on a GPU.
    """
    logits = logits - lax.stop_gradient(logits.max(-1, keepdims=True))
    of_label = jnp.where(labels[:, None] == jnp.arange(logits.shape[-1]), logits, 0).sum(-1)
    return jnp.log(jnp.exp(logits).sum(-1)) - of_label


def binary_cross_entropy(
    logits: Float[Array, "batch label"], labels: Int[Array, "batch label"]
) -> Float[Array, "batch label"]:
    """Binary cross-entropy of each label of each image, in nats; 0 where a label is not known (-1)."""
    return jnp.where(labels < 0, 0, optax.sigmoid_binary_cross_entropy(logits, labels.astype(logits.dtype)))


def make_smoothed_binary_cross_entropy(smoothing: float) -> Loss:
    """Binary cross-entropy against labels that give `smoothing` (0 to below 1) of their weight to both answers alike."""

    def smoothed_binary_cross_entropy(
        logits: Float[Array, "batch label"], labels: Int[Array, "batch label"]
    ) -> Float[Array, "batch label"]:
        targets = labels * (1 - smoothing) + smoothing / 2
        return jnp.where(labels < 0, 0, optax.sigmoid_binary_cross_entropy(logits, targets))

    return smoothed_binary_cross_entropy


def of_images(
    losses: Float[Array, "batch *label"], labels: Int[Array, "batch *label"]
) -> Float[Array, "batch"]:
    """One loss an image: of several labels the mean over those that are known, 0 where none is."""
    if losses.ndim == 1:
        return losses
    return losses.sum(-1) / jnp.maximum((labels >= 0).sum(-1), 1)


def score_images(
    logits: Float[Array, "batch class"], labels: Int[Array, "batch *label"]
) -> Float[Array, "batch"]:
    """The cross-entropy of each image that evaluation reports, whatever loss is trained on."""
    if labels.ndim == 1:
        return cross_entropy(logits, labels)
    return of_images(binary_cross_entropy(logits, labels), labels)


def make_smoothed_cross_entropy(smoothing: float) -> Loss:
    """Cross-entropy against labels that give `smoothing` (0 to below 1) of their weight to all classes alike.

    Reference: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016,
    https://arxiv.org/abs/1512.00567.
    """

    def smoothed_cross_entropy(
        logits: Float[Array, "batch class"], labels: Int[Array, "batch"]
    ) -> Float[Array, "batch"]:
        hard = cross_entropy(logits, labels)
        uniform = optax.softmax_cross_entropy(logits, jnp.full_like(logits, 1 / logits.shape[-1]))
        return (1 - smoothing) * hard + smoothing * uniform

    return smoothed_cross_entropy
