"""Kernels of the gradients of convolution, max-pool, bias and ReLU. Buffers are as in `forward_kernels`.

Only the position of a window's maximum passes a gradient on, if any does, so loops over those positions do less than a
quarter of the multiplications of a convolution's gradient.
"""

import itertools
from collections.abc import Sequence

from llvmlite import ir

from medjax.models.cpu_kernels.emitter import (
    BYTE,
    FLOAT,
    INT,
    Buffer,
    Emitter,
    constant,
    register_lanes,
    vector_lanes,
)
from medjax.models.cpu_kernels.register_tiles import even_parts
from medjax.models.cpu_kernels.twins import NOWHERE, WINDOW

# Windows of an image that are processed together: their sparse gradients stay in a core's L1 cache.
_MAX_WINDOWS = 1024
# Vectors of sums that fit the 32 registers of AVX-512 and the 16 of others, with some to spare.
_MAX_SUMS = {16: 28, 8: 12}
# Features whose positions are compared at once: the bits of the answer fit a number.
_POWERS_OF_TWO = (64, 32, 16, 8, 4, 2, 1)


def kernel_gradient(
    emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
) -> None:
    """Images, positions, gradient -> gradients of the kernel, with features first, and of the bias, one per task."""
    images, positions, gradient, kernel_gradients, bias_gradients = buffers
    _, features, kernel_height, kernel_width, channels = kernel_gradients.shape
    sparse = SparseGradient(emit, positions, gradient, images)
    with emit.for_range(0, features) as feature:
        emit.store(FLOAT(0.0), bias_gradients, task, feature)
        with emit.for_range(0, kernel_height * kernel_width * channels) as index:
            emit.store(FLOAT(0.0), kernel_gradients, task, feature, 0, 0, index)
    with (
        emit.for_range(first, stop) as image,
        emit.for_range(0, sparse.num_bands) as band,
        emit.for_range(0, features) as feature,
    ):
        count = sparse.collect(image, band, feature)
        bias_sum = emit.variable(emit.load(bias_gradients, task, feature))
        with emit.for_range(0, count) as index:
            emit.write(emit.builder.fadd(emit.read(bias_sum), emit.load(sparse.values, index)), bias_sum)
        emit.store(emit.read(bias_sum), bias_gradients, task, feature)
        _add_pixels(emit, sparse, count, images, kernel_gradients, (task, feature))


def _add_pixels(
    emit: Emitter,
    sparse: "SparseGradient",
    count: ir.Value,
    images: Buffer,
    kernel_gradients: Buffer,
    of_feature: tuple[ir.Value, ir.Value],
) -> None:
    """Add to a feature's gradient of the kernel: pixels times gradients."""
    *_, kernel_height, kernel_width, channels = kernel_gradients.shape
    lanes, chunks = _chunk_kernel(kernel_height, kernel_width * channels)
    pixels = _flatten(images)
    for chunk in chunks:
        sums = [
            emit.variable(emit.load(kernel_gradients, *of_feature, y, 0, start, lanes=lanes))
            for y, start in chunk
        ]
        with emit.for_range(0, count) as index:
            value = emit.broadcast(emit.load(sparse.values, index), lanes)
            offset = emit.load(sparse.offsets, index)
            for total, (y, start) in zip(sums, chunk, strict=True):
                pixel = emit.load(
                    pixels, emit.sum(offset, y * images.shape[2] * channels + start), lanes=lanes
                )
                emit.write(emit.add_product(emit.read(total), value, pixel), total)
        for total, (y, start) in zip(sums, chunk, strict=True):
            emit.store(emit.read(total), kernel_gradients, *of_feature, y, 0, start)


def shallow_kernel_gradient(
    emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
) -> None:
    """The same for images of few channels, with features last: vectors run over features, positions become masks."""
    images, positions, gradient, kernel_gradients, bias_gradients = buffers
    _, kernel_height, kernel_width, channels, features = kernel_gradients.shape
    _, height, width, _ = gradient.shape
    lanes = vector_lanes(features)
    zero = constant(FLOAT, 0.0, lanes)
    taps = list(itertools.product(range(kernel_height), range(kernel_width)))
    builder = emit.builder
    with emit.for_range(0, features // lanes) as group, emit.for_range(0, channels) as channel:
        feature = emit.sum((group, lanes))
        sums = {tap: emit.variable(zero) for tap in taps}
        bias_sum = emit.variable(zero)
        with (
            emit.for_range(first, stop) as image,
            emit.for_range(0, height) as row,
            emit.for_range(0, width) as column,
        ):
            value = emit.load(gradient, image, row, column, feature, lanes=lanes)
            position = emit.load(positions, image, row, column, feature, lanes=lanes)
            masked = [
                builder.select(
                    builder.icmp_unsigned("==", position, constant(BYTE, number, lanes)), value, zero
                )
                for number in range(len(WINDOW))
            ]
            for masked_value in masked:
                emit.write(builder.fadd(emit.read(bias_sum), masked_value), bias_sum)
            for y, x in itertools.product(range(kernel_height + 1), range(kernel_width + 1)):
                pixel = emit.load(images, image, emit.sum((row, 2), y), emit.sum((column, 2), x), channel)
                pixel = emit.broadcast(pixel, lanes)
                for (down, right), masked_value in zip(WINDOW, masked, strict=True):
                    if total := sums.get((y - down, x - right)):
                        emit.write(emit.add_product(emit.read(total), pixel, masked_value), total)
        for (y, x), total in sums.items():
            emit.store(emit.read(total), kernel_gradients, task, y, x, channel, feature)
        emit.store(emit.read(bias_sum), bias_gradients, task, feature)


def image_gradient(
    emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
) -> None:
    """Positions, gradient, kernel with features first -> gradient of the images."""
    positions, _, kernel, image_gradients = buffers
    _, kernel_height, kernel_width, channels = kernel.shape
    _, height, width, _ = image_gradients.shape
    _, rows, columns, _ = positions.shape
    lanes, chunks = _chunk_kernel(kernel_height, kernel_width * channels)
    with emit.for_range(first, stop) as image:
        with emit.for_range(0, height * width * channels) as index:
            emit.store(FLOAT(0.0), image_gradients, image, 0, 0, index)
        with emit.for_range(0, rows) as row, emit.for_range(0, columns) as column:
            for number, (down, right) in enumerate(WINDOW):
                pixel = image, emit.sum((row, 2), down), emit.sum((column, 2), right)
                for chunk in chunks:
                    _add_weights(emit, buffers, (image, row, column), number, pixel, chunk, lanes)


def _add_weights(
    emit: Emitter,
    buffers: Sequence[Buffer],
    window: tuple[ir.Value, ...],
    number: int,
    pixel: tuple[ir.Value, ...],
    chunk: Sequence[tuple[int, int]],
    lanes: int,
) -> None:
    """Add to the gradient of pixels: weights of the features whose maximum is at position `number`, times gradients.

    The sums stay in registers while the features go by, so that weights are read and nothing is written.
    """
    positions, gradient, kernel, image_gradients = buffers
    image, top, left = pixel
    places = [(image, emit.sum(top, y), left, start) for y, start in chunk]
    sums = [emit.variable(emit.load(image_gradients, *place, lanes=lanes)) for place in places]
    features = kernel.shape[0]
    compared = next(count for count in _POWERS_OF_TWO if features % count == 0)
    builder = emit.builder
    with emit.for_range(0, features // compared) as group:
        first = emit.sum((group, compared))
        at_number = builder.icmp_unsigned(
            "==",
            emit.load(positions, *window, first, lanes=compared),
            constant(BYTE, number, compared),
        )
        bits = builder.bitcast(at_number, ir.IntType(compared))
        left_over = emit.variable(bits if compared == 64 else builder.zext(bits, INT))
        with emit.for_range(0, builder.ctpop(emit.read(left_over))):
            these = emit.read(left_over)
            feature = builder.add(first, builder.cttz(these, ir.IntType(1)(1)))
            emit.write(builder.and_(these, builder.sub(these, INT(1))), left_over)
            value = emit.broadcast(emit.load(gradient, *window, feature), lanes)
            for total, (y, start) in zip(sums, chunk, strict=True):
                weight = emit.load(kernel, feature, y, 0, start, lanes=lanes)
                emit.write(emit.add_product(emit.read(total), value, weight), total)
    for total, place in zip(sums, places, strict=True):
        emit.store(emit.read(total), image_gradients, *place)


class SparseGradient:
    """Nonzero pooled gradients of one feature in a band of an image's windows, as lists of values and offsets.

    An offset is the index, in the flattened images, of the first pixel that the output at the position was computed
    from.
    """

    def __init__(self, emit: Emitter, positions: Buffer, gradient: Buffer, images: Buffer) -> None:
        _, height, width, _ = positions.shape
        _, _, image_width, channels = images.shape
        self._emit, self._positions, self._gradient, self._images = emit, positions, gradient, images
        self._band_height = min(height, max(1, _MAX_WINDOWS // width))
        self.num_bands = -(-height // self._band_height)
        self.values = emit.scratch(FLOAT, (self._band_height * width,))
        self.offsets = emit.scratch(INT, (self._band_height * width,))
        steps = [(down * image_width + right) * channels for down, right in WINDOW]
        self._steps = emit.constants([*steps, 0])

    def collect(self, image: ir.Value, band: ir.Value, feature: ir.Value) -> ir.Value:
        """Fill the lists and return their length. Without a branch: the next entry overwrites one that is not kept."""
        emit, builder = self._emit, self._emit.builder
        _, height, width, _ = self._positions.shape
        _, image_height, image_width, channels = self._images.shape
        count = emit.variable(INT(0))
        top = emit.sum((band, self._band_height))
        bottom = emit.minimum(emit.sum(top, self._band_height), height)
        with emit.for_range(top, bottom) as row, emit.for_range(0, width) as column:
            position = builder.zext(emit.load(self._positions, image, row, column, feature), INT)
            length = emit.read(count)
            offset = emit.sum(
                (image, image_height * image_width * channels),
                (row, 2 * image_width * channels),
                (column, 2 * channels),
                emit.load(self._steps, position),
            )
            emit.store(offset, self.offsets, length)
            emit.store(emit.load(self._gradient, image, row, column, feature), self.values, length)
            is_kept = builder.icmp_unsigned("!=", position, INT(NOWHERE))
            emit.write(builder.add(length, builder.zext(is_kept, INT)), count)
        return emit.read(count)


def _chunk_kernel(num_rows: int, length: int) -> tuple[int, list[Sequence[tuple[int, int]]]]:
    """Lanes of a vector, and row and first element of the vectors of a kernel's rows, in chunks that fit the registers."""
    lanes = vector_lanes(length)
    vectors = list(itertools.product(range(num_rows), range(0, length, lanes)))
    return lanes, even_parts(vectors, _MAX_SUMS[register_lanes()])


def _flatten(buffer: Buffer) -> Buffer:
    return Buffer(buffer.pointer, (0,), buffer.element_type)
