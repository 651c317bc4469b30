"""Finds the function that computes an operation of a program by kernels, given the shapes and settings of that operation.

Kernels are imported where they are called: where none are used, llvmlite may be missing.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax._src.lax.windowed_reductions import (
    reduce_window_max_p,
    reduce_window_sum_p,
    select_and_scatter_add_p,
)

Function = Callable[..., Any]
Pair = tuple[int, int]

# Smaller arrays are not worth a call.
MIN_SIZE = 2**15
# The same of arrays that are summed to one number, which XLA:CPU does by 1,024 numbers at a time.
_MIN_SUM_SIZE = 2**12
# Smaller products of matrices XLA:CPU computes as fast; of fewer columns they fill no vector register.
MIN_PRODUCTS, MIN_COLUMNS = 2**18, 16


def find_convolution(avals: Sequence[Any], parameters: dict[str, Any]) -> Function | None:
    """The function that computes a convolution by kernels; None where there is none."""
    from medjax.models.cpu_kernels import convolution, weight_gradient
    from medjax.models.cpu_kernels.register_tiles import Window

    left, right = avals
    if left.ndim != 4:
        return None
    numbers = parameters["dimension_numbers"]
    batch, feature, *left_sides = numbers.lhs_spec
    out_feature, in_feature, *right_sides = numbers.rhs_spec
    strides, left_dilation, right_dilation = (
        _pair(parameters[name]) for name in ("window_strides", "lhs_dilation", "rhs_dilation")
    )
    padding = _pair([_pair(each) for each in parameters["padding"]])
    is_dilated = left_dilation != (1, 1)
    groups, batch_groups = parameters["feature_group_count"], parameters["batch_group_count"]
    num_outputs = right.shape[out_feature]
    is_depthwise = 1 < groups == left.shape[feature] == num_outputs
    is_depthwise_gradient = 1 < batch_groups == left.shape[batch] == num_outputs
    if is_dilated and (strides, right_dilation) != ((1, 1), (1, 1)):
        return None
    taps = _pair([right.shape[axis] for axis in right_sides])
    sides = _pair(
        [
            ((left.shape[axis] - 1) * dilation + sum(pair) - (tap - 1) * spread) // stride + 1
            for axis, dilation, pair, tap, spread, stride in zip(
                left_sides, left_dilation, padding, taps, right_dilation, strides, strict=True
            )
        ]
    )

    def outputs(left: jax.Array, right: jax.Array) -> jax.Array:
        images = left.transpose(batch, *left_sides, feature)
        kernel = right.transpose(*right_sides, in_feature, out_feature)
        settings = convolution.Convolution(strides, padding, left_dilation, right_dilation, groups)
        if is_depthwise:
            found = convolution.convolve_depthwise(images, kernel[:, :, 0], settings)
        else:
            found = convolution.convolve(images, kernel, settings)
        return _to_layout(found, numbers.out_spec, (0, 3, 1, 2))

    def gradient(left: jax.Array, right: jax.Array) -> jax.Array:
        images = left.transpose(feature, *left_sides, batch)
        gradients = right.transpose(in_feature, *right_sides, out_feature)
        window = Window(right_dilation, strides, padding, batch_groups)
        if is_depthwise_gradient:
            weights = weight_gradient.depthwise_weight_gradient(images, gradients, sides, window)[:, :, None]
        else:
            weights = weight_gradient.weight_gradient(images, gradients, sides, window)
        return _to_layout(weights, numbers.out_spec, (2, 3, 0, 1))

    # Of two ways to compute the same numbers, the one with long loops inside.
    has_few_outputs = not is_dilated and groups == 1 and taps[0] * taps[1] > sides[0] * sides[1]
    return gradient if batch_groups > 1 or has_few_outputs else outputs


def find_pooling(
    kind: Literal["max", "sum"], avals: Sequence[Any], parameters: dict[str, Any]
) -> Function | None:
    """The function that computes the maxima or sums of windows by a kernel; None where there is none."""
    from medjax.models.cpu_kernels.array_operations import pool

    window = _find_window(parameters)
    dilations = {*parameters["base_dilation"], *parameters["window_dilation"]}
    if window is None or dilations != {1}:
        return None
    order, sides, strides, padding = window

    def pooled(images: jax.Array) -> jax.Array:
        found = pool(kind, images.transpose(order), sides, strides, padding)
        return found.transpose(_inverse(order))

    return pooled


def find_max_pool_gradient(avals: Sequence[Any], parameters: dict[str, Any]) -> Function | None:
    """The function that computes the gradient of max-pooling by a kernel; None where there is none."""
    from medjax.models.cpu_kernels.array_operations import max_pool_gradient

    window = _find_window(parameters)
    if window is None or parameters["select_prim"] is not lax.ge_p:
        return None
    order, sides, strides, padding = window

    def gradient(gradients: jax.Array, images: jax.Array) -> jax.Array:
        arrays = images.transpose(order), gradients.transpose(order)
        return max_pool_gradient(*arrays, sides, strides, padding).transpose(_inverse(order))

    return gradient


def find_spreading(avals: Sequence[Any], parameters: dict[str, Any]) -> Function | None:
    """The function that puts zeros between pixels by a kernel, as gradients of pooling do; None for other padding."""
    from medjax.models.cpu_kernels.array_operations import spread

    images = avals[0]
    config = [tuple(map(int, each)) for each in parameters["padding_config"]]
    order = _find_order(config, (0, 0, 0))
    if order is None or all(interior == 0 for *_, interior in config):
        return None
    down, right = (config[axis] for axis in order[1:3])
    sides = _pair(
        [(images.shape[axis] - 1) * (config[axis][2] + 1) + 1 + sum(config[axis][:2]) for axis in order[1:3]]
    )
    spacing, first_pixel = (down[2] + 1, right[2] + 1), (down[0], right[0])

    def spreaded(images: jax.Array, filling: jax.Array) -> jax.Array:
        found = spread(images.transpose(order), filling, sides, spacing, first_pixel)
        return found.transpose(_inverse(order))

    return spreaded


def find_matrix_product(avals: Sequence[Any], parameters: dict[str, Any]) -> Function | None:
    """The function that computes a dense layer or its gradients by a kernel; None for other products."""
    from medjax.models.cpu_kernels.matrix_products import (
        MAX_LEFT_ROWS,
        multiply,
        multiply_columns,
        multiply_rows,
    )

    left, right = avals
    (left_axes, right_axes), batch_axes = parameters["dimension_numbers"]
    if any(batch_axes) or min(left.ndim, right.ndim) < 2 or 0 in (*left.shape, *right.shape):
        return None
    if left_axes == (left.ndim - 1,) and right_axes == (1,) and right.ndim == 2:

        def of_rows(left: jax.Array, right: jax.Array) -> jax.Array:
            products = multiply_rows(left.reshape(-1, left.shape[-1]), right)
            return products.reshape(*left.shape[:-1], len(right))

        return of_rows
    is_dense = left_axes == (left.ndim - 1,) and right_axes == (0,) and right.ndim == 2
    num_rows = math.prod(left.shape[:-1])
    is_worth_it = num_rows * right.size >= MIN_PRODUCTS and right.shape[-1] >= MIN_COLUMNS
    if is_dense and is_worth_it and num_rows <= MAX_LEFT_ROWS:

        def plain(left: jax.Array, right: jax.Array) -> jax.Array:
            products = multiply(left.reshape(num_rows, left.shape[-1]), right)
            return products.reshape(*left.shape[:-1], right.shape[1])

        return plain
    leading = tuple(range(left.ndim - 1))
    if left.ndim == right.ndim and left_axes == right_axes == leading:

        def of_columns(left: jax.Array, right: jax.Array) -> jax.Array:
            # JAX asks for the transposed gradient of a weight matrix, and transposes it: two transposes cancel.
            flat = (array.reshape(-1, array.shape[-1]) for array in (right, left))
            return multiply_columns(*flat).T

        return of_columns
    return None


def find_sum(array: Any, axes: Sequence[int]) -> Function | None:
    """The function that sums over axes what a term computes from arrays and rows; None for axes that no kernel sums over.

    These are adjacent ones before the last axis, or before a group's channels, and with them the last. `array` is of the sum.
    """
    last = array.ndim - 1
    before = [axis for axis in sorted(axes) if axis < last]
    is_of_channels = last in axes
    is_of_groups = is_of_channels and before[-1:] == [last - 2]
    min_size = _MIN_SUM_SIZE if len(axes) == array.ndim else MIN_SIZE
    if not before or array.size < min_size or before != list(range(before[0], last - is_of_groups)):
        return None

    def summed(term: Any, arrays: Sequence[jax.Array], rows: Sequence[jax.Array]) -> jax.Array:
        from medjax.models.cpu_kernels.array_operations import sum_columns, sum_positions

        if is_of_groups:
            arrays = [each.reshape(*each.shape[:-2], -1) for each in arrays]
            rows = [jnp.tile(row.reshape(-1), array.shape[-2]) for row in rows]
        if before[0] == 0:
            sums = sum_columns(term, arrays, rows)
        else:
            sums = sum_positions(term, arrays, rows, len(before))
        if is_of_groups:
            sums = sums.reshape(*sums.shape[:-1], *array.shape[-2:])
        return sums.sum(-1) if is_of_channels else sums

    return summed


def find_slice(avals: Sequence[Any], parameters: dict[str, Any]) -> Function | None:
    """The function that takes some features of large arrays by a kernel; None for other slices."""
    from medjax.models.cpu_kernels.array_operations import slice_axis

    [array] = avals
    limits = list(zip(parameters["start_indices"], parameters["limit_indices"], strict=True))
    cut = [axis for axis, limit in enumerate(limits) if limit != (0, array.shape[axis])]
    is_plain = set(parameters["strides"] or [1]) == {1} and len(cut) == 1 and cut[0] > 0
    if not is_plain or array.ndim != 4 or array.size < MIN_SIZE:
        return None
    return lambda array: slice_axis(array, cut[0], *limits[cut[0]])


def find_split(avals: Sequence[Any], parameters: dict[str, Any]) -> Function | None:
    """The function that takes a large array apart along an axis by a kernel, as the gradient of a concatenation."""
    from medjax.models.cpu_kernels.array_operations import split_axis

    [array] = avals
    if parameters["axis"] == 0 or array.ndim != 4 or array.size < MIN_SIZE:
        return None
    return lambda array: split_axis(array, parameters["axis"], parameters["sizes"])


FINDERS: dict[Any, Function] = {
    lax.dot_general_p: find_matrix_product,
    lax.conv_general_dilated_p: find_convolution,
    reduce_window_max_p: functools.partial(find_pooling, "max"),
    reduce_window_sum_p: functools.partial(find_pooling, "sum"),
    select_and_scatter_add_p: find_max_pool_gradient,
    lax.pad_p: find_spreading,
    lax.slice_p: find_slice,
    lax.split_p: find_split,
}


def _find_window(
    parameters: dict[str, Any],
) -> tuple[tuple[int, ...], Pair, Pair, tuple[Pair, Pair]] | None:
    """The order of axes that makes images NHWC, then sides, strides and padding of the windows; None for other windows."""
    names = ("window_dimensions", "window_strides", "padding")
    settings = list(zip(*(parameters[name] for name in names), strict=True))
    order = _find_order(settings, (1, 1, (0, 0)))
    if order is None:
        return None
    sides, strides, padding = zip(settings[order[1]], settings[order[2]], strict=True)
    return order, sides, strides, padding


def _find_order(settings: Sequence[Any], neutral: Any) -> tuple[int, ...] | None:
    """The order of four axes that makes images NHWC, where two, which have the neutral setting, are batch and channel."""
    for order in ((0, 1, 2, 3), (0, 2, 3, 1)) if len(settings) == 4 else ():
        if settings[order[0]] == settings[order[3]] == neutral:
            return order
    return None


def _pair(values: Sequence[Any]) -> tuple[Any, Any]:
    first, second = (tuple(value) if isinstance(value, list) else value for value in values)
    return first, second


def _inverse(order: Sequence[int]) -> list[int]:
    return [order.index(axis) for axis in range(len(order))]


def _to_layout(array: jax.Array, spec: Sequence[int], axes: Sequence[int]) -> jax.Array:
    """Move the axes of batch, feature, height and width (`axes`) to where `spec` wants them."""
    order = [0] * 4
    for wanted, axis in zip(spec, axes, strict=True):
        order[wanted] = axis
    return array.transpose(order)
