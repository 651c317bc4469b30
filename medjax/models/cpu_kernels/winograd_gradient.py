"""Kernel of the gradient of the weights of 3 by 3 convolutions, by 16 multiplications where the direct way has 36.

Winograd's F(3 x 3, 2 x 2): each of the 16 elements of a transformed tile is one of 16 matrix products over tiles. Source: see
`winograd`.
"""

import functools
import math
from collections.abc import Sequence

from llvmlite import ir

from medjax.models.cpu_kernels.emitter import FLOAT, INT, Buffer, Emitter, constant, register_lanes
from medjax.models.cpu_kernels.ffi_call import Kernel
from medjax.models.cpu_kernels.register_tiles import add_products, block_features, even_parts, max_rows, zeros
from medjax.models.cpu_kernels.winograd_tiles import (
    Block,
    Place,
    Plan,
    Values,
    for_blocks,
    is_inside,
    make_scratch,
    transform,
)


@functools.cache
def make_weight_gradient(plan: Plan) -> Kernel:
    """The kernel `jobs, images, gradients of the outputs -> gradients of the weights, sums, scratch`.

    Gradients of the weights are those of each group of images; sums are of each job.

    Job after job, `plan.num_image_groups` of them share a part of the features; each takes its part of the images.
    """

    def weight_gradient(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        _, images, gradients, weights, sums, scratch = buffers
        part_size = sums.shape[-1]
        with emit.for_range(first, stop) as job:
            with emit.for_range(0, math.prod(sums.shape[1:]) // register_lanes()) as vector:
                zero = constant(FLOAT, 0.0, register_lanes())
                emit.store(zero, sums, job, 0, 0, 0, emit.sum((vector, register_lanes())))
            pixels, tiles, transformed = make_scratch(emit, scratch, job, plan, part_size)
            part = emit.builder.udiv(job, INT(plan.num_image_groups))
            with for_blocks(emit, plan, images.shape[0], job) as block:
                block.transform(emit, images, pixels, tiles)
                with block.for_tiles(emit) as place:
                    _transform_gradients(emit, gradients, transformed, place, emit.sum((part, part_size)))
                with emit.for_range(0, 4) as y, emit.for_range(0, 4) as x:
                    _add_to_sums(emit, block, (tiles, transformed, sums), (job, y, x))
            group = emit.builder.urem(job, INT(plan.num_image_groups))
            arrays = emit.part(sums, job, 0), emit.part(weights, group, 0)
            _store_weights(emit, *arrays, emit.sum((part, part_size)))

    weight_gradient.__name__ = f"winograd_gradient_{plan}"
    return weight_gradient


def _transform_gradients(
    emit: Emitter, gradients: Buffer, transformed: Buffer, place: Place, first_feature: ir.Value
) -> None:
    """Transform the gradients of a tile's 2 by 2 outputs; those beyond the last row or column count as 0."""
    image, row, column, tile = place
    _, height, width, _ = gradients.shape
    lanes = register_lanes()

    def load(y: int, x: int, vector: int) -> ir.Value:
        at = emit.sum((row, 2), y), emit.sum((column, 2), x)
        inside = is_inside(emit, at, (y, x), (height, width))
        nearest = emit.minimum(at[0], height - 1), emit.minimum(at[1], width - 1)
        feature = emit.sum(first_feature, vector)
        value = emit.load_within(gradients, image, *nearest, feature, lanes=lanes)
        if inside is None:
            return value
        return emit.builder.select(inside, value, constant(FLOAT, 0.0, lanes))

    for vector in range(0, transformed.shape[-1], lanes):
        values = [[load(y, x, vector) for x in range(2)] for y in range(2)]
        for (y, x), value in transform(values, functools.partial(_gradient_transform, emit.builder)):
            emit.store(value, transformed, y, x, tile, vector)


def _add_to_sums(
    emit: Emitter, block: Block, buffers: tuple[Buffer, Buffer, Buffer], element: tuple[ir.Value, ...]
) -> None:
    """Add one element of all tiles times that of the gradients: a matrix product over tiles."""
    *_, sums = buffers
    channels, part_size = sums.shape[-2:]
    block_size = block_features(part_size)
    parts = even_parts(range(channels), max_rows(block_size))
    is_even = len(parts[-1]) == len(parts[0])
    with emit.for_range(0, part_size // block_size) as index:
        feature = emit.sum((index, block_size))
        with emit.for_range(0, len(parts) if is_even else len(parts) - 1) as part:
            first = emit.sum((part, len(parts[0])))
            _add_rows(emit, block, buffers, element, (first, len(parts[0]), feature, block_size))
        if not is_even:
            last = INT(parts[-1][0])
            _add_rows(emit, block, buffers, element, (last, len(parts[-1]), feature, block_size))


def _add_rows(
    emit: Emitter,
    block: Block,
    buffers: tuple[Buffer, Buffer, Buffer],
    element: tuple[ir.Value, ...],
    place: tuple[ir.Value, int, ir.Value, int],
) -> None:
    """Add to the sums of some channels and features."""
    tiles, transformed, sums = buffers
    first, num_rows, feature, block_size = place
    job, y, x = element
    lanes = register_lanes()
    row_length = tiles.shape[-1]
    vectors = range(0, block_size, lanes)
    totals = zeros(emit, num_rows, len(vectors))
    base = emit.sum((y, 4 * tiles.shape[2] * row_length), (x, tiles.shape[2] * row_length), first)
    with emit.for_range(0, block.num_tiles) as tile:
        factors = [
            emit.load(transformed, y, x, tile, emit.sum(feature, vector), lanes=lanes) for vector in vectors
        ]
        offsets = [emit.sum(base, (tile, row_length), row) for row in range(num_rows)]
        add_products(emit, totals, offsets, tiles, factors)
    for row, row_totals in enumerate(totals):
        for vector, total in zip(vectors, row_totals, strict=True):
            at = job, y, x, emit.sum(first, row), emit.sum(feature, vector)
            before = emit.load(sums, *at, lanes=lanes)
            emit.store(emit.builder.fadd(before, emit.read(total)), sums, *at)


def _store_weights(emit: Emitter, sums: Buffer, weights: Buffer, first_feature: ir.Value) -> None:
    lanes = register_lanes()
    *_, channels, part_size = sums.shape
    with emit.for_range(0, channels) as channel, emit.for_range(0, part_size // lanes) as vector:
        feature = emit.sum((vector, lanes))
        values = [[emit.load(sums, y, x, channel, feature, lanes=lanes) for x in range(4)] for y in range(4)]
        for (y, x), value in transform(values, functools.partial(_sum_transform, emit.builder)):
            emit.store_within(value, weights, y, x, channel, emit.sum(first_feature, feature))


def _gradient_transform(builder: ir.IRBuilder, values: Values) -> list[ir.Value]:
    first, second = values
    return [first, builder.fadd(first, second), builder.fsub(first, second), builder.fneg(second)]


def _sum_transform(builder: ir.IRBuilder, values: Values) -> list[ir.Value]:
    first, second, third, fourth = values
    half = constant(FLOAT, 0.5, first.type.count)
    outer = builder.fmul(builder.fadd(second, third), half)
    return [
        builder.fadd(first, outer),
        builder.fmul(builder.fsub(second, third), half),
        builder.fadd(outer, fourth),
    ]
