"""Kernels of depthwise convolutions without padding: the outputs, and the gradient of the weights.

Each channel has a kernel of its own, so vectors run over channels. Images are float32 as batch, height, width, channel.
"""

import functools
import math
from collections.abc import Iterator, Sequence

from llvmlite import ir

from medjax.models.cpu_kernels.direct_convolution import Window
from medjax.models.cpu_kernels.emitter import (
    FLOAT,
    Buffer,
    Emitter,
    Index,
    constant,
    register_lanes,
    vector_lanes,
)
from medjax.models.cpu_kernels.ffi_call import Kernel

# Sums and weights that fit the 32 vector registers of AVX-512 and the 16 of AVX2.
_MAX_REGISTERS = {16: 26, 8: 14}
# A fused multiply-add takes as long as 8 can be started.
_MIN_SUMS = 8


@functools.cache
def make_forward(window: Window) -> Kernel:
    """The kernel `images, weights -> outputs`; weights are kernel height, kernel width, channel."""

    def forward(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        _, weights, outputs = buffers
        kernel_height, kernel_width, channels = weights.shape
        _, height, width, _ = outputs.shape
        lanes = vector_lanes(channels)
        columns = min(width, max(1, _MAX_REGISTERS[register_lanes()] - kernel_width))
        with (
            emit.for_range(first, stop) as image,
            emit.for_range(0, height) as row,
            emit.for_range(0, -(-width // columns)) as tile,
            emit.for_range(0, channels // lanes) as vector,
        ):
            # The last tile starts where it still fits, and computes some outputs a second time.
            left = emit.minimum(emit.sum((tile, columns)), width - columns)
            channel = emit.sum((vector, lanes))
            sums = [emit.variable(constant(FLOAT, 0.0, lanes)) for _ in range(columns)]
            with emit.for_range(0, kernel_height) as y:
                factors = [emit.load(weights, y, x, channel, lanes=lanes) for x in range(kernel_width)]
                position = (image, row, left, y, channel)
                for column, x, pixel in _pixels(
                    emit, buffers[0], window, position, columns, kernel_width, lanes
                ):
                    emit.write(emit.add_product(emit.read(sums[column]), pixel, factors[x]), sums[column])
            for column, total in enumerate(sums):
                emit.store(emit.read(total), outputs, image, row, emit.sum(left, column), channel)

    forward.__name__ = f"depthwise_{window}"
    return forward


@functools.cache
def make_weight_gradient(window: Window) -> Kernel:
    """The kernel `images, gradients of the outputs -> gradients of the weights`, one for each task."""

    def weight_gradient(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        _, _, sums = buffers
        _, kernel_height, _, channels = sums.shape
        lanes = vector_lanes(channels)
        with emit.for_range(0, math.prod(sums.shape[1:]) // lanes) as vector:
            emit.store(constant(FLOAT, 0.0, lanes), sums, task, 0, 0, emit.sum((vector, lanes)))
        with (
            emit.for_range(first, stop) as image,
            emit.for_range(0, channels // lanes) as vector,
            emit.for_range(0, kernel_height) as y,
        ):
            _add_image(emit, buffers, window, (task, image, y, emit.sum((vector, lanes))), lanes)

    weight_gradient.__name__ = f"depthwise_gradient_{window}"
    return weight_gradient


def _add_image(
    emit: Emitter,
    buffers: Sequence[Buffer],
    window: Window,
    position: tuple[ir.Value, ir.Value, ir.Value, ir.Value],
    lanes: int,
) -> None:
    """Add the products of one image to one row of the weights."""
    images, gradients, sums = buffers
    task, image, y, channel = position
    _, height, width, _ = gradients.shape
    kernel_width = sums.shape[2]
    columns = min(width, max(1, _MAX_REGISTERS[register_lanes()] - kernel_width) // 2)
    num_sets = -(-_MIN_SUMS // kernel_width)
    totals = [
        [emit.variable(constant(FLOAT, 0.0, lanes)) for _ in range(num_sets)] for _ in range(kernel_width)
    ]

    def add_tile(row: Index, left: Index, columns: int) -> None:
        factors = [
            emit.load(gradients, image, row, emit.sum(left, column), channel, lanes=lanes)
            for column in range(columns)
        ]
        position = (image, row, left, y, channel)
        for column, x, pixel in _pixels(emit, images, window, position, columns, kernel_width, lanes):
            total = totals[x][column % num_sets]
            emit.write(emit.add_product(emit.read(total), pixel, factors[column]), total)

    with emit.for_range(0, height) as row:
        with emit.for_range(0, width // columns) as tile:
            add_tile(row, emit.sum((tile, columns)), columns)
        if rest := width % columns:
            add_tile(row, width - rest, rest)
    for x, tap_totals in enumerate(totals):
        total = emit.load(sums, task, y, x, channel, lanes=lanes)
        for each in tap_totals:
            total = emit.builder.fadd(total, emit.read(each))
        emit.store(total, sums, task, y, x, channel)


def _pixels(
    emit: Emitter,
    images: Buffer,
    window: Window,
    position: tuple[Index, ...],
    columns: int,
    kernel_width: int,
    lanes: int,
) -> Iterator[tuple[int, int, ir.Value]]:
    """Load each pixel of a row once; with it, each output column and tap that it belongs to."""
    image, row, left, y, channel = position
    image_row = emit.sum((row, window.strides[0]), (y, window.dilation[0]))
    image_left = emit.sum((left, window.strides[1]))
    pairs: dict[int, list[tuple[int, int]]] = {}
    for column in range(columns):
        for x in range(kernel_width):
            offset = column * window.strides[1] + x * window.dilation[1]
            pairs.setdefault(offset, []).append((column, x))
    for offset in sorted(pairs):
        pixel = emit.load(images, image, image_row, emit.sum(image_left, offset), channel, lanes=lanes)
        for column, x in pairs[offset]:
            yield column, x, pixel
