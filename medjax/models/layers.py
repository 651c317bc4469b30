"""Convolution and pooling that are fast where they are lowered: one program serves cpu, cuda and tpu.

XLA:CPU runs the backward pass of a stock convolution 8 to 13 times slower inside a loop than outside it
(https://github.com/jax-ml/jax/issues/12868), so on a CPU a convolution is written as shifted slices and one
matrix product. Elsewhere it stays the library's own. `jax.lax.platform_dependent` chooses while lowering.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from medjax.errors import refuse


def convolution(
    images: Float[Array, "batch height width channel"],
    kernel: Float[Array, "kernel_height kernel_width channel feature"],
) -> Float[Array, "batch out_height out_width feature"]:
    """Cross-correlation without padding ("valid"), stride 1."""
    return lax.platform_dependent(images, kernel, cpu=_by_slices, default=_by_library)


def _by_library(images: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        images, kernel, window_strides=(1, 1), padding="VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _by_slices(images: Array, kernel: Array) -> Array:
    kernel_height, kernel_width, channels, features = kernel.shape
    batch, height, width, _ = images.shape
    out_height, out_width = height - kernel_height + 1, width - kernel_width + 1
    patches = jnp.concatenate(
        [
            images[:, top : top + out_height, left : left + out_width]
            for top in range(kernel_height)
            for left in range(kernel_width)
        ],
        axis=-1,
    )
    products = patches.reshape(-1, kernel_height * kernel_width * channels) @ kernel.reshape(-1, features)
    return products.reshape(batch, out_height, out_width, features)


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
