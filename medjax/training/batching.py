"""Index plans to batches, on the device: images stay where they are, as uint8, and only indices are shuffled."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float32, Int, Int32, Key, UInt8

PADDING = -1  # the index that stands for no image


class Batch(NamedTuple):
    """Images of one step. Where the mask is false there is no image: nothing may depend on that row."""

    images: Float32[Array, "batch height width channel"]  # 0 to 1
    labels: Int32[Array, "batch"]
    mask: Bool[Array, "batch"]
    weights: Float32[Array, "batch"] | None = None  # of each image's loss; None counts all alike


def pad_indices(indices: Int[np.ndarray, "n"], batch_size: int) -> Int32[np.ndarray, "padded"]:
    """`indices` filled up with padding to a whole number of batches."""
    padded = -(-len(indices) // batch_size) * batch_size
    return np.pad(indices.astype(np.int32), (0, padded - len(indices)), constant_values=PADDING)


def shuffle_indices(key: Key[Array, ""], indices: Int32[Array, "padded"]) -> Int32[Array, "padded"]:
    """`indices` in random order, the padding moved to the end."""
    ranks = jax.random.uniform(key, indices.shape)
    return indices[jnp.argsort(jnp.where(indices == PADDING, jnp.inf, ranks))]


def take_batch(
    images: UInt8[Array, "n height width channel"],
    labels: Int32[Array, "n"],
    indices: Int32[Array, "padded"],
    step: Int[Array, ""],
    batch_size: int,
) -> Batch:
    """Batch number `step` of the order that `indices` gives."""
    chosen = lax.dynamic_slice_in_dim(indices, step * batch_size, batch_size)
    mask = chosen != PADDING
    rows = jnp.where(mask, chosen, 0)
    return Batch(images[rows].astype(jnp.float32) / 255, labels[rows], mask)
