"""Mergeable sums over images, and the metrics that follow from them.

Sums of two disjoint sets of images add up to the sums of their union, so batches, devices and folds merge in any
order (losses, being floats, to rounding). `mean_loss` and `accuracy` take NumPy sums of folds as well: what is only
shown then compiles nothing.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32


class Sums(NamedTuple):
    """Sums over the images of a set; leading axes, where there are any, are folds."""

    loss: Float32[Array, "*fold"]  # of the cross-entropy, in nats
    confusion: Int32[Array, "*fold class class"]  # images by true class (row) and predicted class (column)

    @property
    def num_images(self) -> Int[Array | np.ndarray, "*fold"]:
        """Images in the set."""
        return self.confusion.sum((-2, -1))


def zero_sums(num_classes: int) -> Sums:
    """Sums over no image."""
    return Sums(jnp.zeros((), jnp.float32), jnp.zeros((num_classes, num_classes), jnp.int32))


def sum_batch(
    losses: Float[Array, "batch"],
    logits: Float[Array, "batch class"],
    labels: Int[Array, "batch"],
    mask: Bool[Array, "batch"],
) -> Sums:
    """Sums over the images of a batch whose mask is true."""
    num_classes = logits.shape[-1]
    cells = labels * num_classes + jnp.argmax(logits, axis=-1)
    confusion = jnp.zeros((num_classes**2,), jnp.int32).at[cells].add(mask.astype(jnp.int32))
    return Sums(jnp.where(mask, losses, 0).sum(), confusion.reshape(num_classes, num_classes))


def add_sums(first: Sums, second: Sums) -> Sums:
    """Sums over the union of two disjoint sets of images."""
    return Sums(first.loss + second.loss, first.confusion + second.confusion)


def mean_loss(sums: Sums) -> Float[Array | np.ndarray, "*fold"]:
    """Mean cross-entropy in nats; 0 over no image."""
    return sums.loss / sums.num_images.clip(1)


def accuracy(sums: Sums) -> Float[Array | np.ndarray, "*fold"]:
    """Share of images whose predicted class is the true one, 0 to 1; 0 over no image."""
    return _hits(sums).sum(-1) / sums.num_images.clip(1)


def balanced_accuracy(sums: Sums) -> Float[Array, "*fold"]:
    """Mean recall of the classes that have images, 0 to 1; 0 over no image.

    References:
        scikit-learn developers: sklearn.metrics.balanced_accuracy_score, 2026.
        https://scikit-learn.org/stable/modules/generated/sklearn.metrics.balanced_accuracy_score.html
    """
    hits, actual = _hits(sums), sums.confusion.sum(-1)
    return (hits / jnp.maximum(actual, 1)).sum(-1) / jnp.maximum((actual > 0).sum(-1), 1)


def macro_f1(sums: Sums) -> Float[Array, "*fold"]:
    """Mean F1 score of the classes that have images or are called, 0 to 1; 0 over no image.

    References:
        scikit-learn developers: sklearn.metrics.f1_score with average="macro", 2026.
        https://scikit-learn.org/stable/modules/generated/sklearn.metrics.f1_score.html
    """
    hits, occurrences = _hits(sums), sums.confusion.sum(-1) + sums.confusion.sum(-2)
    return (2 * hits / jnp.maximum(occurrences, 1)).sum(-1) / jnp.maximum((occurrences > 0).sum(-1), 1)


def _hits(sums: Sums) -> Int[Array | np.ndarray, "*fold class"]:
    """Images of each class that are called so."""
    return sums.confusion.diagonal(axis1=-2, axis2=-1)


class ClassRates(NamedTuple):
    """Rates of each class against all others, 0 to 1; NaN where the denominator is zero."""

    precision: Float[np.ndarray, "class"]  # of the images called this class, the share that are
    recall: Float[np.ndarray, "class"]  # of the images of this class, the share called so: sensitivity
    f1: Float[np.ndarray, "class"]  # harmonic mean of the two
    specificity: Float[np.ndarray, "class"]  # of the images of other classes, the share not called this one


def class_rates(confusion: Int[np.ndarray, "class class"]) -> ClassRates:
    """Rates of each class from a confusion matrix (rows true, columns predicted)."""
    hits = np.diagonal(confusion)
    actual, called, total = confusion.sum(axis=1), confusion.sum(axis=0), confusion.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        return ClassRates(
            precision=hits / called,
            recall=hits / actual,
            f1=2 * hits / (actual + called),
            specificity=(total - actual - called + hits) / (total - actual),
        )
