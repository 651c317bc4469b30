"""Convolution, max-pool, bias and ReLU as JAX operations, with gradients and tangents: for every platform and dtype.

A window is the 2 by 2 outputs of the convolution that are pooled. `positions` holds where the maximum of each window
was, as an index into WINDOW, or NOWHERE where ReLU gives 0 and no gradient passes.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int8

Images = Float[Array, "batch height width channel"]
Kernel = Float[Array, "kernel_height kernel_width channel feature"]
Bias = Float[Array, "feature"]
Activations = Float[Array, "batch half_height half_width feature"]
Positions = Int8[Array, "batch half_height half_width feature"]

WINDOW = ((0, 0), (0, 1), (1, 0), (1, 1))  # rows down, columns to the right
NOWHERE = len(WINDOW)


def forward(images: Images, kernel: Kernel, bias: Bias) -> tuple[Activations, Positions]:
    """Activations, and the position of the maximum of each window: the first of equal ones."""
    top_left, top_right, bottom_left, bottom_right = _window_outputs(_convolve(images, kernel))
    top, bottom = jnp.maximum(top_left, top_right), jnp.maximum(bottom_left, bottom_right)
    top_position = jnp.where(top_left >= top_right, 0, 1)
    bottom_position = jnp.where(bottom_left >= bottom_right, 2, 3)
    biased = jnp.maximum(top, bottom) + bias
    positions = jnp.where(biased > 0, jnp.where(top >= bottom, top_position, bottom_position), NOWHERE)
    return jax.nn.relu(biased), positions.astype(jnp.int8)


def image_tangent(
    images: Images, kernel: Kernel, positions: Positions, image_tangents: Images
) -> Activations:
    """Tangent of the activations, given that of the images."""
    return _select(_convolve(image_tangents, kernel), positions)


def kernel_tangent(
    images: Images, kernel: Kernel, positions: Positions, kernel_tangents: Kernel, bias_tangents: Bias
) -> Activations:
    """Tangent of the activations, given those of the kernel and the bias."""
    return _select(_convolve(images, kernel_tangents) + bias_tangents, positions)


def image_gradient(images: Images, kernel: Kernel, positions: Positions, gradient: Activations) -> Images:
    """Gradient of the images: the transpose of `image_tangent`."""
    outputs = _unpool(images, kernel, positions, gradient)
    [image_gradient] = jax.linear_transpose(lambda tangents: _convolve(tangents, kernel), images)(outputs)
    return image_gradient


def kernel_gradient(
    images: Images, kernel: Kernel, positions: Positions, gradient: Activations
) -> tuple[Kernel, Bias]:
    """Gradients of the kernel and the bias: the transpose of `kernel_tangent`."""
    outputs = _unpool(images, kernel, positions, gradient)
    [kernel_gradient] = jax.linear_transpose(lambda tangents: _convolve(images, tangents), kernel)(outputs)
    return kernel_gradient, outputs.sum((0, 1, 2))


def _convolve(images: Images, kernel: Kernel) -> Array:
    return lax.conv_general_dilated(
        images, kernel, window_strides=(1, 1), padding="VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _window_outputs(outputs: Array) -> list[Array]:
    """The outputs at each position of all windows; an odd last row or column is left out."""
    height, width = (side // 2 * 2 for side in outputs.shape[1:3])
    return [outputs[:, down:height:2, right:width:2] for down, right in WINDOW]


def _select(outputs: Array, positions: Positions) -> Activations:
    """The output at the position of each window, 0 where it is NOWHERE."""
    selected = jnp.zeros(positions.shape, outputs.dtype)
    for index, window_outputs in enumerate(_window_outputs(outputs)):
        selected = jnp.where(positions == index, window_outputs, selected)
    return selected


def _unpool(images: Images, kernel: Kernel, positions: Positions, gradient: Activations) -> Array:
    """Gradient of the convolution's outputs: that of each window at its position, 0 elsewhere."""
    batch, height, width, features = gradient.shape
    window = jnp.arange(len(WINDOW), dtype=jnp.int8).reshape(1, 1, 2, 1, 2, 1)
    outputs = jnp.where(positions[:, :, None, :, None] == window, gradient[:, :, None, :, None], 0)
    outputs = outputs.reshape(batch, 2 * height, 2 * width, features)
    odd = [
        (side - kernel_side + 1) % 2
        for side, kernel_side in zip(images.shape[1:3], kernel.shape[:2], strict=True)
    ]
    return jnp.pad(outputs, ((0, 0), (0, odd[0]), (0, odd[1]), (0, 0)))
