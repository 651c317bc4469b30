"""Kernels of convolution, max-pool, bias and ReLU in one loop, computed for one 2 by 2 window after another.

Buffers hold float32 (positions: int8) as batch, height, width, channel; a convolution kernel is height, width, channel,
feature. There is no padding; an odd last row or column of outputs is left out. What positions are: see `twins`.
"""

import functools
import itertools
from collections.abc import Sequence

from llvmlite import ir

from medjax.models.cpu_kernels.emitter import BYTE, FLOAT, Buffer, Emitter, constant, vector_lanes
from medjax.models.cpu_kernels.twins import NOWHERE, WINDOW
from medjax.models.cpu_kernels.winograd_tiles import output_transform, pixel_transform, transform

# A fused multiply-add takes as long as 8 can be started: 8 independent sums, 4 outputs of 2 vectors, keep a core busy.
_NUM_VECTORS = 2
# Tiles that share each loaded weight: the sums of 5 tiles of 2 vectors stay in registers.
_MAX_TILES = 5


def pooled_forward(
    emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
) -> None:
    """Images, kernel, bias -> activations, positions."""
    images, kernel, bias, activations, positions = buffers
    kernel_height, kernel_width, channels, features = kernel.shape
    lanes, num_vectors = _vectors(features)
    zero = constant(FLOAT, 0.0, lanes)
    _, height, width, _ = activations.shape
    with (
        emit.for_range(first, stop) as image,
        emit.for_range(0, features // (lanes * num_vectors)) as group,
        emit.for_range(0, height) as row,
        emit.for_range(0, width) as column,
    ):
        group_features = [
            emit.sum((group, lanes * num_vectors), index * lanes) for index in range(num_vectors)
        ]
        sums = [[emit.variable(zero) for _ in group_features] for _ in WINDOW]
        for y, x in itertools.product(range(kernel_height), range(kernel_width)):
            with emit.for_range(0, channels) as channel:
                weights = [
                    emit.load(kernel, y, x, channel, feature, lanes=lanes) for feature in group_features
                ]
                for (down, right), output_sums in zip(WINDOW, sums, strict=True):
                    pixel_row, pixel_column = emit.sum((row, 2), y + down), emit.sum((column, 2), x + right)
                    pixel = emit.broadcast(emit.load(images, image, pixel_row, pixel_column, channel), lanes)
                    for total, weight in zip(output_sums, weights, strict=True):
                        emit.write(emit.add_product(emit.read(total), pixel, weight), total)
        for index, feature in enumerate(group_features):
            outputs = [emit.read(output_sums[index]) for output_sums in sums]
            activation, position = _pool(emit, outputs, emit.load(bias, feature, lanes=lanes))
            emit.store(activation, activations, image, row, column, feature)
            emit.store(position, positions, image, row, column, feature)


def winograd_forward(
    emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
) -> None:
    """The same for a 3 by 3 kernel, transformed by `native.transform_kernel`: 4 multiplications per output instead of 9.

    Winograd's F(2 x 2, 3 x 3), whose tile gives the outputs of one window. Source: Lavin and Gray, "Fast Algorithms for
    Convolutional Neural Networks" (https://arxiv.org/abs/1509.09308).
    """
    images, kernel, bias, activations, positions = buffers
    _, _, channels, features = kernel.shape
    _, height, width, _ = activations.shape
    lanes, num_vectors = _vectors(features)
    num_tiles = min(width, _MAX_TILES)
    tiles = emit.scratch(FLOAT, (4, 4, num_tiles, channels))
    products = emit.scratch(FLOAT, (4, 4, num_tiles, num_vectors * lanes))
    with (
        emit.for_range(first, stop) as image,
        emit.for_range(0, height) as row,
        emit.for_range(0, -(-width // num_tiles)) as block,
    ):
        # The last block starts where it still fits, and computes some windows a second time.
        left = emit.minimum(emit.sum((block, num_tiles)), width - num_tiles)
        _transform_tiles(emit, images, tiles, image, row, left)
        with emit.for_range(0, features // (num_vectors * lanes)) as group:
            group_features = [
                emit.sum((group, num_vectors * lanes), index * lanes) for index in range(num_vectors)
            ]
            with emit.for_range(0, 4) as y, emit.for_range(0, 4) as x:
                _multiply_tiles(emit, tiles, kernel, products, (y, x), group_features)
            with emit.for_range(0, num_tiles) as tile:
                for index, feature in enumerate(group_features):
                    outputs = _transform_products(emit, products, tile, index * lanes, lanes)
                    activation, position = _pool(emit, outputs, emit.load(bias, feature, lanes=lanes))
                    emit.store(activation, activations, image, row, emit.sum(left, tile), feature)
                    emit.store(position, positions, image, row, emit.sum(left, tile), feature)


def _vectors(features: int) -> tuple[int, int]:
    """Lanes of a vector of features, and the number of vectors to compute together."""
    lanes = vector_lanes(features)
    return lanes, _NUM_VECTORS if features // lanes % _NUM_VECTORS == 0 else 1


def _transform_tiles(
    emit: Emitter, images: Buffer, tiles: Buffer, image: ir.Value, row: ir.Value, left: ir.Value
) -> None:
    """Transform the tiles of a row of windows, starting at window `left`."""
    _, _, num_tiles, channels = tiles.shape
    lanes = vector_lanes(channels)
    with emit.for_range(0, num_tiles) as tile, emit.for_range(0, channels // lanes) as vector:
        channel, column = emit.sum((vector, lanes)), emit.sum((left, 2), (tile, 2))
        pixels = [
            [
                emit.load(images, image, emit.sum((row, 2), y), emit.sum(column, x), channel, lanes=lanes)
                for x in range(4)
            ]
            for y in range(4)
        ]
        for (y, x), value in transform(pixels, functools.partial(pixel_transform, emit.builder)):
            emit.store(value, tiles, y, x, tile, channel)


def _multiply_tiles(
    emit: Emitter,
    tiles: Buffer,
    kernel: Buffer,
    products: Buffer,
    element: tuple[ir.Value, ir.Value],
    features: Sequence[ir.Value],
) -> None:
    """Multiply one element of all tiles by the same element of the kernel: a small matrix product over channels."""
    _, _, num_tiles, channels = tiles.shape
    lanes = products.shape[-1] // len(features)
    zero = constant(FLOAT, 0.0, lanes)
    sums = [[emit.variable(zero) for _ in features] for _ in range(num_tiles)]
    with emit.for_range(0, channels) as channel:
        weights = [emit.load(kernel, *element, channel, feature, lanes=lanes) for feature in features]
        for tile, tile_sums in enumerate(sums):
            value = emit.broadcast(emit.load(tiles, *element, tile, channel), lanes)
            for total, weight in zip(tile_sums, weights, strict=True):
                emit.write(emit.add_product(emit.read(total), value, weight), total)
    for tile, tile_sums in enumerate(sums):
        for vector, total in enumerate(tile_sums):
            emit.store(emit.read(total), products, *element, tile, vector * lanes)


def _transform_products(
    emit: Emitter, products: Buffer, tile: ir.Value, feature: int, lanes: int
) -> list[ir.Value]:
    """The four outputs of a window."""
    values = [[emit.load(products, y, x, tile, feature, lanes=lanes) for x in range(4)] for y in range(4)]
    return [value for _, value in transform(values, functools.partial(output_transform, emit.builder))]


def _pool(emit: Emitter, outputs: Sequence[ir.Value], bias: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The activation of a window's four outputs, and the position of the maximum: the first of equal ones."""
    builder = emit.builder
    lanes = bias.type.count
    top_left, top_right, bottom_left, bottom_right = outputs
    is_left_of_top = builder.fcmp_ordered(">=", top_left, top_right)
    is_left_of_bottom = builder.fcmp_ordered(">=", bottom_left, bottom_right)
    top = builder.select(is_left_of_top, top_left, top_right)
    bottom = builder.select(is_left_of_bottom, bottom_left, bottom_right)
    is_top = builder.fcmp_ordered(">=", top, bottom)
    numbers = [constant(BYTE, number, lanes) for number in range(NOWHERE + 1)]
    position = builder.select(
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
    biased = builder.select(is_nan, constant(FLOAT, float("nan"), lanes), biased)
    zero = constant(FLOAT, 0.0, lanes)
    activation = builder.select(builder.fcmp_ordered("<=", biased, zero), zero, biased)
    is_active = builder.fcmp_ordered(">", biased, zero)
    return activation, builder.select(is_active, position, numbers[NOWHERE])
