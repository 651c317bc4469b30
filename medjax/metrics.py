"""Additive sums over images, and the metrics computed from them.

The sums of two disjoint sets of images add up to the sums of their union, so batches, devices and folds can be merged
in any order (exactly, except that the loss is a float and may differ by rounding). Every metric accepts NumPy sums as
well and then stays in NumPy: showing a number compiles nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from medjax.errors import counted

AnyArray = Array | np.ndarray | np.number  # np.number: a NumPy reduction to a scalar


class Sums(NamedTuple):
    """Sums over a set of images, and the metrics of that set; leading axes, if any, are folds."""

    loss: Float32[Array, "*fold"]  # sum of the cross-entropy, in nats
    confusion: Int32[Array, "*fold class class"]  # images by true class (row) and predicted class (column)

    @property
    def num_images(self) -> Int[AnyArray, "*fold"]:
        """Images in the set."""
        return self.confusion.sum((-2, -1))

    @property
    def mean_loss(self) -> Float[AnyArray, "*fold"]:
        """Mean cross-entropy in nats; 0 if there are no images."""
        return self.loss / self.num_images.clip(1)

    @property
    def accuracy(self) -> Float[AnyArray, "*fold"]:
        """Share of images whose predicted class is the true one, 0 to 1; 0 if there are no images."""
        return self._correct.sum(-1) / self.num_images.clip(1)

    @property
    def balanced_accuracy(self) -> Float[AnyArray, "*fold"]:
        """Mean recall over the classes that have images, 0 to 1; 0 if there are no images.

        References:
            scikit-learn developers: sklearn.metrics.balanced_accuracy_score, 2026.
            https://scikit-learn.org/stable/modules/generated/sklearn.metrics.balanced_accuracy_score.html
        """
        actual = self.confusion.sum(-1)
        return (self._correct / actual.clip(1)).sum(-1) / (actual > 0).sum(-1).clip(1)

    @property
    def macro_f1(self) -> Float[AnyArray, "*fold"]:
        """Mean F1 score over the classes that have images or are predicted, 0 to 1; 0 if there are no images.

        References:
            scikit-learn developers: sklearn.metrics.f1_score with average="macro", 2026.
            https://scikit-learn.org/stable/modules/generated/sklearn.metrics.f1_score.html
        """
        occurrences = self.confusion.sum(-1) + self.confusion.sum(-2)
        return (2 * self._correct / occurrences.clip(1)).sum(-1) / (occurrences > 0).sum(-1).clip(1)

    @property
    def _correct(self) -> Int[AnyArray, "*fold class"]:
        """Correctly classified images of each class."""
        return self.confusion.diagonal(axis1=-2, axis2=-1)

    def __str__(self) -> str:
        if isinstance(self.loss, jax.core.Tracer) or np.ndim(self.loss) > 0:
            return repr(self)
        return f"loss {self.mean_loss:.4f}, accuracy {self.accuracy:.4f} ({counted(int(self.num_images), 'image')})"


def zero_sums(num_classes: int) -> Sums:
    """Sums over no images."""
    return Sums(jnp.zeros((), jnp.float32), jnp.zeros((num_classes, num_classes), jnp.int32))


def sum_batch(
    losses: Float[Array, "batch"],
    logits: Float[Array, "batch class"],
    labels: Int[Array, "batch *label"],
    mask: Bool[Array, "batch"],
) -> Sums:
    """Sums over the images of a batch whose mask is true.

    Of several labels an image, over all pairs of an image and a known label: of two classes, without and with the label.
    """
    if labels.ndim == 2:
        return _sum_labels(losses, logits, labels, mask)
    num_classes = logits.shape[-1]
    # Counted by a product of zeros and ones, exact in float32: a GPU is slow to add at places that depend on the data.
    actual = jax.nn.one_hot(labels, num_classes) * mask[:, None]
    predicted = jax.nn.one_hot(jnp.argmax(logits, axis=-1), num_classes)
    return Sums(jnp.where(mask, losses, 0).sum(), (actual.T @ predicted).astype(jnp.int32))


def _sum_labels(
    losses: Float[Array, "batch"],
    logits: Float[Array, "batch label"],
    labels: Int[Array, "batch label"],
    mask: Bool[Array, "batch"],
) -> Sums:
    is_known = (labels >= 0) & mask[:, None]
    is_there, is_predicted = labels == 1, logits >= 0
    cells = [
        [(is_known & (is_there == there) & (is_predicted == predicted)).sum() for predicted in (False, True)]
        for there in (False, True)
    ]
    # The loss of an image is the mean over its known labels.
    total = (jnp.where(mask, losses, 0) * is_known.sum(-1)).sum()
    return Sums(total, jnp.array(cells, jnp.int32))


def add_sums(first: Sums, second: Sums) -> Sums:
    """Sums over the union of two disjoint sets of images."""
    return Sums(first.loss + second.loss, first.confusion + second.confusion)


class ClassRates(NamedTuple):
    """Rates of each class against all others, 0 to 1; NaN where the denominator is zero."""

    precision: Float[np.ndarray, "class"]  # share of the images predicted as this class that belong to it
    recall: Float[np.ndarray, "class"]  # sensitivity: share of the images of this class predicted as it
    f1: Float[np.ndarray, "class"]  # harmonic mean of the two
    specificity: Float[np.ndarray, "class"]  # share of the images of other classes not predicted as this one


def class_rates(confusion: Int[np.ndarray, "class class"]) -> ClassRates:
    """Rates of each class from a confusion matrix (rows true, columns predicted)."""
    correct = np.diagonal(confusion)
    actual, predicted, total = confusion.sum(axis=1), confusion.sum(axis=0), confusion.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        return ClassRates(
            precision=correct / predicted,
            recall=correct / actual,
            f1=2 * correct / (actual + predicted),
            specificity=(total - actual - predicted + correct) / (total - actual),
        )
