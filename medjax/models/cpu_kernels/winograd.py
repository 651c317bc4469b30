"""Kernels of the outputs of 3 by 3 convolutions that take 16 multiplications for 2 by 2 outputs, in place of 36.

Winograd's F(2 x 2, 3 x 3): each of the 16 elements of a transformed tile is one of 16 matrix products over channels. Source:
Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (https://arxiv.org/abs/1509.09308).
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence

from llvmlite import ir

from medjax.models.cpu_kernels.emitter import FLOAT, INT, Buffer, Emitter, constant, register_lanes
from medjax.models.cpu_kernels.epilogues import Epilogue, Operands, split_operands
from medjax.models.cpu_kernels.ffi_call import Kernel
from medjax.models.cpu_kernels.register_tiles import add_products, max_rows, zeros
from medjax.models.cpu_kernels.winograd_tiles import (
    Block,
    Place,
    Plan,
    Values,
    for_blocks,
    is_inside,
    make_scratch,
    output_transform,
    transform,
)


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
def make_forward(plan: Plan, epilogue: Epilogue) -> Kernel:
    """The kernel `jobs, images, arrays, weights, rows -> outputs, scratch`, with weights as `transform_weights` writes them.

    Arrays and rows are what the epilogue reads.

    Job after job, `plan.num_image_groups` of them share a part of the features; each takes its part of the images.
    """

    def forward(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        _, images, *others, outputs, scratch = buffers
        arrays, weights, rows = split_operands(epilogue, others)
        _, blocks_of_part, *_, block_size = weights.shape
        with emit.for_range(first, stop) as job:
            pixels, tiles, products = make_scratch(emit, scratch, job, plan, block_size)
            part = emit.builder.udiv(job, INT(plan.num_image_groups))
            with for_blocks(emit, plan, images.shape[0], job) as block:
                block.transform(emit, images, pixels, tiles)
                with emit.for_range(0, blocks_of_part) as features:
                    with emit.for_range(0, 4) as y, emit.for_range(0, 4) as x:
                        _multiply_tiles(emit, block, (tiles, weights, products), (part, features, y, x))
                    first_feature = emit.sum((part, blocks_of_part * block_size), (features, block_size))
                    with block.for_tiles(emit) as place:
                        for value, at in _compute_outputs(emit, products, outputs, place, first_feature):
                            value = Operands(arrays, rows).finish(emit, epilogue, value, at)
                            emit.store_within(value, outputs, *at)

    forward.__name__ = f"winograd_{plan}{epilogue}"
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


def _compute_outputs(
    emit: Emitter, products: Buffer, outputs: Buffer, place: Place, first_feature: ir.Value
) -> Iterator[tuple[ir.Value, tuple[ir.Value, ...]]]:
    """Transform the products of a tile to 2 by 2 outputs, each with its place; those beyond the last row or column are left out."""
    image, row, column, tile = place
    _, height, width, _ = outputs.shape
    for vector in range(0, products.shape[-1], register_lanes()):
        values = [
            [emit.load(products, y, x, tile, vector, lanes=register_lanes()) for x in range(4)]
            for y in range(4)
        ]
        for (y, x), value in transform(values, functools.partial(output_transform, emit.builder)):
            at = emit.sum((row, 2), y), emit.sum((column, 2), x)
            inside = is_inside(emit, at, (y, x), (height, width))
            with contextlib.nullcontext() if inside is None else emit.when(inside):
                yield value, (image, *at, emit.sum(first_feature, vector))


def _weight_transform(builder: ir.IRBuilder, values: Values) -> list[ir.Value]:
    first, second, third = values
    half = constant(FLOAT, 0.5, first.type.count)
    outer = builder.fmul(builder.fadd(first, third), half)
    middle = builder.fmul(second, half)
    return [first, builder.fadd(outer, middle), builder.fsub(outer, middle), third]
