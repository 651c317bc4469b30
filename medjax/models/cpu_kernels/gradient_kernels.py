"""Kernels of the gradients of convolution, max-pool, bias and ReLU. Buffers are as in `forward_kernels`.

Only the position of a window's maximum passes a gradient on, if any does, so loops over those positions do less than a
quarter of the multiplications of a convolution's gradient.
"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence

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

# Weights that stay in a core's L1 cache beside an image, and sums that are needed to keep its multipliers busy.
_CHUNK_SIZE, _MIN_SUMS = 6144, 6
# Windows that are compared together: the bits of the answer fit a number.
_BITS = 64
# Such numbers in a vector register.
_NUMBERS = 8
# Vectors of sums that fit the 32 registers of AVX-512 and the 16 of others, with some to spare.
_MAX_SUMS = {16: 28, 8: 12}
# Features whose positions are compared at once: the bits of the answer fit a number.
_POWERS_OF_TWO = (64, 32, 16, 8, 4, 2, 1)


def kernel_gradient(
    emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
) -> None:
    """Images, positions, gradient -> gradients of the kernel, with features first, and of the bias, one per task."""
    _, positions, _, kernel_gradients, bias_gradients = buffers
    _, features, kernel_height, kernel_width, channels = kernel_gradients.shape
    num_windows = positions.shape[1] * positions.shape[2]
    with emit.for_range(0, features) as feature:
        emit.store(FLOAT(0.0), bias_gradients, task, feature)
        with emit.for_range(0, kernel_height * kernel_width * channels) as index:
            emit.store(FLOAT(0.0), kernel_gradients, task, feature, 0, 0, index)
    passing = emit.scratch(INT, (features,))
    with (
        emit.for_range(first, stop) as image,
        emit.for_range(0, -(-num_windows // _BITS)) as group,
    ):
        first_window = emit.sum((group, _BITS))
        _find_passing(emit, positions, (image, first_window), passing)
        with emit.for_range(0, features) as feature:
            _add_pixels(emit, buffers, (image, first_window), emit.load(passing, feature), (task, feature))


def _find_passing(
    emit: Emitter, positions: Buffer, start: tuple[ir.Value, ir.Value], passing: Buffer
) -> None:
    """For each feature, which of the windows from `start` (image, window) on pass a gradient on, as the bits of a number."""
    _, height, width, features = positions.shape
    by_window = Buffer(positions.pointer, (0, height * width, features), BYTE)
    image, first_window = start
    lanes = min(vector_lanes(features), _NUMBERS)
    builder = emit.builder
    zero, nowhere = constant(INT, 0, lanes), constant(BYTE, NOWHERE, lanes)
    count = emit.minimum(builder.sub(INT(height * width), first_window), _BITS)
    with emit.for_range(0, features // lanes) as block:
        feature = emit.sum((block, lanes))
        found = emit.variable(zero)
        with emit.for_range(0, count) as window:
            position = emit.load(by_window, image, emit.sum(first_window, window), feature, lanes=lanes)
            bit = emit.broadcast(builder.shl(INT(1), window), lanes)
            these = builder.select(builder.icmp_unsigned("!=", position, nowhere), bit, zero)
            emit.write(builder.or_(emit.read(found), these), found)
        emit.store(emit.read(found), passing, feature)


def _add_pixels(
    emit: Emitter,
    buffers: Sequence[Buffer],
    start: tuple[ir.Value, ir.Value],
    windows: ir.Value,
    of_feature: tuple[ir.Value, ir.Value],
) -> None:
    """Add to a feature's gradients of kernel and bias: pixels times gradients, of the windows after `start` with a bit."""
    images, positions, gradient, kernel_gradients, bias_gradients = buffers
    *_, kernel_height, kernel_width, channels = kernel_gradients.shape
    _, image_height, image_width, _ = images.shape
    lanes, chunks = _chunk_kernel(kernel_height, kernel_width * channels)
    image, first_window = start
    task, feature = of_feature
    steps = emit.constants([(down * image_width + right) * channels for down, right in WINDOW])
    builder = emit.builder
    bias_sum = emit.variable(emit.load(bias_gradients, task, feature))
    for chunk in chunks:
        places = [(*of_feature, y, 0, first) for y, first in chunk]
        sums = [emit.variable(emit.load(kernel_gradients, *place, lanes=lanes)) for place in places]
        with _for_each_bit(emit, windows) as bit:
            window = emit.sum(first_window, bit)
            row, column = (
                operate(window, INT(positions.shape[2])) for operate in (builder.udiv, builder.urem)
            )
            step = emit.load(steps, builder.zext(emit.load(positions, image, row, column, feature), INT))
            value = emit.load(gradient, image, row, column, feature)
            if chunk is chunks[0]:
                emit.write(builder.fadd(emit.read(bias_sum), value), bias_sum)
            value = emit.broadcast(value, lanes)
            # The pixel at the top left of those that the largest output of the window was computed from.
            corner = emit.sum(
                (image, image_height * image_width * channels),
                (row, 2 * image_width * channels),
                (column, 2 * channels),
                step,
            )
            for total, (y, first) in zip(sums, chunk, strict=True):
                place = emit.sum(corner, y * image_width * channels + first)
                pixel = emit.load(_flatten(images), place, lanes=lanes)
                emit.write(emit.add_product(emit.read(total), value, pixel), total)
        for total, place in zip(sums, places, strict=True):
            emit.store(emit.read(total), kernel_gradients, *place)
    emit.store(emit.read(bias_sum), bias_gradients, task, feature)


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
    num_vectors = _CHUNK_SIZE // (kernel.shape[0] * vector_lanes(kernel_width * channels))
    lanes, chunks = _chunk_kernel(kernel_height, kernel_width * channels, max(_MIN_SUMS, num_vectors))
    with emit.for_range(first, stop) as image, emit.for_range(0, height * width * channels) as index:
        emit.store(FLOAT(0.0), image_gradients, image, 0, 0, index)
    for chunk in chunks:
        with (
            emit.for_range(first, stop) as image,
            emit.for_range(0, rows) as row,
            emit.for_range(0, columns) as column,
        ):
            for number, (down, right) in enumerate(WINDOW):
                pixel = image, emit.sum((row, 2), down), emit.sum((column, 2), right)
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
        with _for_each_bit(emit, bits if compared == _BITS else builder.zext(bits, INT)) as bit:
            feature = builder.add(first, bit)
            value = emit.broadcast(emit.load(gradient, *window, feature), lanes)
            for total, (y, start) in zip(sums, chunk, strict=True):
                weight = emit.load(kernel, feature, y, 0, start, lanes=lanes)
                emit.write(emit.add_product(emit.read(total), value, weight), total)
    for total, place in zip(sums, places, strict=True):
        emit.store(emit.read(total), image_gradients, *place)


@contextlib.contextmanager
def _for_each_bit(emit: Emitter, bits: ir.Value) -> Iterator[ir.Value]:
    """Emit a loop over the bits of a number that are set; the `with` block emits its body, given the place of the bit."""
    builder = emit.builder
    left_over = emit.variable(bits)
    with emit.for_range(0, builder.ctpop(bits)):
        these = emit.read(left_over)
        emit.write(builder.and_(these, builder.sub(these, INT(1))), left_over)
        yield builder.cttz(these, ir.IntType(1)(1))


def _chunk_kernel(
    num_rows: int, length: int, num_vectors: int | None = None
) -> tuple[int, list[Sequence[tuple[int, int]]]]:
    """Lanes of a vector, and row and first element of the vectors of a kernel's rows, in chunks that fit the registers.

    A chunk has at most `num_vectors` vectors.
    """
    lanes = vector_lanes(length)
    vectors = list(itertools.product(range(num_rows), range(0, length, lanes)))
    most = _MAX_SUMS[register_lanes()]
    return lanes, even_parts(vectors, most if num_vectors is None else min(most, num_vectors))


def _flatten(buffer: Buffer) -> Buffer:
    return Buffer(buffer.pointer, (0,), buffer.element_type)
