"""Convolutions, their gradients, the gradient of max-pooling and sums over columns, by the kernels of this folder."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32

from medjax.models.cpu_kernels import (
    column_sums,
    depthwise,
    direct_convolution,
    ffi_handler,
    pooling,
    row_products,
    slices,
    winograd,
)
from medjax.models.cpu_kernels.direct_convolution import Window
from medjax.models.cpu_kernels.expressions import Term
from medjax.models.cpu_kernels.ffi_call import call_kernel
from medjax.models.cpu_kernels.winograd_tiles import make_plan

Pair = tuple[int, int]
Images = Float32[Array, "batch height width channel"]
ChannelKernels = Float32[Array, "kernel_height kernel_width channel"]
Gradients = Float32[Array, "batch output_height output_width feature"]
Kernel = Float32[Array, "kernel_height kernel_width group_channel feature"]  # channels of one group

# With more rows, a transposed copy of the other matrix costs little.
_MAX_LEFT_ROWS = 256
# Sums of weight gradients over parts of the images take at most so much memory.
_MAX_PARTIAL_BYTES = 2**22
# With fewer channels or features, Winograd's transforms cost more than they save.
_MIN_WINOGRAD_CHANNELS = 16
# Transformed pixels that a job of Winograd's outputs goes through again and again, and its weights; measured.
_CACHED_BYTES, _CACHED_WEIGHTS_BYTES = 2**19, 2**21
# The same of the gradient of the weights, and the tiles that are worth sums of their own.
_CACHED_GRADIENT_BYTES, _CACHED_SUMS_BYTES, _MIN_SUMMED_TILES = 2**18, 2**19, 128


class Convolution(NamedTuple):
    """What `lax.conv_general_dilated` computes from NHWC images and an HWIO kernel."""

    strides: Pair
    padding: tuple[Pair, Pair]
    image_dilation: Pair
    kernel_dilation: Pair
    groups: int = 1


def convolve(images: Images, kernel: Kernel, convolution: Convolution) -> Array:
    """The outputs of a convolution; image_dilation above 1 needs strides and kernel_dilation of 1."""
    if convolution.image_dilation != (1, 1):
        return _convolve_dilated(convolve, images, kernel, convolution)
    if _is_for_winograd(images.shape, kernel.shape, convolution):
        return _convolve_by_winograd(images, kernel, convolution.padding)
    if kernel.shape[:2] == (1, 1) and convolution.groups == 1:
        return _multiply(pad(images, convolution.padding), kernel, convolution.strides)
    strides, padding, _, dilation, groups = convolution
    return _call_forward(images, kernel, Window(strides, dilation, padding, groups))


def convolve_depthwise(images: Images, kernel: ChannelKernels, convolution: Convolution) -> Array:
    """As `convolve`, where each channel has a kernel of its own."""
    if convolution.image_dilation != (1, 1):
        return _convolve_dilated(convolve_depthwise, images, kernel, convolution)
    window = Window(convolution.strides, convolution.kernel_dilation, convolution.padding)
    outputs = _outputs_of(images, kernel, window)
    bands = depthwise.make_bands(window, kernel.shape[:2], images.shape, outputs.shape)
    scratch = _scratch(window.is_padded, ffi_handler.num_tasks(len(images)), math.prod(bands.pixels_shape))
    return call_kernel(depthwise.make_forward(window), [outputs, scratch], [images], [kernel])[0]


def depthwise_weight_gradient(
    images: Images, gradients: Gradients, sides: Pair, window: Window
) -> ChannelKernels:
    """As `weight_gradient`, of a depthwise convolution."""
    num_tasks = ffi_handler.num_tasks(len(images))
    shape = depthwise.padded_shape(window, sides[0], images.shape, gradients.shape)
    results = [
        jax.ShapeDtypeStruct((num_tasks, *sides, images.shape[-1]), jnp.float32),
        _scratch(window.is_padded, num_tasks, math.prod(shape)),
    ]
    sums, _ = call_kernel(depthwise.make_weight_gradient(window), results, [images, gradients])
    return _sum_first(sums)


def pool(
    kind: Literal["max", "sum"], images: Images, sides: Pair, strides: Pair, padding: tuple[Pair, Pair]
) -> Array:
    """The maximum or the sum of each window."""
    shape = pooling.padded_shape(images.shape, padding)
    outputs = [
        (length - side) // stride + 1 for length, side, stride in zip(shape[:2], sides, strides, strict=True)
    ]
    num_tasks = ffi_handler.num_tasks(len(images))
    results = [
        jax.ShapeDtypeStruct((len(images), *outputs, shape[-1]), jnp.float32),
        _scratch(pooling.is_padded(padding), num_tasks, math.prod(shape)),
    ]
    return call_kernel(pooling.make_pooling(kind, sides, strides, padding), results, [images])[0]


def spread(images: Images, filling: Array, sides: Pair, spacing: Pair, first_pixel: Pair) -> Array:
    """Images of `sides` whose pixels lie `spacing` apart, the first at `first_pixel`, amid the number `filling`."""
    result = jax.ShapeDtypeStruct((len(images), *sides, images.shape[-1]), jnp.float32)
    return call_kernel(pooling.make_spreading(spacing, first_pixel), [result], [images], [filling])[0]


def max_pool_gradient(
    images: Images, gradients: Gradients, sides: Pair, strides: Pair, padding: tuple[Pair, Pair]
) -> Images:
    """Gradient of the images: that of a window goes to the first of its equal maxima."""
    padded = pad(images, padding, -jnp.inf)
    results = [jax.ShapeDtypeStruct(padded.shape, jnp.float32)]
    [padded] = call_kernel(pooling.make_max_gradient(sides, strides), results, [padded, gradients])
    (top, _), (left, _) = padding
    return padded[:, top : top + images.shape[1], left : left + images.shape[2]]


def sum_columns(term: Term, arrays: Sequence[Array], rows: Sequence[Array]) -> Array:
    """The sum, over all axes but the last, of what a term computes from arrays of one shape and rows along the last axis."""
    flat = [array.reshape(len(array), -1, array.shape[-1]) for array in arrays]
    num_tasks, num_channels = ffi_handler.num_tasks(len(flat[0])), flat[0].shape[-1]
    results = [jax.ShapeDtypeStruct((num_tasks, num_channels), jnp.float32)]
    kernel = column_sums.make_column_sums(term, len(arrays))
    [sums] = call_kernel(kernel, results, flat, [row.reshape(-1) for row in rows])
    return _sum_first(sums)


def slice_axis(array: Array, axis: int, start: int, stop: int) -> Array:
    """The part of an array from `start` to `stop` along an axis that is not the first."""
    rest = math.prod(array.shape[axis + 1 :])
    rows = array.reshape(len(array), math.prod(array.shape[1:axis]), -1)
    result = jax.ShapeDtypeStruct((*rows.shape[:2], (stop - start) * rest), jnp.float32)
    [found] = call_kernel(slices.make_slice(start * rest), [result], [rows])
    return found.reshape(*array.shape[:axis], stop - start, *array.shape[axis + 1 :])


def split_axis(array: Array, axis: int, sizes: Sequence[int]) -> list[Array]:
    """Parts of an array, of these sizes along an axis that is not the first."""
    stops = itertools.accumulate(sizes)
    return [slice_axis(array, axis, stop - size, stop) for size, stop in zip(sizes, stops, strict=True)]


def multiply_rows(
    left: Float32[Array, "row value"], right: Float32[Array, "other value"]
) -> Float32[Array, "row other"]:
    """The product of each row on the left with each on the right, as matrices (row on the left, row on the right)."""
    if len(left) > _MAX_LEFT_ROWS:  # where a transposed copy costs little
        return left @ lax.optimization_barrier(right.T)
    results = [jax.ShapeDtypeStruct((len(left), len(right)), jnp.float32)]
    jobs = jnp.zeros((ffi_handler.MAX_TASKS, ffi_handler.MAX_TASKS))
    return call_kernel(row_products.row_products, results, [jobs], [left, right], min_images_per_task=1)[0]


def multiply_columns(
    left: Float32[Array, "row column"], right: Float32[Array, "row other"]
) -> Float32[Array, "column other"]:
    """The product of each column on the left with each on the right, as the gradient of a dense layer's weights."""
    images, gradients = left[:, None, None], right[:, None, None]
    return weight_gradient(images, gradients, (1, 1), Window((1, 1), (1, 1)))[0, 0]


def pad(images: Images, padding: tuple[Pair, Pair], value: float = 0.0) -> Array:
    """Images with so many rows and columns of `value` around them; fewer than 0 cut some off."""
    if padding == ((0, 0), (0, 0)):
        return images
    return lax.pad(images, jnp.float32(value), [(0, 0, 0), *((*pair, 0) for pair in padding), (0, 0, 0)])


def weight_gradient(images: Images, gradients: Gradients, sides: Pair, window: Window) -> Kernel:
    """Gradient of a kernel of so many rows and columns, given images and the gradients of the outputs."""
    groups, features, channels = window.groups, gradients.shape[-1], images.shape[-1] // window.groups
    convolution = Convolution(window.strides, window.padding, (1, 1), window.dilation, groups)
    if _is_for_winograd(images.shape, (*sides, channels, features), convolution):
        return _winograd_weight_gradient(images, gradients, window.padding)
    block = direct_convolution.block_features(features // groups)
    num_blocks = groups * -(-features // groups // block)
    weights_bytes = 4 * sides[0] * sides[1] * channels * features
    num_image_groups = max(
        1, min(-(-ffi_handler.MAX_TASKS // num_blocks), _MAX_PARTIAL_BYTES // weights_bytes, len(images))
    )
    num_jobs = num_blocks * num_image_groups
    chunks = direct_convolution.make_chunks(window, sides[0], images.shape, gradients.shape, num_image_groups)
    [sums, _] = call_kernel(
        direct_convolution.make_weight_gradient(window, num_image_groups),
        [
            jax.ShapeDtypeStruct((num_image_groups, *sides, channels, features), jnp.float32),
            _scratch(
                direct_convolution.copies_pixels(window, images.shape[-1]), num_jobs, chunks.scratch_size
            ),
        ],
        [jnp.zeros((num_jobs, 1))],
        [images, gradients],
        min_images_per_task=1,
    )
    return _sum_first(sums)


def _scratch(is_needed: bool, num_tasks: int, size: int) -> jax.ShapeDtypeStruct:
    """Memory for the pixels that each task copies."""
    return jax.ShapeDtypeStruct((num_tasks, size) if is_needed else (1, 1), jnp.float32)


def _is_for_winograd(shape: tuple[int, ...], kernel_shape: tuple[int, ...], convolution: Convolution) -> bool:
    strides, _, *dilations, groups = convolution
    *sides, channels, features = kernel_shape
    return (
        sides == [3, 3]
        and {strides, *dilations} == {(1, 1)}
        and groups == 1
        and min(channels, features) >= _MIN_WINOGRAD_CHANNELS
        and channels % 8 == 0
        and shape[0] > 0
    )


def _convolve_by_winograd(images: Images, kernel: Kernel, padding: tuple[Pair, Pair]) -> Array:
    num_images, height, width, channels = images.shape
    features = kernel.shape[-1]
    outputs = height + sum(padding[0]) - 2, width + sum(padding[1]) - 2
    block = direct_convolution.block_features(features)
    num_blocks = -(-features // block)
    [weights] = call_kernel(
        winograd.transform_weights,
        [jax.ShapeDtypeStruct((num_blocks, 4, 4, channels, block), jnp.float32)],
        [jnp.zeros((num_blocks, 1))],
        [kernel],
        min_images_per_task=1,
    )
    num_parts = _num_parts(num_blocks, _CACHED_WEIGHTS_BYTES // (64 * channels * block))
    num_groups = max(1, min(ffi_handler.MAX_TASKS // num_parts, num_images))
    plan = make_plan(num_images, channels, outputs, padding, num_groups, _CACHED_BYTES)
    num_jobs = num_parts * num_groups
    results, _ = call_kernel(
        winograd.make_forward(plan),
        [
            jax.ShapeDtypeStruct((num_images, *outputs, features), jnp.float32),
            jax.ShapeDtypeStruct((num_jobs, winograd.scratch_size(plan, block)), jnp.float32),
        ],
        [jnp.zeros((num_jobs, 1))],
        [images, weights.reshape(num_parts, -1, *weights.shape[1:])],
        min_images_per_task=1,
    )
    return results


def _num_parts(num_blocks: int, blocks_of_part: int) -> int:
    """The fewest parts of at most so many blocks, but at least one; all are of one size."""
    return next(
        number
        for number in range(1, num_blocks + 1)
        if num_blocks % number == 0 and num_blocks // number <= max(1, blocks_of_part)
    )


def _winograd_weight_gradient(images: Images, gradients: Gradients, padding: tuple[Pair, Pair]) -> Kernel:
    num_images, *_, channels = images.shape
    _, height, width, features = gradients.shape
    block = direct_convolution.block_features(features)
    num_blocks = -(-features // block)
    num_parts = _num_parts(num_blocks, _CACHED_SUMS_BYTES // (64 * channels * block))
    part_size = block * (num_blocks // num_parts)
    num_tiles = num_images * -(-height // 2) * -(-width // 2)
    num_groups = max(1, min(ffi_handler.MAX_TASKS // num_parts, num_tiles // _MIN_SUMMED_TILES, num_images))
    plan = make_plan(num_images, channels, (height, width), padding, num_groups, _CACHED_GRADIENT_BYTES)
    num_jobs = num_parts * num_groups
    shapes = [
        (num_groups, 3, 3, channels, features),
        (num_jobs, 4, 4, channels, part_size),
        (num_jobs, winograd.scratch_size(plan, part_size)),
    ]
    [sums, _, _] = call_kernel(
        winograd.make_weight_gradient(plan),
        [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes],
        [jnp.zeros((num_jobs, 1))],
        [images, gradients],
        min_images_per_task=1,
    )
    return _sum_first(sums)


def _sum_first(sums: Array) -> Array:
    """Sum over the first axis, of tasks; XLA would compute it anew for each number that it is used for."""
    if len(sums) == 1:
        return sums[0]
    num_parts = next(number for number in (16, 9, 8, 4, 3, 2, 1) if sums.shape[1] % number == 0)
    parts = sums.reshape(len(sums), num_parts, -1)
    result = jax.ShapeDtypeStruct(parts.shape[1:], jnp.float32)
    [total] = call_kernel(
        column_sums.task_sums, [result], [jnp.zeros((num_parts, 1))], [parts], min_images_per_task=1
    )
    return total.reshape(sums.shape[1:])


def _call_forward(images: Images, kernel: Kernel, window: Window) -> Array:
    *sides, channels, features = kernel.shape
    block = direct_convolution.block_features(features // window.groups)
    by_group = kernel.reshape(*sides, channels, window.groups, -1)
    padded = _pad_features(by_group, block).reshape(*sides, channels, -1, block)
    outputs = _outputs_of(images, kernel, window)
    bands = direct_convolution.make_bands(window, (sides[0], sides[1]), images.shape, outputs.shape, block)
    num_tasks = ffi_handler.num_tasks(len(images), 1)
    results, _ = call_kernel(
        direct_convolution.make_forward(window),
        [outputs, _scratch(window.is_padded, num_tasks, math.prod(bands.pixels_shape))],
        [images],
        [padded.transpose(3, 0, 1, 2, 4)],
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
