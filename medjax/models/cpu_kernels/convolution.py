"""The outputs of convolutions, by the kernels of this folder."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from medjax.models.cpu_kernels import depthwise, direct_convolution, ffi_handler, winograd
from medjax.models.cpu_kernels.array_operations import pad
from medjax.models.cpu_kernels.calls import ChannelKernels, Images, Kernel, Pair, count_parts, make_scratch
from medjax.models.cpu_kernels.epilogues import Epilogue
from medjax.models.cpu_kernels.expressions import Term
from medjax.models.cpu_kernels.ffi_call import call_kernel
from medjax.models.cpu_kernels.register_tiles import Window, block_features
from medjax.models.cpu_kernels.winograd_tiles import make_plan, scratch_size

# With fewer channels or features, Winograd's transforms cost more than they save.
_MIN_WINOGRAD_CHANNELS = 16
# Transformed pixels that a job of Winograd's outputs goes through again and again, and its weights; measured.
_CACHED_BYTES, _CACHED_WEIGHTS_BYTES = 2**19, 2**21


class Convolution(NamedTuple):
    """What `lax.conv_general_dilated` computes from NHWC images and an HWIO kernel."""

    strides: Pair
    padding: tuple[Pair, Pair]
    image_dilation: Pair
    kernel_dilation: Pair
    groups: int = 1


class Ending(NamedTuple):
    """What is computed of the outputs before they are written: a term, and what it reads."""

    term: Term = ("array", 0)
    arrays: Sequence[Array] = ()  # of the shape of the outputs
    rows: Sequence[Array] = ()  # along the features

    @property
    def epilogue(self) -> Epilogue:
        """What of it the kernel's code depends on."""
        return Epilogue(self.term, len(self.arrays), len(self.rows))


def convolve(images: Images, kernel: Kernel, convolution: Convolution, ending: Ending | None = None) -> Array:
    """The outputs of a convolution; image_dilation above 1 needs strides and kernel_dilation of 1, and no ending."""
    if convolution.image_dilation != (1, 1):
        return _convolve_dilated(convolve, images, kernel, convolution)
    if is_for_winograd(kernel.shape, convolution):
        return _convolve_by_winograd(images, kernel, convolution.padding, ending or Ending())
    if kernel.shape[:2] == (1, 1) and convolution.groups == 1 and ending is None:
        return _multiply(pad(images, convolution.padding), kernel, convolution.strides)
    strides, padding, _, dilation, groups = convolution
    return _call_forward(images, kernel, Window(strides, dilation, padding, groups), ending or Ending())


def convolve_depthwise(
    images: Images, kernel: ChannelKernels, convolution: Convolution, ending: Ending | None = None
) -> Array:
    """As `convolve`, where each channel has a kernel of its own."""
    if convolution.image_dilation != (1, 1):
        return _convolve_dilated(convolve_depthwise, images, kernel, convolution)
    ending = ending or Ending()
    window = Window(convolution.strides, convolution.kernel_dilation, convolution.padding)
    outputs = _outputs_of(images, kernel, window)
    bands = depthwise.make_bands(window, kernel.shape[:2], images.shape, outputs.shape)
    scratch = make_scratch(
        window.is_padded, ffi_handler.num_tasks(len(images)), math.prod(bands.pixels_shape)
    )
    return call_kernel(
        depthwise.make_forward(window, ending.epilogue),
        [outputs, scratch],
        [images, *ending.arrays],
        [kernel, *ending.rows],
    )[0]


def is_for_winograd(kernel_shape: tuple[int, ...], convolution: Convolution) -> bool:
    """Whether Winograd's kernels compute a convolution by a kernel of this shape."""
    strides, _, *dilations, groups = convolution
    *sides, channels, features = kernel_shape
    return (
        sides == [3, 3]
        and {strides, *dilations} == {(1, 1)}
        and groups == 1
        and min(channels, features) >= _MIN_WINOGRAD_CHANNELS
        and channels % 8 == 0
    )


def _convolve_by_winograd(
    images: Images, kernel: Kernel, padding: tuple[Pair, Pair], ending: Ending
) -> Array:
    num_images, height, width, channels = images.shape
    features = kernel.shape[-1]
    outputs = height + sum(padding[0]) - 2, width + sum(padding[1]) - 2
    block = block_features(features)
    num_blocks = -(-features // block)
    [weights] = call_kernel(
        winograd.transform_weights,
        [jax.ShapeDtypeStruct((num_blocks, 4, 4, channels, block), jnp.float32)],
        [jnp.zeros((num_blocks, 1))],
        [kernel],
        min_images_per_task=1,
    )
    num_parts = count_parts(num_blocks, _CACHED_WEIGHTS_BYTES // (64 * channels * block))
    num_groups = max(1, min(ffi_handler.MAX_TASKS // num_parts, num_images))
    plan = make_plan(num_images, channels, outputs, padding, num_groups, _CACHED_BYTES)
    num_jobs = num_parts * num_groups
    results, _ = call_kernel(
        winograd.make_forward(plan, ending.epilogue),
        [
            jax.ShapeDtypeStruct((num_images, *outputs, features), jnp.float32),
            jax.ShapeDtypeStruct((num_jobs, scratch_size(plan, block)), jnp.float32),
        ],
        [jnp.zeros((num_jobs, 1))],
        [images, *ending.arrays, weights.reshape(num_parts, -1, *weights.shape[1:]), *ending.rows],
        min_images_per_task=1,
    )
    return results


def _call_forward(images: Images, kernel: Kernel, window: Window, ending: Ending) -> Array:
    *sides, channels, features = kernel.shape
    block = block_features(features // window.groups)
    by_group = kernel.reshape(*sides, channels, window.groups, -1)
    padded = _pad_features(by_group, block).reshape(*sides, channels, -1, block)
    outputs = _outputs_of(images, kernel, window)
    bands = direct_convolution.make_bands(window, (sides[0], sides[1]), images.shape, outputs.shape, block)
    num_tasks = ffi_handler.num_tasks(len(images), 1)
    results, _ = call_kernel(
        direct_convolution.make_forward(window, ending.epilogue),
        [outputs, make_scratch(window.is_padded, num_tasks, math.prod(bands.pixels_shape))],
        [images, *ending.arrays],
        [padded.transpose(3, 0, 1, 2, 4), *ending.rows],
        min_images_per_task=1,
    )
    return results


def _outputs_of(images: Images, kernel: Array, window: Window) -> jax.ShapeDtypeStruct:
    sides = [
        (side + sum(padding) - (taps - 1) * dilation - 1) // stride + 1
        for side, padding, taps, dilation, stride in zip(
            images.shape[1:3], window.padding, kernel.shape[:2], window.dilation, window.strides, strict=True
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
    plain = Convolution((1, 1), (paddings[0], paddings[1]), (1, 1), (1, 1), convolution.groups)
    return convolve(images, taps, plain)


def _pad_features(array: Array, block: int) -> Array:
    missing = -array.shape[-1] % block
    return jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)]) if missing else array
