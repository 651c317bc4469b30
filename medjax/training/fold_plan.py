"""What makes a fold different from the others: its key, its images and the weights of its classes."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32, Int64, Key, UInt32

from medjax.config import ClassBalance
from medjax.records import AnyLabels, Split
from medjax.training.batching import PADDING, pad_indices


def evaluation_batch() -> int:
    """How many images are scored or answered at a time: on a CPU so few that what layers hand on stays in its caches."""
    return 32 if jax.default_backend() == "cpu" else 128


class FoldPlan(NamedTuple):
    """Key, images and class weights of a fold; of several folds with a leading axis."""

    key: Key[Array, "*fold"]
    train: Int32[Array, "*fold train"]  # indices of images, padded
    val: Int32[Array, "*fold val"]
    # n / (number of classes x training images of the class): float32 [*fold, class]; an empty tuple where the loss, or
    # the drawing of images, is not weighted by class. Of several labels, float32 [*fold, label, 2]: without and with it.
    loss_weights: Any
    draw_weights: Any


def make_plan(
    splits: Sequence[Split],
    *,
    seed: int,
    batch_size: int,
    folds: Sequence[int] | None = None,
    labels: AnyLabels | None = None,
    class_balance: ClassBalance = "none",
) -> FoldPlan:
    """The plans of some folds of these splits (all, by default), with a leading axis of folds.

    A fold is seeded by its index in `splits`. All are padded to the longest of all splits, so that a fold's plan does
    not depend on which others are chosen with it. Balancing classes needs the `labels`.
    """
    chosen = np.arange(len(splits)) if folds is None else np.array(folds)
    weights = () if labels is None else jax.device_put(_balance_classes(splits, labels)[chosen])
    return FoldPlan(
        key=_make_keys(np.uint32(seed), chosen.astype(np.uint32)),
        train=jax.device_put(_pad_folds([split.train for split in splits], batch_size)[chosen]),
        val=jax.device_put(_pad_folds([split.val for split in splits], evaluation_batch())[chosen]),
        loss_weights=weights if class_balance == "weights" else (),
        draw_weights=weights if class_balance == "sampling" else (),
    )


@jax.jit  # as one program: otherwise each small operation is compiled by itself
def _make_keys(seed: UInt32[Array, ""], folds: UInt32[Array, "fold"]) -> Key[Array, "fold"]:
    """The key of each fold."""
    return jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(folds)


def weights_of(
    table: Float32[Array, "class *answer"], labels: Int32[Array, "batch *label"]
) -> Float32[Array, "batch *label"]:
    """The weight of each image's loss, or of each of its labels', from the `loss_weights` of a fold."""
    return table[labels] if labels.ndim == 1 else jnp.where(labels == 1, table[:, 1], table[:, 0])


def _balance_classes(splits: Sequence[Split], labels: AnyLabels) -> Float32[np.ndarray, "fold class *answer"]:
    """Class weights of each fold: all classes have the same total, and the mean over training images is 1.

    Each of several labels is balanced by itself: images with it weigh as much as images without it.
    """
    if labels.ndim == 2:
        answers = np.stack([[(labels[split.train] == each).sum(0) for each in (0, 1)] for split in splits])
        weights = answers.sum(axis=1, keepdims=True) / (2 * answers.clip(1))
        return np.moveaxis(weights, 1, 2).astype(np.float32)
    counts = np.stack([np.bincount(labels[split.train], minlength=labels.max() + 1) for split in splits])
    # A class that a fold does not train on has a weight that is never used.
    return (counts.sum(axis=1, keepdims=True) / (counts.shape[1] * counts.clip(1))).astype(np.float32)


def _pad_folds(parts: Sequence[Int64[np.ndarray, "_"]], batch_size: int) -> Int32[np.ndarray, "fold padded"]:
    longest = max(len(part) for part in parts)
    length = len(pad_indices(np.arange(longest), batch_size))
    padded = [np.pad(part, (0, length - len(part)), constant_values=PADDING) for part in parts]
    return np.stack(padded).astype(np.int32)
