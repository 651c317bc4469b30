"""Kernels of pooling: the maxima or sums of windows, and what their gradients need. Vectors run over channels.

Images are float32 as batch, height, width, channel.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Literal

from llvmlite import ir

from medjax.models.cpu_kernels.borders import Padding, copy_rows, pieces
from medjax.models.cpu_kernels.emitter import FLOAT, Buffer, Emitter, constant, vector_lanes
from medjax.models.cpu_kernels.ffi_call import Kernel

Pair = tuple[int, int]

# Of a window's columns so many are combined without a loop, which would take as long as they do.
_MAX_ALONG = 8


@functools.cache
def make_pooling(kind: Literal["max", "sum"], sides: Pair, strides: Pair, padding: Padding) -> Kernel:
    """The kernel `images -> outputs, scratch`: the maximum or the sum of each window; a NaN stays one.

    Scratch is the memory for a task's padded image, see `padded_shape`.
    """
    border = -math.inf if kind == "max" else 0.0

    def pooling(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        images, outputs, scratch = buffers
        _, height, width, channels = outputs.shape
        # Of windows that lie side by side, the numbers at one place do so too: a row is one run of numbers.
        num_runs, length = (1, width * channels) if strides[1] == 1 else (width, channels)
        along = next(number for number in range(_MAX_ALONG, 0, -1) if sides[1] % number == 0)
        with emit.for_range(first, stop) as image:
            pixels = emit.part(images, image, 0)
            if is_padded(padding):
                pixels = emit.part(scratch, task, shape=padded_shape(images.shape, padding))
                copy_rows(emit, images, image, 0, padding, pixels, border)
            with (
                emit.for_range(0, height) as row,
                emit.for_range(0, num_runs) as column,
                pieces(emit, length) as (number, lanes),
            ):
                total = emit.variable(constant(FLOAT, border, lanes))
                with emit.for_range(0, sides[0]) as y, emit.for_range(0, sides[1] // along) as group:
                    for x in range(along):
                        right = emit.sum((column, strides[1]), (group, along), x)
                        value = emit.load(pixels, emit.sum((row, strides[0]), y), right, number, lanes=lanes)
                        emit.write(combine(emit.builder, emit.read(total), value), total)
                emit.store(emit.read(total), outputs, image, row, column, number)

    def combine(builder: ir.IRBuilder, best: ir.Value, value: ir.Value) -> ir.Value:
        if kind == "sum":
            return builder.fadd(best, value)
        # Of two numbers of which one is a NaN, this is `best`. So that a NaN is asked of `value` alone, and nobody waits for it.
        larger = builder.select(builder.fcmp_ordered(">", value, best), value, best)
        return builder.select(builder.fcmp_unordered("uno", value, value), value, larger)

    numbers = (*sides, *strides, *itertools.chain(*padding))
    pooling.__name__ = f"{kind}_pooling_" + "_".join(str(number).replace("-", "m") for number in numbers)
    return pooling


def is_padded(padding: Padding) -> bool:
    """Whether windows reach over the edge of an image, or do not reach all of it."""
    return padding != ((0, 0), (0, 0))


def padded_shape(images: tuple[int, ...], padding: Padding) -> tuple[int, int, int]:
    """Of an image with a border."""
    _, height, width, channels = images
    return height + sum(padding[0]), width + sum(padding[1]), channels


@functools.cache
def make_spreading(spacing: Pair, first_pixel: Pair) -> Kernel:
    """The kernel `images, filling -> outputs`: pixels `spacing` apart, the first at `first_pixel`, amid a number.

    Pixels that would lie outside of the outputs are left out.
    """

    def spreading(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        images, filling, outputs = buffers
        channels = images.shape[-1]
        lanes = vector_lanes(channels)
        # Which rows and columns of the images lie inside of the outputs.
        ranges = [
            (max(0, -(start // step)), min(side, -((start - target) // step)))
            for side, target, step, start in zip(
                images.shape[1:3], outputs.shape[1:3], spacing, first_pixel, strict=True
            )
        ]
        flat = Buffer(outputs.pointer, (0, math.prod(outputs.shape[1:])), FLOAT)
        value = emit.broadcast(emit.load(filling), lanes)
        with emit.for_range(first, stop) as image:
            with emit.for_range(0, flat.shape[1] // lanes) as vector:
                emit.store(value, flat, image, emit.sum((vector, lanes)))
            with (
                emit.for_range(*ranges[0]) as row,
                emit.for_range(*ranges[1]) as column,
                emit.for_range(0, channels // lanes) as vector,
            ):
                channel = emit.sum((vector, lanes))
                pixel = emit.load(images, image, row, column, channel, lanes=lanes)
                at = (
                    emit.sum((row, spacing[0]), first_pixel[0]),
                    emit.sum((column, spacing[1]), first_pixel[1]),
                )
                emit.store(pixel, outputs, image, *at, channel)

    numbers = (*spacing, *first_pixel)
    spreading.__name__ = "spreading_" + "_".join(str(number).replace("-", "m") for number in numbers)
    return spreading


@functools.cache
def make_max_gradient(sides: Pair, strides: Pair) -> Kernel:
    """The kernel `images, gradients of the maxima -> gradients of the images`, of images padded with -inf.

    The gradient of a window goes to the first of its equal maxima; a window with a NaN passes its gradient nowhere.
    """

    def max_gradient(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        images, gradients, results = buffers
        _, height, width, channels = gradients.shape
        lanes, builder = vector_lanes(channels), emit.builder
        zero = constant(FLOAT, 0.0, lanes)
        with (
            emit.for_range(first, stop) as image,
            emit.for_range(0, results.shape[1]) as row,
            emit.for_range(0, results.shape[2] * channels // lanes) as vector,
        ):
            emit.store(zero, results, image, row, 0, emit.sum((vector, lanes)))
        with (
            emit.for_range(first, stop) as image,
            emit.for_range(0, height) as row,
            emit.for_range(0, width) as column,
            emit.for_range(0, channels // lanes) as vector,
        ):
            channel = emit.sum((vector, lanes))
            places = [
                (image, emit.sum((row, strides[0]), y), emit.sum((column, strides[1]), x), channel)
                for y, x in itertools.product(*map(range, sides))
            ]
            values = [emit.load(images, *place, lanes=lanes) for place in places]
            best = values[0]
            for value in values[1:]:
                best = builder.select(builder.fcmp_ordered(">=", best, value), best, value)
            gradient = emit.load(gradients, image, row, column, channel, lanes=lanes)
            for place, value in zip(places, values, strict=True):
                is_best = builder.fcmp_ordered("==", value, best)
                added = builder.select(is_best, gradient, zero)
                gradient = builder.select(is_best, zero, gradient)  # only the first of equal ones gets it
                before = emit.load(results, *place, lanes=lanes)
                emit.store(builder.fadd(before, added), results, *place)

    max_gradient.__name__ = f"max_gradient_{'_'.join(map(str, (*sides, *strides)))}"
    return max_gradient
