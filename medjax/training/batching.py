"""From indices to batches, on the device: the images stay there as uint8 or uint16, and only indices are shuffled."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float32, Int, Int32, Key, UInt8, UInt16

PADDING = -1  # index of no image


class Batch(NamedTuple):
    """Images of one step. Rows whose mask is false fill up the batch: they count in no loss and no score."""

    images: Float32[Array, "batch height width channel"]  # 0 to 1, or feature maps
    labels: Int32[Array, "batch *label"]
    mask: Bool[Array, "batch"]
    weights: Float32[Array, "batch *label"] | None = None  # of each loss; None weights all equally


def pad_indices(indices: Int[np.ndarray, "n"], batch_size: int) -> Int32[np.ndarray, "padded"]:
    """`indices` padded to a whole number of batches."""
    padded = -(-len(indices) // batch_size) * batch_size
    return np.pad(indices.astype(np.int32), (0, padded - len(indices)), constant_values=PADDING)


def shuffle_indices(key: Key[Array, ""], indices: Int32[Array, "padded"]) -> Int32[Array, "padded"]:
    """`indices` in random order, the padding moved to the end."""
    ranks = jax.random.uniform(key, indices.shape)
    return indices[jnp.argsort(jnp.where(indices == PADDING, jnp.inf, ranks))]


def choose_fillers(indices: Int32[Array, "padded"], batch_size: int) -> Int32[Array, "batch"]:
    """Images that take the place of padding in a batch: the first of `indices`, again and again if they are few."""
    num_images = (indices != PADDING).sum()
    # Padding is at the end, so the first ones are images, if there are any.
    return jnp.maximum(indices[jnp.arange(batch_size) % jnp.maximum(num_images, 1)], 0)


Pixels = (
    UInt8[Array, "n height width channel"]
    | UInt16[Array, "n height width channel"]
    | Float32[Array, "n height width channel"]
)
"""Images, white as the largest value of their type; or what stands for them: floats that are taken as they are."""


def take_batch(
    images: Pixels,
    labels: Int32[Array, "n *label"],
    indices: Int32[Array, "padded"],
    step: Int[Array, ""],
    batch_size: int,
    fillers: Int32[Array, "batch"] | None = None,
) -> Batch:
    """Batch number `step` of the order that `indices` gives.

    Padding is filled with the images `fillers`, without them with image 0. Statistics over a whole batch are then of
    these images too, so training must fill with training images.
    """
    chosen = lax.dynamic_slice_in_dim(indices, step * batch_size, batch_size)
    mask = chosen != PADDING
    rows = jnp.where(mask, chosen, 0 if fillers is None else fillers)
    chosen_images = images[rows]
    if jnp.issubdtype(images.dtype, jnp.unsignedinteger):
        chosen_images = chosen_images.astype(jnp.float32) / jnp.iinfo(images.dtype).max
    return Batch(chosen_images, labels[rows], mask)
