"""Kernels of sums over all axes but the last, as batch statistics and their gradients need them, and over tasks."""

import functools
from collections.abc import Sequence

from llvmlite import ir

from medjax.models.cpu_kernels.emitter import FLOAT, Buffer, Emitter, constant, register_lanes, vector_lanes
from medjax.models.cpu_kernels.expressions import Term, describe, emit_term
from medjax.models.cpu_kernels.ffi_call import Kernel

# An addition takes as long as 8 can be started.
_MAX_SUMS = 8


@functools.cache
def make_column_sums(term: Term, num_arrays: int) -> Kernel:
    """The kernel `arrays, rows -> sums`: of what `term` computes from them, over images and positions, one for each task.

    Arrays are batch, position, channel; rows are channel.
    """

    def column_sums(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        *inputs, sums = buffers
        arrays, rows = inputs[:num_arrays], inputs[num_arrays:]
        _, num_positions, channels = arrays[0].shape
        lanes = vector_lanes(channels)
        num_vectors = next(number for number in (4, 2, 1) if channels // lanes % number == 0)
        num_rows = next(number for number in (_MAX_SUMS // num_vectors, 2, 1) if num_positions % number == 0)
        zero = constant(FLOAT, 0.0, lanes)
        with emit.for_range(0, channels // (lanes * num_vectors)) as block:
            vectors = [
                emit.sum((block, lanes * num_vectors), vector * lanes) for vector in range(num_vectors)
            ]
            row_values = [[emit.load(row, vector, lanes=lanes) for row in rows] for vector in vectors]
            totals = [[emit.variable(zero) for _ in vectors] for _ in range(num_rows)]
            with emit.for_range(first, stop) as image, emit.for_range(0, num_positions // num_rows) as group:
                for row, row_totals in enumerate(totals):
                    position = emit.sum((group, num_rows), row)
                    for vector, of_rows, total in zip(vectors, row_values, row_totals, strict=True):
                        values = [emit.load(array, image, position, vector, lanes=lanes) for array in arrays]
                        value = emit_term(emit, term, values, of_rows)
                        emit.write(emit.builder.fadd(emit.read(total), value), total)
            for index, vector in enumerate(vectors):
                total = emit.read(totals[0][index])
                for row_totals in totals[1:]:
                    total = emit.builder.fadd(total, emit.read(row_totals[index]))
                emit.store(total, sums, task, vector)

    if term != ("array", 0):
        column_sums.__name__ += f"_of_{describe(term)}"
    return column_sums


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
