"""Convolution and pooling that are fast where they are lowered: one program serves cpu, cuda and tpu.

XLA:CPU runs the backward pass of a stock convolution 8 to 13 times slower inside a loop than outside it
(https://github.com/jax-ml/jax/issues/12868), so on a CPU a convolution is written as shifted slices and matrix
products, fewer of them where it is deep. Elsewhere it stays the library's own. `jax.lax.platform_dependent` chooses
while lowering.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from medjax.errors import refuse

# Measured at 32 only: the products of an image's own 1 or 3 channels are little of a network's time.
_WINOGRAD_CHANNELS = 8


def convolution(
    images: Float[Array, "batch height width channel"],
    kernel: Float[Array, "kernel_height kernel_width channel feature"],
) -> Float[Array, "batch out_height out_width feature"]:
    """Cross-correlation without padding ("valid"), stride 1.

    On a CPU a deep 3 by 3 kernel takes two thirds of the multiplications, and its values differ from the definition's in
    the last bits.
    """
    kernel_height, kernel_width, channels, _ = kernel.shape
    is_deep = (kernel_height, kernel_width) == (3, 3) and channels >= _WINOGRAD_CHANNELS
    return lax.platform_dependent(
        images, kernel, cpu=_by_winograd if is_deep else _by_slices, default=_by_library
    )


def _by_library(images: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        images, kernel, window_strides=(1, 1), padding="VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _by_slices(images: Array, kernel: Array) -> Array:
    kernel_height, kernel_width, _, features = kernel.shape
    out_height, out_width = images.shape[1] - kernel_height + 1, images.shape[2] - kernel_width + 1
    patches = [
        images[:, top : top + out_height, left : left + out_width]
        for top in range(kernel_height)
        for left in range(kernel_width)
    ]
    return _product(patches, kernel.reshape(-1, features))


def _by_winograd(images: Array, kernel: Array) -> Array:
    """Two outputs, one below the other, from four products along the rows in place of six: Winograd's F(2, 3).

    Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (https://arxiv.org/abs/1509.09308).
    """
    batch, height, width, _ = images.shape
    features = kernel.shape[-1]
    num_pairs = (height - 1) // 2
    images = jnp.pad(images, ((0, 0), (0, height % 2), (0, 0), (0, 0)))
    first, second, third, fourth = (images[:, top : top + 2 * num_pairs : 2] for top in range(4))
    top, middle, bottom = (row.reshape(-1, features) for row in kernel)
    pairs = (
        (first - third, top),
        (second + third, (top + middle + bottom) / 2),
        (third - second, (top - middle + bottom) / 2),
        (second - fourth, bottom),
    )
    products = [
        _product([rows[:, :, left : left + width - 2] for left in range(3)], weights)
        for rows, weights in pairs
    ]
    upper = products[0] + products[1] + products[2]
    lower = products[1] - products[2] - products[3]
    both = jnp.stack([upper, lower], axis=2).reshape(batch, 2 * num_pairs, width - 2, features)
    return both[:, : height - 2]


def _product(slices: list[Array], weights: Array) -> Array:
    """What `slices` hold of each pixel, side by side, times `weights`."""
    patches = jnp.concatenate(slices, axis=-1)
    return (patches.reshape(-1, weights.shape[0]) @ weights).reshape(*patches.shape[:-1], -1)


def max_pool(
    images: Float[Array, "batch height width channel"],
) -> Float[Array, "batch half_height half_width channel"]:
    """Largest value of each 2 by 2 window; an odd last row or column is left out.

    The gradient goes to the first of equal values, as in `nn.max_pool`, whose own gradient is half of a small
    network's time on a CPU and does not compile under XLA's determinism flag on a GPU.
    """
    height, width = (side // 2 * 2 for side in images.shape[1:3])
    return _pool_windows(images[:, :height, :width])


@jax.custom_vjp
def _pool_windows(images: Array) -> Array:
    return _pool_with_places(images)[0]


def _pool_with_places(images: Array) -> tuple[Array, Array]:
    """The largest values and where they stood in their windows, 0 to 3: all that the gradient needs."""
    top_left, top_right = images[:, ::2, ::2], images[:, ::2, 1::2]
    bottom_left, bottom_right = images[:, 1::2, ::2], images[:, 1::2, 1::2]
    top, bottom = jnp.maximum(top_left, top_right), jnp.maximum(bottom_left, bottom_right)
    top_place = jnp.where(top_left >= top_right, 0, 1)
    bottom_place = jnp.where(bottom_left >= bottom_right, 2, 3)
    places = jnp.where(top >= bottom, top_place, bottom_place)
    return jnp.maximum(top, bottom), places.astype(jnp.int8)


def _gradient_to_places(places: Array, gradient: Array) -> tuple[Array]:
    batch, height, width, channels = gradient.shape
    window = jnp.arange(4, dtype=jnp.int8).reshape(1, 1, 2, 1, 2, 1)
    spread = jnp.where(places[:, :, None, :, None] == window, gradient[:, :, None, :, None], 0)
    return (spread.reshape(batch, 2 * height, 2 * width, channels),)


_pool_windows.defvjp(_pool_with_places, _gradient_to_places)


class ConvolutionPool(nn.Module):
    """Convolution 3 by 3 without padding, ReLU, max-pool 2: image sides s become (s - 2) // 2.

    Pooling goes before bias and ReLU, which gives the same values for a quarter of the work as both only grow
    with their input. Rows and columns of the image that no pooled value depends on are cut off first.
    """

    features: int
    kernel_size: int = 3

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch half_height half_width feature"]:
        """Activations of `images`; sides below kernel_size + 1 raise RefusedError."""
        margin = self.kernel_size - 1
        height, width = ((side - margin) // 2 * 2 + margin for side in images.shape[1:3])
        if min(height, width) <= margin:
            raise refuse(
                f"layer {'/'.join(self.path)}",
                f"its input of {images.shape[1]} by {images.shape[2]} is too small",
                f"it needs {self.kernel_size + 1} pixels a side: choose a larger --image-size",
            )
        kernel = self.param(
            "kernel",
            nn.initializers.glorot_uniform(),
            (self.kernel_size, self.kernel_size, images.shape[-1], self.features),
        )
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return jax.nn.relu(max_pool(convolution(images[:, :height, :width], kernel)) + bias)
