"""Convolution and pooling that are fast where they are lowered: one program serves cpu, cuda and tpu.

XLA:CPU runs the backward pass of a stock convolution 8 to 13 times slower inside a loop than outside it
(https://github.com/jax-ml/jax/issues/12868) and knows nothing of a pooled gradient's zeros, so on a CPU the layer is
loops of our own. Elsewhere convolutions stay the library's. `jax.lax.platform_dependent` chooses while lowering.
"""

import functools
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero
from jaxtyping import Array, Float32, Int8

from medjax.errors import refuse
from medjax.models.cpu_kernels import convolution_pool as kernels
from medjax.models.cpu_kernels import ffi_call as native
from medjax.models.cpu_kernels import ffi_handler as handler

Images = Float32[Array, "batch height width channel"]
Kernel = Float32[Array, "kernel_height kernel_width channel feature"]
Bias = Float32[Array, "feature"]
Activations = Float32[Array, "batch half_height half_width feature"]
Places = Int8[Array, "batch half_height half_width feature"]  # of the largest of a window, see `kernels`

# Below so many channels a row of the kernel is too short for vectors along it.
_DEEP_CHANNELS = 4
# Measured at 32 only, where it takes three fifths of the time.
_WINOGRAD_CHANNELS = 8


@jax.custom_vjp
def convolution_pool(images: Images, kernel: Kernel, bias: Bias) -> Activations:
    """ReLU of bias and the largest value of each 2 by 2 window of a cross-correlation without padding, stride 1.

    An odd last row or column is left out. Pooling goes before bias and ReLU, which gives the same values for a quarter
    of the work as both only grow with their input. The gradient goes to the first of equal values, as in `nn.max_pool`,
    whose own does not compile under XLA's determinism flag on a GPU.
    """
    return _forward(images, kernel, bias)[0]


def _forward(images: Images, kernel: Kernel, bias: Bias) -> tuple[Activations, Places]:
    return lax.platform_dependent(images, kernel, bias, cpu=_forward_natively, default=_forward_by_library)


class _Remembered(NamedTuple):
    images: Images
    kernel: Kernel
    places: Places
    # The kernel again, or None where nobody needs the images' gradient: its code would be compiled, and never run.
    image_kernel: Kernel | None


def _remember(
    images: CustomVJPPrimal, kernel: CustomVJPPrimal, bias: CustomVJPPrimal
) -> tuple[Activations, _Remembered]:
    activations, places = _forward(images.value, kernel.value, bias.value)
    image_kernel = kernel.value if images.perturbed else None
    return activations, _Remembered(images.value, kernel.value, places, image_kernel)


def _backward(
    remembered: _Remembered, gradient: Activations | SymbolicZero
) -> tuple[Images | None, Kernel | None, Bias | None]:
    if isinstance(gradient, SymbolicZero):
        return None, None, None
    images, kernel, places, image_kernel = remembered
    image_gradient = None
    if image_kernel is not None:
        image_gradient = lax.platform_dependent(
            images,
            image_kernel,
            places,
            gradient,
            cpu=_image_gradient_natively,
            default=_image_gradient_by_library,
        )
    kernel_gradient, bias_gradient = lax.platform_dependent(
        images, kernel, places, gradient, cpu=_kernel_gradient_natively, default=_kernel_gradient_by_library
    )
    return image_gradient, kernel_gradient, bias_gradient


convolution_pool.defvjp(_remember, _backward, symbolic_zeros=True)


def _forward_natively(images: Images, kernel: Kernel, bias: Bias) -> tuple[Activations, Places]:
    batch, *sides, _ = images.shape
    kernel_sides, features = kernel.shape[:2], kernel.shape[3]
    halves = [(side - kernel_side + 1) // 2 for side, kernel_side in zip(sides, kernel_sides, strict=True)]
    results = [jax.ShapeDtypeStruct((batch, *halves, features), kind) for kind in (jnp.float32, jnp.int8)]
    if kernel_sides == (3, 3) and kernel.shape[2] >= _WINOGRAD_CHANNELS:
        transformed = kernels.transform_kernel(kernel)
        activations, places = native.run(kernels.winograd_forward, results, [images], [transformed, bias])
    else:
        activations, places = native.run(kernels.pooled_forward, results, [images], [kernel, bias])
    return activations, places


def _image_gradient_natively(images: Images, kernel: Kernel, places: Places, gradient: Activations) -> Images:
    features_first = kernel.transpose(3, 0, 1, 2)
    results = [jax.ShapeDtypeStruct(images.shape, jnp.float32)]
    [image_gradient] = native.run(kernels.image_gradient, results, [places, gradient], [features_first])
    return image_gradient


def _kernel_gradient_natively(
    images: Images, kernel: Kernel, places: Places, gradient: Activations
) -> tuple[Kernel, Bias]:
    shares, (*rest, features) = handler.num_tasks(len(images)), kernel.shape
    is_deep = kernel.shape[2] >= _DEEP_CHANNELS
    shape = (features, *rest) if is_deep else kernel.shape
    results = [jax.ShapeDtypeStruct((shares, *each), jnp.float32) for each in (shape, (features,))]
    kind = kernels.kernel_gradient if is_deep else kernels.shallow_kernel_gradient
    parts, bias_parts = native.run(kind, results, [images, places, gradient])
    # As single additions: XLA:CPU is 20 times slower to reduce over a first axis. The barrier keeps what follows from
    # adding up again for each of its uses.
    kernel_gradient = lax.optimization_barrier(functools.reduce(operator.add, parts))
    return kernel_gradient.transpose(1, 2, 3, 0) if is_deep else kernel_gradient, bias_parts.sum(0)


def _convolve(images: Images, kernel: Kernel) -> Array:
    return lax.conv_general_dilated(
        images, kernel, window_strides=(1, 1), padding="VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _forward_by_library(images: Images, kernel: Kernel, bias: Bias) -> tuple[Activations, Places]:
    outputs = _convolve(images, kernel)
    height, width = (side // 2 * 2 for side in outputs.shape[1:3])
    top, bottom = outputs[:, :height:2, :width], outputs[:, 1:height:2, :width]
    top_left, top_right = top[:, :, ::2], top[:, :, 1::2]
    bottom_left, bottom_right = bottom[:, :, ::2], bottom[:, :, 1::2]
    top, bottom = jnp.maximum(top_left, top_right), jnp.maximum(bottom_left, bottom_right)
    top_place = jnp.where(top_left >= top_right, 0, 1)
    bottom_place = jnp.where(bottom_left >= bottom_right, 2, 3)
    biased = jnp.maximum(top, bottom) + bias
    places = jnp.where(biased > 0, jnp.where(top >= bottom, top_place, bottom_place), kernels.NOWHERE)
    return jax.nn.relu(biased), places.astype(jnp.int8)


def _spread(images: Images, kernel: Kernel, places: Places, gradient: Activations) -> Array:
    """The gradient of the convolution's outputs: each window's at its place."""
    batch, height, width, features = gradient.shape
    window = jnp.arange(4, dtype=jnp.int8).reshape(1, 1, 2, 1, 2, 1)
    spread = jnp.where(places[:, :, None, :, None] == window, gradient[:, :, None, :, None], 0)
    spread = spread.reshape(batch, 2 * height, 2 * width, features)
    odd = [
        (side - kernel_side + 1) % 2
        for side, kernel_side in zip(images.shape[1:3], kernel.shape[:2], strict=True)
    ]
    return jnp.pad(spread, ((0, 0), (0, odd[0]), (0, odd[1]), (0, 0)))


def _image_gradient_by_library(
    images: Images, kernel: Kernel, places: Places, gradient: Activations
) -> Images:
    spread = _spread(images, kernel, places, gradient)
    [image_gradient] = jax.linear_transpose(lambda each: _convolve(each, kernel), images)(spread)
    return image_gradient


def _kernel_gradient_by_library(
    images: Images, kernel: Kernel, places: Places, gradient: Activations
) -> tuple[Kernel, Bias]:
    spread = _spread(images, kernel, places, gradient)
    [kernel_gradient] = jax.linear_transpose(lambda each: _convolve(images, each), kernel)(spread)
    return kernel_gradient, spread.sum((0, 1, 2))


class ConvolutionPool(nn.Module):
    """Convolution 3 by 3 without padding, ReLU, max-pool 2: image sides s become (s - 2) // 2."""

    features: int
    kernel_size: int = 3

    @nn.compact
    def __call__(self, images: Images) -> Activations:
        """Activations of `images`; sides below kernel_size + 1 raise RefusedError."""
        height, width, channels = images.shape[1:]
        if min(height, width) <= self.kernel_size:
            raise refuse(
                f"layer {'/'.join(self.path)}",
                f"its input of {height} by {width} is too small",
                f"it needs {self.kernel_size + 1} pixels a side: choose a larger --image-size or fewer --block-features",
            )
        kernel = self.param(
            "kernel",
            nn.initializers.glorot_uniform(),
            (self.kernel_size, self.kernel_size, channels, self.features),
        )
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return convolution_pool(images, kernel, bias)
