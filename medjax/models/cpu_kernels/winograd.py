"""Kernels of 3 by 3 convolutions that take 16 multiplications for 2 by 2 outputs, in place of 36.

Winograd's F(2 x 2, 3 x 3), and F(3 x 3, 2 x 2) for the gradient of the weights. Each of the 16 elements of a transformed
tile is one of 16 matrix products, over channels or, for the weights, over tiles. Source: Lavin and Gray, "Fast Algorithms
for Convolutional Neural Networks" (https://arxiv.org/abs/1509.09308).
"""

import functools
import itertools
import math
from collections.abc import Sequence

from llvmlite import ir

from medjax.models.cpu_kernels.direct_convolution import (
    add_products,
    block_features,
    even_parts,
    max_rows,
    zeros,
)
from medjax.models.cpu_kernels.emitter import FLOAT, INT, Buffer, Emitter, constant, register_lanes
from medjax.models.cpu_kernels.ffi_call import Kernel
from medjax.models.cpu_kernels.winograd_tiles import Block, Plan, Values, for_blocks, transform

Place = tuple[
    ir.Value, ir.Value, ir.Value, ir.Value
]  # image, row and column among its tiles, number in the block


def scratch_size(plan: Plan, block_size: int) -> int:
    """Numbers that a job needs for pixels, transformed pixels, and products or transformed gradients."""
    return sum(map(math.prod, _scratch_shapes(plan, block_size)))


def transform_weights(
    emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
) -> None:
    """Jobs, weights as height, width, channel, feature -> weights as feature block, 4, 4, channel, feature."""
    _, weights, results = buffers
    lanes = register_lanes()
    *_, channels, block_size = results.shape
    with (
        emit.for_range(first, stop) as block,
        emit.for_range(0, channels) as channel,
        emit.for_range(0, block_size // lanes) as vector,
    ):
        feature = emit.sum((block, block_size), (vector, lanes))
        values = [
            [emit.load_within(weights, y, x, channel, feature, lanes=lanes) for x in range(3)]
            for y in range(3)
        ]
        for (y, x), value in transform(values, functools.partial(_weight_transform, emit.builder)):
            emit.store(value, results, block, y, x, channel, emit.sum((vector, lanes)))


@functools.cache
def make_forward(plan: Plan) -> Kernel:
    """The kernel `jobs, images, weights -> outputs, scratch`, with weights as `transform_weights` writes them.

    Job after job, `plan.num_image_groups` of them share a part of the features; each takes its part of the images.
    """

    def forward(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        _, images, weights, outputs, scratch = buffers
        _, blocks_of_part, *_, block_size = weights.shape
        with emit.for_range(first, stop) as job:
            pixels, tiles, products = _scratch(emit, scratch, job, plan, block_size)
            part = emit.builder.udiv(job, INT(plan.num_image_groups))
            with for_blocks(emit, plan, images.shape[0], job) as block:
                block.transform(emit, images, pixels, tiles)
                with emit.for_range(0, blocks_of_part) as features:
                    with emit.for_range(0, 4) as y, emit.for_range(0, 4) as x:
                        _multiply_tiles(emit, block, (tiles, weights, products), (part, features, y, x))
                    first_feature = emit.sum((part, blocks_of_part * block_size), (features, block_size))
                    with block.for_tiles(emit) as place:
                        _store_outputs(emit, products, outputs, place, first_feature)

    forward.__name__ = f"winograd_{plan}"
    return forward


def _multiply_tiles(
    emit: Emitter, block: Block, buffers: tuple[Buffer, Buffer, Buffer], element: tuple[ir.Value, ...]
) -> None:
    """Multiply one element of all tiles by that of the weights: a matrix product over channels."""
    tiles, weights, products = buffers
    *_, channels, block_size = weights.shape
    *_, y, x = element
    lanes = register_lanes()
    vectors = range(0, block_size, lanes)
    num_rows = -(-block.plan.num_tiles // -(-block.plan.num_tiles // max_rows(block_size)))
    row_length = tiles.shape[-1]
    num_parts = emit.builder.sdiv(emit.sum(block.num_tiles, num_rows - 1), INT(num_rows))
    with emit.for_range(0, num_parts) as part:
        first = emit.sum((part, num_rows))
        sums = zeros(emit, num_rows, len(vectors))
        base = emit.sum(
            (y, 4 * tiles.shape[2] * row_length), (x, tiles.shape[2] * row_length), (first, row_length)
        )
        with emit.for_range(0, channels) as channel:
            factors = [emit.load(weights, *element, channel, vector, lanes=lanes) for vector in vectors]
            offsets = [emit.sum(base, row * row_length, channel) for row in range(num_rows)]
            add_products(emit, sums, offsets, tiles, factors)
        for row, totals in enumerate(sums):
            for vector, total in zip(vectors, totals, strict=True):
                emit.store(emit.read(total), products, y, x, emit.sum(first, row), vector)


def _store_outputs(
    emit: Emitter, products: Buffer, outputs: Buffer, place: Place, first_feature: ir.Value
) -> None:
    """Transform the products of a tile to 2 by 2 outputs; those beyond the last row or column are left out."""
    image, row, column, tile = place
    _, height, width, _ = outputs.shape
    for vector in range(0, products.shape[-1], register_lanes()):
        values = [
            [emit.load(products, y, x, tile, vector, lanes=register_lanes()) for x in range(4)]
            for y in range(4)
        ]
        for (y, x), value in transform(values, functools.partial(_output_transform, emit.builder)):
            at = emit.sum((row, 2), y), emit.sum((column, 2), x)
            is_inside = _is_inside(emit, at, (y, x), (height, width))
            feature = emit.sum(first_feature, vector)
            if is_inside is None:
                emit.store_within(value, outputs, image, *at, feature)
            else:
                with emit.when(is_inside):
                    emit.store_within(value, outputs, image, *at, feature)


def _is_inside(
    emit: Emitter, at: tuple[ir.Value, ir.Value], offsets: tuple[int, int], sides: tuple[int, int]
) -> ir.Value | None:
    """Whether a pixel lies inside the outputs; None where that is certain."""
    found = None
    for index, offset, side in zip(at, offsets, sides, strict=True):
        if offset and side % 2:
            within = emit.builder.icmp_signed("<", index, INT(side))
            found = within if found is None else emit.builder.and_(found, within)
    return found


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
            pixels, tiles, transformed = _scratch(emit, scratch, job, plan, part_size)
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
        is_inside = _is_inside(emit, at, (y, x), (height, width))
        nearest = emit.minimum(at[0], height - 1), emit.minimum(at[1], width - 1)
        feature = emit.sum(first_feature, vector)
        value = emit.load_within(gradients, image, *nearest, feature, lanes=lanes)
        if is_inside is None:
            return value
        return emit.builder.select(is_inside, value, constant(FLOAT, 0.0, lanes))

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


def _scratch(emit: Emitter, scratch: Buffer, job: ir.Value, plan: Plan, block_size: int) -> list[Buffer]:
    """A job's memory for pixels, transformed pixels, and products or transformed gradients."""
    shapes = _scratch_shapes(plan, block_size)
    starts = [0, *itertools.accumulate(map(math.prod, shapes))]
    return [emit.part(scratch, job, start, shape=shape) for start, shape in zip(starts, shapes, strict=False)]


def _scratch_shapes(plan: Plan, block_size: int) -> list[tuple[int, ...]]:
    return [plan.pixels_shape, plan.shape(plan.row_length), plan.shape(block_size)]


def _weight_transform(builder: ir.IRBuilder, values: Values) -> list[ir.Value]:
    first, second, third = values
    half = constant(FLOAT, 0.5, first.type.count)
    outer = builder.fmul(builder.fadd(first, third), half)
    middle = builder.fmul(second, half)
    return [first, builder.fadd(outer, middle), builder.fsub(outer, middle), third]


def _output_transform(builder: ir.IRBuilder, values: Values) -> list[ir.Value]:
    first, second, third, fourth = values
    return [
        builder.fadd(builder.fadd(first, second), third),
        builder.fsub(builder.fsub(second, third), fourth),
    ]


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
