"""Kernels of sums over positions: of an image, of all images as batch statistics and their gradients need them; and over tasks."""

import functools
from collections.abc import Callable, Sequence

from llvmlite import ir

from medjax.models.cpu_kernels.emitter import FLOAT, Buffer, Emitter, Index, constant, register_lanes
from medjax.models.cpu_kernels.expressions import Term, describe, emit_term
from medjax.models.cpu_kernels.ffi_call import Kernel

# An addition takes as long as 8 can be started.
_MAX_SUMS, _MAX_VECTORS = 8, 4


@functools.cache
def make_column_sums(term: Term, num_arrays: int, *, of_each_image: bool) -> Kernel:
    """The kernel `arrays, rows -> sums`: of what `term` computes from them over positions, of each image or of each task.

    Arrays are batch, position, channel; rows are channel.
    """

    def column_sums(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        *inputs, sums = buffers
        operands = inputs[:num_arrays], inputs[num_arrays:]

        def write_sums(images: tuple[ir.Value, ir.Value], at: ir.Value) -> None:
            def write_block(channels: Sequence[Index], lanes: int) -> None:
                totals = _sum_block(emit, term, operands, images, channels, lanes)
                for channel, total in zip(channels, totals, strict=True):
                    emit.store(total, sums, at, channel)

            _for_blocks(emit, sums.shape[-1], write_block)

        if of_each_image:
            with emit.for_range(first, stop) as image:
                write_sums((image, emit.sum(image, 1)), image)
        else:
            write_sums((first, stop), task)

    if of_each_image:
        column_sums.__name__ += "_of_images"
    if term != ("array", 0):
        column_sums.__name__ += f"_of_{describe(term)}"
    return column_sums


def _for_blocks(
    emit: Emitter, num_channels: int, write_block: Callable[[Sequence[Index], int], None]
) -> None:
    """Have code written for blocks of vectors that cover all channels, given the first channel of each and their lanes."""
    lanes = register_lanes()
    while lanes > num_channels:
        lanes //= 2
    size = _MAX_VECTORS * lanes
    with emit.for_range(0, num_channels // size) as block:
        write_block([emit.sum((block, size), start) for start in range(0, size, lanes)], lanes)
    # The last vector begins where it still fits.
    rest = [
        min(start, num_channels - lanes) for start in range(num_channels // size * size, num_channels, lanes)
    ]
    if rest:
        write_block(rest, lanes)


def _sum_block(
    emit: Emitter,
    term: Term,
    operands: tuple[Sequence[Buffer], Sequence[Buffer]],
    images: tuple[ir.Value, ir.Value],
    channels: Sequence[Index],
    lanes: int,
) -> list[ir.Value]:
    """The sums over some images of vectors of channels."""
    arrays, rows = operands
    num_positions = arrays[0].shape[1]
    num_sums = _MAX_SUMS // len(channels)  # of each vector, which take positions in turn
    row_values = [[emit.load(row, channel, lanes=lanes) for row in rows] for channel in channels]
    zero = constant(FLOAT, 0.0, lanes)
    totals = [[emit.variable(zero) for _ in channels] for _ in range(num_sums)]

    def add(image: Index, position: Index, position_totals: Sequence[ir.Value]) -> None:
        for channel, of_rows, total in zip(channels, row_values, position_totals, strict=True):
            values = [emit.load(array, image, position, channel, lanes=lanes) for array in arrays]
            emit.write(emit.builder.fadd(emit.read(total), emit_term(emit, term, values, of_rows)), total)

    with emit.for_range(*images) as image:
        with emit.for_range(0, num_positions // num_sums) as group:
            for number, position_totals in enumerate(totals):
                add(image, emit.sum((group, num_sums), number), position_totals)
        for position in range(num_positions // num_sums * num_sums, num_positions):
            add(image, position, totals[position % num_sums])
    return [
        functools.reduce(emit.builder.fadd, map(emit.read, vector_totals))
        for vector_totals in zip(*totals, strict=True)
    ]


def task_sums(
    emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
) -> None:
    """Parts, numbers as task, part, number -> sums over tasks as part, number."""
    _, numbers, sums = buffers
    num_tasks, _, length = numbers.shape
    lanes = register_lanes()
    with emit.for_range(first, stop) as part, emit.for_range(0, -(-length // lanes)) as vector:
        at = part, emit.sum((vector, lanes))
        total = emit.load_within(numbers, 0, *at, lanes=lanes)
        for index in range(1, num_tasks):
            total = emit.builder.fadd(total, emit.load_within(numbers, index, *at, lanes=lanes))
        emit.store_within(total, sums, *at)
