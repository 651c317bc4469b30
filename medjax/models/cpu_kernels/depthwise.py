"""Kernels of depthwise convolutions: the outputs, and the gradient of the weights.

Each channel has a kernel of its own, so vectors run over channels. Images are float32 as batch, height, width, channel.
"""

import functools
import math
from collections.abc import Iterator, Sequence

from llvmlite import ir

from medjax.models.cpu_kernels.borders import copy_rows
from medjax.models.cpu_kernels.direct_convolution import Bands, for_bands
from medjax.models.cpu_kernels.emitter import (
    FLOAT,
    Buffer,
    Emitter,
    Index,
    constant,
    register_lanes,
    vector_lanes,
)
from medjax.models.cpu_kernels.epilogues import Epilogue, Operands, split_operands
from medjax.models.cpu_kernels.ffi_call import Kernel
from medjax.models.cpu_kernels.register_tiles import Window

# Sums and weights that fit the 32 vector registers of AVX-512 and the 16 of AVX2.
_MAX_REGISTERS = {16: 26, 8: 14}
# Padded rows of an image: a part of a core's second cache.
_CACHED_ROWS_BYTES = 2**17
# A fused multiply-add takes as long as 8 can be started.
_MIN_SUMS = 8


@functools.cache
def make_forward(window: Window, epilogue: Epilogue) -> Kernel:
    """The kernel `images, arrays, weights, rows -> outputs, scratch`; arrays and rows are what the epilogue reads.

    Weights are kernel height, kernel width, channel. Scratch is the memory for a task's padded rows, see `make_bands`.
    """

    def forward(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        images, *others, outputs, scratch = buffers
        arrays, weights, rows = split_operands(epilogue, others)
        bands = make_bands(window, weights.shape[:2], images.shape, outputs.shape)
        with (
            emit.for_range(first, stop) as image,
            for_bands(emit, window, bands, (images, [outputs, *arrays], scratch), (image, task)) as (
                pixels,
                (band, *parts),
            ),
            emit.for_range(0, bands.rows) as row,
        ):
            for value, place in _compute_row(emit, (pixels, weights), window, (row, band.shape[1])):
                value = Operands(parts, rows).finish(emit, epilogue, value, place)
                emit.store(value, band, *place)

    forward.__name__ = f"depthwise_{window}{epilogue}"
    return forward


def _compute_row(
    emit: Emitter, arrays: tuple[Buffer, Buffer], window: Window, place: tuple[ir.Value, int]
) -> Iterator[tuple[ir.Value, tuple[ir.Value, ...]]]:
    """Vectors of a row of so many outputs, each with its place among them, given rows of an image."""
    pixels, weights = arrays
    row, width = place
    kernel_height, kernel_width, channels = weights.shape
    lanes = vector_lanes(channels)
    columns = min(width, max(1, _MAX_REGISTERS[register_lanes()] - kernel_width))
    with (
        emit.for_range(0, -(-width // columns)) as tile,
        emit.for_range(0, channels // lanes) as vector,
    ):
        # The last tile starts where it still fits, and computes some outputs a second time.
        left = emit.minimum(emit.sum((tile, columns)), width - columns)
        channel = emit.sum((vector, lanes))
        sums = [emit.variable(constant(FLOAT, 0.0, lanes)) for _ in range(columns)]
        with emit.for_range(0, kernel_height) as y:
            factors = [emit.load(weights, y, x, channel, lanes=lanes) for x in range(kernel_width)]
            position = (row, left, y, channel)
            for column, x, pixel in _pixels(emit, pixels, window, position, columns, kernel_width, lanes):
                emit.write(emit.add_product(emit.read(sums[column]), pixel, factors[x]), sums[column])
        for column, total in enumerate(sums):
            yield emit.read(total), (row, emit.sum(left, column), channel)


def make_bands(
    window: Window, kernel_sides: tuple[int, ...], images: tuple[int, ...], outputs: tuple[int, ...]
) -> Bands:
    """Bands of rows whose padded pixels stay in a core's cache; of images without padding, one band."""
    _, _, width, channels = images
    height, columns = outputs[1], window.padded_width(width)
    num_rows = _CACHED_ROWS_BYTES // (4 * columns * channels * window.strides[0])
    num_bands = -(-height // max(1, num_rows)) if window.is_padded else 1
    rows = -(-height // num_bands)
    return Bands(rows, (1, 1), (window.num_rows(rows, kernel_sides[0]), columns, channels))


@functools.cache
def make_weight_gradient(window: Window) -> Kernel:
    """The kernel `images, gradients of the outputs -> gradients of the weights, scratch`, of each task.

    Scratch is the memory for a padded image.
    """

    def weight_gradient(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        images, gradients, sums, scratch = buffers
        _, kernel_height, _, channels = sums.shape
        lanes = vector_lanes(channels)
        with emit.for_range(0, math.prod(sums.shape[1:]) // lanes) as vector:
            emit.store(constant(FLOAT, 0.0, lanes), sums, task, 0, 0, emit.sum((vector, lanes)))
        with emit.for_range(first, stop) as image:
            pixels = emit.part(images, image, 0)
            if window.is_padded:
                shape = padded_shape(window, kernel_height, images.shape, gradients.shape)
                pixels = emit.part(scratch, task, shape=shape)
                copy_rows(emit, images, image, 0, window.padding, pixels)
            arrays = pixels, emit.part(gradients, image, 0), emit.part(sums, task, 0)
            with (
                emit.for_range(0, channels // lanes) as vector,
                emit.for_range(0, kernel_height) as y,
            ):
                _add_image(emit, arrays, window, (y, emit.sum((vector, lanes))), lanes)

    weight_gradient.__name__ = f"depthwise_gradient_{window}"
    return weight_gradient


def padded_shape(
    window: Window, kernel_height: int, images: tuple[int, ...], gradients: tuple[int, ...]
) -> tuple[int, int, int]:
    """Of an image with zeros around it, as the gradient of the weights needs it."""
    _, _, width, channels = images
    return window.num_rows(gradients[1], kernel_height), window.padded_width(width), channels


def _add_image(
    emit: Emitter,
    arrays: tuple[Buffer, Buffer, Buffer],
    window: Window,
    position: tuple[ir.Value, ir.Value],
    lanes: int,
) -> None:
    """Add the products of one image to one row of the weights."""
    pixels, gradients, sums = arrays
    y, channel = position
    height, width, _ = gradients.shape
    kernel_width = sums.shape[1]
    columns = min(width, max(1, _MAX_REGISTERS[register_lanes()] - kernel_width) // 2)
    num_sets = -(-_MIN_SUMS // kernel_width)
    totals = [
        [emit.variable(constant(FLOAT, 0.0, lanes)) for _ in range(num_sets)] for _ in range(kernel_width)
    ]

    def add_tile(row: Index, left: Index, columns: int) -> None:
        factors = [
            emit.load(gradients, row, emit.sum(left, column), channel, lanes=lanes)
            for column in range(columns)
        ]
        position = (row, left, y, channel)
        for column, x, pixel in _pixels(emit, pixels, window, position, columns, kernel_width, lanes):
            total = totals[x][column % num_sets]
            emit.write(emit.add_product(emit.read(total), pixel, factors[column]), total)

    with emit.for_range(0, height) as row:
        with emit.for_range(0, width // columns) as tile:
            add_tile(row, emit.sum((tile, columns)), columns)
        if rest := width % columns:
            add_tile(row, width - rest, rest)
    for x, tap_totals in enumerate(totals):
        total = emit.load(sums, y, x, channel, lanes=lanes)
        for each in tap_totals:
            total = emit.builder.fadd(total, emit.read(each))
        emit.store(total, sums, y, x, channel)


def _pixels(
    emit: Emitter,
    rows: Buffer,
    window: Window,
    position: tuple[Index, ...],
    columns: int,
    kernel_width: int,
    lanes: int,
) -> Iterator[tuple[int, int, ir.Value]]:
    """Load each pixel of a row once; with it, each output column and tap that it belongs to."""
    row, left, y, channel = position
    image_row = emit.sum((row, window.strides[0]), (y, window.dilation[0]))
    image_left = emit.sum((left, window.strides[1]))
    pairs: dict[int, list[tuple[int, int]]] = {}
    for column in range(columns):
        for x in range(kernel_width):
            offset = column * window.strides[1] + x * window.dilation[1]
            pairs.setdefault(offset, []).append((column, x))
    for offset in sorted(pairs):
        pixel = emit.load(rows, image_row, emit.sum(image_left, offset), channel, lanes=lanes)
        for column, x in pairs[offset]:
            yield column, x, pixel
