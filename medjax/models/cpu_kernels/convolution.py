"""Convolutions, their gradients, the gradient of max-pooling and sums over columns, by the kernels of this folder."""

import functools
import itertools
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32

from medjax.models.cpu_kernels import column_sums, depthwise, direct_convolution, ffi_handler, pooling
from medjax.models.cpu_kernels.direct_convolution import Window
from medjax.models.cpu_kernels.ffi_call import call_kernel

Pair = tuple[int, int]
Images = Float32[Array, "batch height width channel"]
ChannelKernels = Float32[Array, "kernel_height kernel_width channel"]
Gradients = Float32[Array, "batch output_height output_width feature"]
Kernel = Float32[Array, "kernel_height kernel_width channel feature"]

# Sums of weight gradients over parts of the images take at most so much memory.
_MAX_PARTIAL_BYTES = 2**22


class Convolution(NamedTuple):
    """What `lax.conv_general_dilated` computes from NHWC images and an HWIO kernel, without groups."""

    strides: Pair
    padding: tuple[Pair, Pair]
    image_dilation: Pair
    kernel_dilation: Pair


def convolve(images: Images, kernel: Kernel, convolution: Convolution) -> Array:
    """The outputs of a convolution; image_dilation above 1 needs strides and kernel_dilation of 1."""
    if convolution.image_dilation != (1, 1):
        return _convolve_dilated(convolve, images, kernel, convolution)
    images = pad(images, convolution.padding)
    if kernel.shape[:2] == (1, 1):
        return _multiply(images, kernel, convolution.strides)
    return _call_forward(images, kernel, Window(convolution.strides, convolution.kernel_dilation))


def convolve_depthwise(images: Images, kernel: ChannelKernels, convolution: Convolution) -> Array:
    """As `convolve`, where each channel has a kernel of its own."""
    if convolution.image_dilation != (1, 1):
        return _convolve_dilated(convolve_depthwise, images, kernel, convolution)
    images = pad(images, convolution.padding)
    window = Window(convolution.strides, convolution.kernel_dilation)
    results = [_outputs_of(images, kernel, window)]
    return call_kernel(depthwise.make_forward(window), results, [images], [kernel])[0]


def depthwise_weight_gradient(
    images: Images, gradients: Gradients, sides: Pair, window: Window
) -> ChannelKernels:
    """As `weight_gradient`, of a depthwise convolution."""
    shape = (ffi_handler.num_tasks(len(images)), *sides, images.shape[-1])
    results = [jax.ShapeDtypeStruct(shape, jnp.float32)]
    [sums] = call_kernel(depthwise.make_weight_gradient(window), results, [images, gradients])
    return lax.optimization_barrier(functools.reduce(operator.add, sums))


def max_pool_gradient(
    images: Images, gradients: Gradients, sides: Pair, strides: Pair, padding: tuple[Pair, Pair]
) -> Images:
    """Gradient of the images: that of a window goes to the first of its equal maxima."""
    padded = pad(images, padding, -jnp.inf)
    results = [jax.ShapeDtypeStruct(padded.shape, jnp.float32)]
    [padded] = call_kernel(pooling.make_max_gradient(sides, strides), results, [padded, gradients])
    (top, _), (left, _) = padding
    return padded[:, top : top + images.shape[1], left : left + images.shape[2]]


def sum_columns(array: Array) -> Array:
    """The sum over all axes but the last."""
    flat = array.reshape(len(array), -1, array.shape[-1])
    results = [jax.ShapeDtypeStruct((ffi_handler.num_tasks(len(array)), array.shape[-1]), jnp.float32)]
    [sums] = call_kernel(column_sums.column_sums, results, [flat])
    return functools.reduce(operator.add, sums)


def pad(images: Images, padding: tuple[Pair, Pair], value: float = 0.0) -> Array:
    """Images with so many rows and columns of `value` around them; fewer than 0 cut some off."""
    if padding == ((0, 0), (0, 0)):
        return images
    return lax.pad(images, jnp.float32(value), [(0, 0, 0), *((*pair, 0) for pair in padding), (0, 0, 0)])


def weight_gradient(images: Images, gradients: Gradients, sides: Pair, window: Window) -> Kernel:
    """Gradient of a kernel of so many rows and columns, given padded images and the gradients of the outputs."""
    if sides == (1, 1):
        strided = images[:, :: window.strides[0], :: window.strides[1]]
        strided = strided[:, : gradients.shape[1], : gradients.shape[2]]
        return jnp.einsum("nhwc,nhwf->cf", strided, gradients)[None, None]
    features, channels = gradients.shape[-1], images.shape[-1]
    block = direct_convolution.block_features(features)
    gradients = _pad_features(gradients, block)
    num_blocks = gradients.shape[-1] // block
    weights_bytes = 4 * sides[0] * sides[1] * channels * features
    num_groups = max(
        1, min(-(-ffi_handler.MAX_TASKS // num_blocks), _MAX_PARTIAL_BYTES // weights_bytes, len(images))
    )
    jobs = jnp.zeros((num_blocks * num_groups, 1))
    shape = (num_blocks * num_groups, *sides, channels, block)
    [sums] = call_kernel(
        direct_convolution.make_weight_gradient(window, num_groups),
        [jax.ShapeDtypeStruct(shape, jnp.float32)],
        [jobs],
        [images, gradients],
        min_images_per_task=1,
    )
    sums = sums.reshape(num_blocks, num_groups, *shape[1:])
    # As single additions: XLA:CPU is 20 times slower to reduce over a first axis.
    total = lax.optimization_barrier(
        functools.reduce(operator.add, (sums[:, group] for group in range(num_groups)))
    )
    return total.transpose(1, 2, 3, 0, 4).reshape(*shape[1:-1], -1)[..., :features]


def _call_forward(images: Images, kernel: Kernel, window: Window) -> Array:
    *sides, channels, features = kernel.shape
    block = direct_convolution.block_features(features)
    padded = _pad_features(kernel, block)
    packed = padded.reshape(*sides, channels, -1, block).transpose(3, 0, 1, 2, 4)
    [outputs] = call_kernel(
        direct_convolution.make_forward(window),
        [_outputs_of(images, padded, window)],
        [images],
        [packed],
        min_images_per_task=1,
    )
    return outputs[..., :features]


def _outputs_of(images: Images, kernel: Array, window: Window) -> jax.ShapeDtypeStruct:
    sides = [
        (side - (taps - 1) * dilation - 1) // stride + 1
        for side, taps, dilation, stride in zip(
            images.shape[1:3], kernel.shape[:2], window.dilation, window.strides, strict=True
        )
    ]
    return jax.ShapeDtypeStruct((len(images), *sides, kernel.shape[-1]), jnp.float32)


def _multiply(images: Images, kernel: Kernel, strides: Pair) -> Array:
    """A convolution by one tap, as a matrix product."""
    strided = images[:, :: strides[0], :: strides[1]]
    return jnp.einsum("nhwc,cf->nhwf", strided, kernel[0, 0])


def _convolve_dilated(
    convolve: Callable[..., Array], images: Images, kernel: Array, convolution: Convolution
) -> Array:
    """A convolution of images with zeros between their pixels, as one convolution for each phase of the outputs."""
    sides = [
        (side - 1) * dilation + 1 + sum(padding) - taps + 1
        for side, dilation, padding, taps in zip(
            images.shape[1:3], convolution.image_dilation, convolution.padding, kernel.shape[:2], strict=True
        )
    ]
    down, right = convolution.image_dilation
    lengths = [-(-side // dilation) for side, dilation in zip(sides, (down, right), strict=True)]
    phases = [
        _compute_phase(convolve, images, kernel, convolution, lengths, phase)
        for phase in itertools.product(range(down), range(right))
    ]
    outputs = jnp.stack(phases, -2).reshape(len(images), *lengths, down, right, -1)
    outputs = outputs.transpose(0, 1, 3, 2, 4, 5).reshape(
        len(images), lengths[0] * down, lengths[1] * right, -1
    )
    return outputs[:, : sides[0], : sides[1]]


def _compute_phase(
    convolve: Callable[..., Array],
    images: Images,
    kernel: Array,
    convolution: Convolution,
    lengths: list[int],
    phase: Pair,
) -> Array:
    """The outputs whose row and column leave the remainders `phase`, by the taps that meet pixels there."""
    first_taps, paddings = [], []
    for axis in range(2):
        dilation, low = convolution.image_dilation[axis], convolution.padding[axis][0]
        first_tap = (low - phase[axis]) % dilation
        num_taps = len(range(first_tap, kernel.shape[axis], dilation))
        start = (phase[axis] - low + first_tap) // dilation
        first_taps.append(first_tap)
        paddings.append((-start, lengths[axis] + num_taps - 1 - images.shape[1 + axis] + start))
    taps = kernel[
        first_taps[0] :: convolution.image_dilation[0], first_taps[1] :: convolution.image_dilation[1]
    ]
    if 0 in taps.shape:
        return jnp.zeros((len(images), *lengths, kernel.shape[-1]))
    plain = Convolution((1, 1), (paddings[0], paddings[1]), (1, 1), (1, 1))
    return convolve(images, taps, plain)


def _pad_features(array: Array, block: int) -> Array:
    missing = -array.shape[-1] % block
    return jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)]) if missing else array
