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

    Written as the maximum of strided slices: the gradient of `nn.max_pool` is half of a small network's time on
    a CPU and does not compile under XLA's determinism flag on a GPU.
    """
    height, width = (side // 2 * 2 for side in images.shape[1:3])
    rows = jnp.maximum(images[:, 0:height:2, :width], images[:, 1:height:2, :width])
    return jnp.maximum(rows[:, :, 0::2], rows[:, :, 1::2])


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
