"""Kernels of max-pooling: the outputs, and the gradient of the images. Vectors run over channels.

Images are float32 as batch, height, width, channel, filled up with -inf where windows reach over the edge.
"""

import functools
import itertools
from collections.abc import Sequence

from llvmlite import ir

from medjax.models.cpu_kernels.emitter import FLOAT, Buffer, Emitter, constant, vector_lanes
from medjax.models.cpu_kernels.ffi_call import Kernel

Pair = tuple[int, int]


@functools.cache
def make_max_gradient(sides: Pair, strides: Pair) -> Kernel:
    """The kernel `images, gradients of the maxima -> gradients of the images`.

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
