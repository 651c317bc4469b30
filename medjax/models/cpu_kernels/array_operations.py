"""Operations on arrays other than convolutions, by the kernels of this folder."""

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from medjax.models.cpu_kernels import column_sums, ffi_handler, pooling, random_bits, slices
from medjax.models.cpu_kernels.calls import Gradients, Images, Pair, make_scratch, sum_first
from medjax.models.cpu_kernels.expressions import Term
from medjax.models.cpu_kernels.ffi_call import call_kernel


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
        make_scratch(pooling.is_padded(padding), num_tasks, math.prod(shape)),
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
    kernel = column_sums.make_column_sums(term, len(arrays), of_each_image=False)
    [sums] = call_kernel(kernel, results, flat, [row.reshape(-1) for row in rows])
    return sum_first(sums)


def sum_positions(term: Term, arrays: Sequence[Array], rows: Sequence[Array], num_axes: int) -> Array:
    """The sum, over so many axes before the last, of what a term computes as in `sum_columns`; other axes remain."""
    *sides, channels = arrays[0].shape
    before = sides[: len(sides) - num_axes]
    flat = [array.reshape(math.prod(before), -1, channels) for array in arrays]
    results = [jax.ShapeDtypeStruct((len(flat[0]), channels), jnp.float32)]
    kernel = column_sums.make_column_sums(term, len(arrays), of_each_image=True)
    [sums] = call_kernel(kernel, results, flat, [row.reshape(-1) for row in rows])
    return sums.reshape(*before, channels)


def random_words(keys: Sequence[Array], counts: Sequence[Array]) -> list[Array]:
    """Threefry-2x32 of a pair of counts by a key, a pair of words; uint32 arrays of shapes that broadcast."""
    shape = jnp.broadcast_shapes(*(array.shape for array in (*keys, *counts)))
    flat_shape = (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))
    has_one_key = all(key.size == 1 for key in keys)

    def flatten(array: Array) -> Array:
        return lax.bitcast_convert_type(jnp.broadcast_to(array, shape).reshape(flat_shape), jnp.float32)

    arrays = [flatten(each) for each in counts]
    results = [jax.ShapeDtypeStruct(flat_shape, jnp.float32)] * 2
    if has_one_key:
        key = [lax.bitcast_convert_type(each.reshape(1), jnp.float32) for each in keys]
        found = call_kernel(random_bits.make_threefry("one"), results, arrays, key)
    else:
        arrays += [flatten(each) for each in keys]
        found = call_kernel(random_bits.make_threefry("many"), results, arrays)
    return [lax.bitcast_convert_type(each, jnp.uint32).reshape(shape) for each in found]


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


def pad(images: Images, padding: tuple[Pair, Pair], value: float = 0.0) -> Array:
    """Images with so many rows and columns of `value` around them; fewer than 0 cut some off."""
    if padding == ((0, 0), (0, 0)):
        return images
    return lax.pad(images, jnp.float32(value), [(0, 0, 0), *((*pair, 0) for pair in padding), (0, 0, 0)])
