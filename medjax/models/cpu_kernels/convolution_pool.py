"""Convolution, max-pool, bias and ReLU in one loop over a CPU's images, and its gradients: code for `native`.

All buffers are float32 in the order of batch, height, width, channel; kernels are height, width, channel, feature;
there is no padding. A window is the 2 by 2 outputs of the convolution that are pooled; an odd last row or column is
left out. Where in a window the largest output stood is its place, 0 to 3, or `NOWHERE` if ReLU gives zero.

Backwards only that place passes a gradient on, if any does: loops over what is passed on visit less than a quarter of
what the gradient of a convolution multiplies.
"""

import functools
import itertools
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float32
from llvmlite import ir

from medjax.models.cpu_kernels.emitter import BYTE, FLOAT, INT, Buffer, Emitter, constant, lanes

NOWHERE = 4
_PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))
# A multiplication takes as long as 8 can be begun: that many sums, 4 places of 2 vectors, keep a core busy.
_VECTORS = 2
# Tiles that share each weight that is loaded: 5 of 2 vectors are sums that stay in registers.
_MOST_TILES = 5
# Windows of an image that are worked on together: what is known of them stays in a core's nearest cache.
_MOST_WINDOWS = 1024
# Sums that stay in registers, with some to spare, of which there are 16 where there are few.
_MOST_SUMS = 12


def pooled_forward(
    emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, share: ir.Value
) -> None:
    """Images, kernel, bias -> activations, places."""
    images, kernel, bias, activations, places = buffers
    kernel_height, kernel_width, channels, features = kernel.shape
    wide = lanes(features)
    vectors = _VECTORS if features // wide % _VECTORS == 0 else 1
    zero = constant(FLOAT, 0.0, wide)
    _, height, width, _ = activations.shape
    with (
        emit.each(first, stop) as image,
        emit.each(0, features // (wide * vectors)) as group,
        emit.each(0, height) as row,
        emit.each(0, width) as column,
    ):
        group_features = [emit.sum((group, wide * vectors), vector * wide) for vector in range(vectors)]
        sums = [[emit.variable(zero) for _ in group_features] for _ in _PLACES]
        for y, x in itertools.product(range(kernel_height), range(kernel_width)):
            with emit.each(0, channels) as channel:
                weights = [
                    emit.load(kernel, y, x, channel, feature, lanes=wide) for feature in group_features
                ]
                for (down, right), place_sums in zip(_PLACES, sums, strict=True):
                    pixel_row, pixel_column = emit.sum((row, 2), y + down), emit.sum((column, 2), x + right)
                    pixel = emit.spread(emit.load(images, image, pixel_row, pixel_column, channel), wide)
                    for total, weight in zip(place_sums, weights, strict=True):
                        emit.write(emit.add_product(emit.read(total), pixel, weight), total)
        for vector, feature in enumerate(group_features):
            outputs = [emit.read(place_sums[vector]) for place_sums in sums]
            activation, place = _pool(emit, outputs, emit.load(bias, feature, lanes=wide))
            emit.store(activation, activations, image, row, column, feature)
            emit.store(place, places, image, row, column, feature)


def winograd_forward(
    emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, share: ir.Value
) -> None:
    """The same of a 3 by 3 kernel, given as `transform_kernel` leaves it: 4 multiplications an output in place of 9.

    Winograd's F(2 x 2, 3 x 3), whose tile is a window. Source: Lavin and Gray, "Fast Algorithms for Convolutional
    Neural Networks" (https://arxiv.org/abs/1509.09308).
    """
    images, kernel, bias, activations, places = buffers
    _, _, channels, features = kernel.shape
    _, height, width, _ = activations.shape
    wide = lanes(features)
    vectors = _VECTORS if features // wide % _VECTORS == 0 else 1
    num_tiles = min(width, _MOST_TILES)
    tiles = emit.scratch(FLOAT, (4, 4, num_tiles, channels))
    products = emit.scratch(FLOAT, (4, 4, num_tiles, vectors * wide))
    with (
        emit.each(first, stop) as image,
        emit.each(0, height) as row,
        emit.each(0, -(-width // num_tiles)) as block,
    ):
        # The last block begins where it still fits, and computes some windows again.
        left = emit.least(emit.sum((block, num_tiles)), width - num_tiles)
        _transform_tiles(emit, images, tiles, image, row, left)
        with emit.each(0, features // (vectors * wide)) as group:
            group_features = [emit.sum((group, vectors * wide), vector * wide) for vector in range(vectors)]
            with emit.each(0, 4) as y, emit.each(0, 4) as x:
                _multiply_tiles(emit, tiles, kernel, products, (y, x), group_features)
            with emit.each(0, num_tiles) as tile:
                for vector, feature in enumerate(group_features):
                    values = [
                        [emit.load(products, y, x, tile, vector * wide, lanes=wide) for x in range(4)]
                        for y in range(4)
                    ]
                    outputs = _transform(values, functools.partial(_output_transform, emit.builder)).values()
                    activation, place = _pool(emit, list(outputs), emit.load(bias, feature, lanes=wide))
                    emit.store(activation, activations, image, row, emit.sum(left, tile), feature)
                    emit.store(place, places, image, row, emit.sum(left, tile), feature)


def _transform_tiles(
    emit: Emitter, images: Buffer, tiles: Buffer, image: ir.Value, row: ir.Value, left: ir.Value
) -> None:
    """The tiles of a row of windows, from the window `left` on, transformed."""
    _, _, num_tiles, channels = tiles.shape
    wide = lanes(channels)
    with emit.each(0, num_tiles) as tile, emit.each(0, channels // wide) as vector:
        channel, column = emit.sum((vector, wide)), emit.sum((left, 2), (tile, 2))
        pixels = [
            [
                emit.load(images, image, emit.sum((row, 2), y), emit.sum(column, x), channel, lanes=wide)
                for x in range(4)
            ]
            for y in range(4)
        ]
        for (y, x), value in _transform(pixels, functools.partial(_input_transform, emit.builder)).items():
            emit.store(value, tiles, y, x, tile, channel)


def _multiply_tiles(
    emit: Emitter,
    tiles: Buffer,
    kernel: Buffer,
    products: Buffer,
    place: tuple[ir.Value, ir.Value],
    features: Sequence[ir.Value],
) -> None:
    """One place of all tiles times the same place of the kernel: a small product of matrices."""
    _, _, num_tiles, channels = tiles.shape
    wide = products.shape[-1] // len(features)
    zero = constant(FLOAT, 0.0, wide)
    sums = [[emit.variable(zero) for _ in features] for _ in range(num_tiles)]
    with emit.each(0, channels) as channel:
        weights = [emit.load(kernel, *place, channel, feature, lanes=wide) for feature in features]
        for tile, tile_sums in enumerate(sums):
            value = emit.spread(emit.load(tiles, *place, tile, channel), wide)
            for total, weight in zip(tile_sums, weights, strict=True):
                emit.write(emit.add_product(emit.read(total), value, weight), total)
    for tile, tile_sums in enumerate(sums):
        for vector, total in enumerate(tile_sums):
            emit.store(emit.read(total), products, *place, tile, vector * wide)


def transform_kernel(kernel: Float32[Array, "3 3 channel feature"]) -> Float32[Array, "4 4 channel feature"]:
    """The kernel as `winograd_forward` takes it."""
    for axis in range(2):
        first, second, third = jnp.moveaxis(kernel, axis, 0)
        outer, middle = (first + third) / 2, second / 2
        kernel = jnp.stack([first, outer + middle, outer - middle, third], axis)
    return kernel


def _transform(
    rows: Sequence[Sequence[ir.Value]], along: Callable[[Sequence[ir.Value]], list[ir.Value]]
) -> dict[tuple[int, int], ir.Value]:
    """A small matrix transformed along both axes, element by element, row by row."""
    columns = [along(column) for column in zip(*rows, strict=True)]
    rows = [along(row) for row in zip(*columns, strict=True)]
    return {(y, x): value for y, row in enumerate(rows) for x, value in enumerate(row)}


def _input_transform(builder: ir.IRBuilder, values: Sequence[ir.Value]) -> list[ir.Value]:
    first, second, third, fourth = values
    return [
        builder.fsub(first, third),
        builder.fadd(second, third),
        builder.fsub(third, second),
        builder.fsub(second, fourth),
    ]


def _output_transform(builder: ir.IRBuilder, values: Sequence[ir.Value]) -> list[ir.Value]:
    first, second, third, fourth = values
    return [
        builder.fadd(builder.fadd(first, second), third),
        builder.fsub(builder.fsub(second, third), fourth),
    ]


def _pool(emit: Emitter, outputs: Sequence[ir.Value], bias: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The activation of a window's four outputs and its place: the first of equal ones, as everywhere."""
    builder = emit.builder
    wide = bias.type.count
    top_left, top_right, bottom_left, bottom_right = outputs
    is_left_of_top = builder.fcmp_ordered(">=", top_left, top_right)
    is_left_of_bottom = builder.fcmp_ordered(">=", bottom_left, bottom_right)
    top = builder.select(is_left_of_top, top_left, top_right)
    bottom = builder.select(is_left_of_bottom, bottom_left, bottom_right)
    is_top = builder.fcmp_ordered(">=", top, bottom)
    numbers = [constant(BYTE, number, wide) for number in (*range(4), NOWHERE)]
    place = builder.select(
        is_top,
        builder.select(is_left_of_top, numbers[0], numbers[1]),
        builder.select(is_left_of_bottom, numbers[2], numbers[3]),
    )
    # Comparisons drop a NaN among the outputs, which training must see; a NaN bias stays in the sum.
    is_nan = builder.or_(
        builder.fcmp_unordered("uno", top_left, top_right),
        builder.fcmp_unordered("uno", bottom_left, bottom_right),
    )
    biased = builder.fadd(builder.select(is_top, top, bottom), bias)
    biased = builder.select(is_nan, constant(FLOAT, float("nan"), wide), biased)
    zero = constant(FLOAT, 0.0, wide)
    activation = builder.select(builder.fcmp_ordered("<=", biased, zero), zero, biased)
    is_active = builder.fcmp_ordered(">", biased, zero)
    return activation, builder.select(is_active, place, numbers[NOWHERE])


def kernel_gradient(
    emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, share: ir.Value
) -> None:
    """Images, places, gradient -> each share's gradient of the kernel, features first, and of the bias."""
    images, places, gradient, kernel_gradients, bias_gradients = buffers
    _, features, kernel_height, kernel_width, channels = kernel_gradients.shape
    wide, chunks = _chunk_row(kernel_width * channels)
    pixels = _flatten(images)
    passed = _Passed(emit, places, gradient, images)
    with emit.each(0, features) as feature:
        emit.store(FLOAT(0.0), bias_gradients, share, feature)
        with emit.each(0, kernel_height * kernel_width * channels) as index:
            emit.store(FLOAT(0.0), kernel_gradients, share, feature, 0, 0, index)
    with (
        emit.each(first, stop) as image,
        emit.each(0, passed.num_bands) as band,
        emit.each(0, features) as feature,
    ):
        count = passed.collect(image, band, feature)
        bias_sum = emit.variable(emit.load(bias_gradients, share, feature))
        with emit.each(0, count) as number:
            emit.write(emit.builder.fadd(emit.read(bias_sum), emit.load(passed.amounts, number)), bias_sum)
        emit.store(emit.read(bias_sum), bias_gradients, share, feature)
        with emit.each(0, kernel_height) as y:
            for chunk in chunks:
                sums = [
                    emit.variable(emit.load(kernel_gradients, share, feature, y, 0, start, lanes=wide))
                    for start in chunk
                ]
                with emit.each(0, count) as number:
                    amount = emit.spread(emit.load(passed.amounts, number), wide)
                    corner = emit.sum(emit.load(passed.corners, number), (y, images.shape[2] * channels))
                    for total, start in zip(sums, chunk, strict=True):
                        pixel = emit.load(pixels, emit.sum(corner, start), lanes=wide)
                        emit.write(emit.add_product(emit.read(total), amount, pixel), total)
                for total, start in zip(sums, chunk, strict=True):
                    emit.store(emit.read(total), kernel_gradients, share, feature, y, 0, start)


def shallow_kernel_gradient(
    emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, share: ir.Value
) -> None:
    """The same for images of few channels, with features last: vectors are of features, places masks."""
    images, places, gradient, kernel_gradients, bias_gradients = buffers
    _, kernel_height, kernel_width, channels, features = kernel_gradients.shape
    _, height, width, _ = gradient.shape
    wide = lanes(features)
    zero = constant(FLOAT, 0.0, wide)
    taps = list(itertools.product(range(kernel_height), range(kernel_width)))
    builder = emit.builder
    with emit.each(0, features // wide) as group, emit.each(0, channels) as channel:
        feature = emit.sum((group, wide))
        sums = {tap: emit.variable(zero) for tap in taps}
        bias_sum = emit.variable(zero)
        with (
            emit.each(first, stop) as image,
            emit.each(0, height) as row,
            emit.each(0, width) as column,
        ):
            amount = emit.load(gradient, image, row, column, feature, lanes=wide)
            place = emit.load(places, image, row, column, feature, lanes=wide)
            amounts = [
                builder.select(builder.icmp_unsigned("==", place, constant(BYTE, number, wide)), amount, zero)
                for number in range(len(_PLACES))
            ]
            for each in amounts:
                emit.write(builder.fadd(emit.read(bias_sum), each), bias_sum)
            for y, x in itertools.product(range(kernel_height + 1), range(kernel_width + 1)):
                pixel = emit.load(images, image, emit.sum((row, 2), y), emit.sum((column, 2), x), channel)
                pixel = emit.spread(pixel, wide)
                for (down, right), each in zip(_PLACES, amounts, strict=True):
                    if total := sums.get((y - down, x - right)):
                        emit.write(emit.add_product(emit.read(total), pixel, each), total)
        for (y, x), total in sums.items():
            emit.store(emit.read(total), kernel_gradients, share, y, x, channel, feature)
        emit.store(emit.read(bias_sum), bias_gradients, share, feature)


def image_gradient(
    emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, share: ir.Value
) -> None:
    """Places, gradient, kernel with its features first -> gradient of the images."""
    places, gradient, kernel, image_gradients = buffers
    features, kernel_height, kernel_width, channels = kernel.shape
    _, height, width, _ = image_gradients.shape
    wide, chunks = _chunk_row(kernel_width * channels)
    flat = _flatten(image_gradients)
    passed = _Passed(emit, places, gradient, image_gradients)
    with emit.each(first, stop) as image:
        with emit.each(0, height * width * channels) as index:
            emit.store(FLOAT(0.0), image_gradients, image, 0, 0, index)
        with emit.each(0, passed.num_bands) as band, emit.each(0, features) as feature:
            count = passed.collect(image, band, feature)
            with emit.each(0, kernel_height) as y:
                for chunk in chunks:
                    weights = [emit.load(kernel, feature, y, 0, start, lanes=wide) for start in chunk]
                    with emit.each(0, count) as number:
                        amount = emit.spread(emit.load(passed.amounts, number), wide)
                        corner = emit.sum(emit.load(passed.corners, number), (y, width * channels))
                        for weight, start in zip(weights, chunk, strict=True):
                            place = emit.sum(corner, start)
                            total = emit.load(flat, place, lanes=wide)
                            emit.store(emit.add_product(total, amount, weight), flat, place)


class _Passed:
    """What a band of an image's windows passes back of one feature: how much, and where the kernel's corner lay."""

    def __init__(self, emit: Emitter, places: Buffer, gradient: Buffer, images: Buffer) -> None:
        _, height, width, _ = places.shape
        _, _, image_width, channels = images.shape
        self._emit, self._places, self._gradient, self._images = emit, places, gradient, images
        self._band_height = min(height, max(1, _MOST_WINDOWS // width))
        self.num_bands = -(-height // self._band_height)
        self.amounts = emit.scratch(FLOAT, (self._band_height * width,))
        self.corners = emit.scratch(INT, (self._band_height * width,))
        steps = [(down * image_width + right) * channels for down, right in _PLACES]
        self._steps = emit.constants([*steps, 0])

    def collect(self, image: ir.Value, band: ir.Value, feature: ir.Value) -> ir.Value:
        """List what is passed on and return how much it is. What is not is overwritten by the next: no branch."""
        emit, builder = self._emit, self._emit.builder
        _, height, width, _ = self._places.shape
        _, image_height, image_width, channels = self._images.shape
        count = emit.variable(INT(0))
        top = emit.sum((band, self._band_height))
        bottom = emit.least(emit.sum(top, self._band_height), height)
        with emit.each(top, bottom) as row, emit.each(0, width) as column:
            place = builder.zext(emit.load(self._places, image, row, column, feature), INT)
            number = emit.read(count)
            corner = emit.sum(
                (image, image_height * image_width * channels),
                (row, 2 * image_width * channels),
                (column, 2 * channels),
                emit.load(self._steps, place),
            )
            emit.store(corner, self.corners, number)
            emit.store(emit.load(self._gradient, image, row, column, feature), self.amounts, number)
            is_passed = builder.icmp_unsigned("!=", place, INT(NOWHERE))
            emit.write(builder.add(number, builder.zext(is_passed, INT)), count)
        return emit.read(count)


def _chunk_row(length: int) -> tuple[int, list[list[int]]]:
    """Lanes of a vector, and where vectors begin in a row of `length` numbers, in chunks that fit the registers."""
    wide = lanes(length)
    starts = list(range(0, length, wide))
    return wide, [starts[index : index + _MOST_SUMS] for index in range(0, len(starts), _MOST_SUMS)]


def _flatten(buffer: Buffer) -> Buffer:
    return Buffer(buffer.pointer, (0,), buffer.kind)
