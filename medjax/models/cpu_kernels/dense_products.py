"""Kernel of the product of two matrices, as a dense layer computes it: of few rows, which all stay in a core's cache.

Vectors run along the columns on the right.
"""

from collections.abc import Sequence

from llvmlite import ir

from medjax.models.cpu_kernels.emitter import INT, Buffer, Emitter
from medjax.models.cpu_kernels.register_tiles import (
    add_products,
    block_features,
    block_lanes,
    max_rows,
    tiles_of_job,
    zeros,
)


def dense_products(
    emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
) -> None:
    """Jobs, left (row, value), right (value, column) -> outputs (row, column); a job takes some columns on the right."""
    jobs, left, right, outputs = buffers
    (num_rows, num_values), num_columns = left.shape, right.shape[1]
    across = block_features(num_columns)
    num_parts = -(-num_rows // max_rows(across))
    down = -(-num_rows // num_parts)
    lanes = block_lanes(across)
    num_tiles = -(-num_columns // across) * num_parts
    with emit.for_range(first, stop) as job, tiles_of_job(emit, job, jobs.shape[1], num_tiles) as tile:
        block, part = emit.builder.udiv(tile, INT(num_parts)), emit.builder.urem(tile, INT(num_parts))
        # The last part starts where it still fits, and computes some products a second time.
        row = emit.minimum(emit.sum((part, down)), num_rows - down)
        columns = [emit.sum((block, across), vector) for vector in range(0, across, lanes)]
        totals = zeros(emit, down, len(columns), lanes)
        with emit.for_range(0, num_values) as value:
            factors = [emit.load_within(right, value, column, lanes=lanes) for column in columns]
            offsets = [emit.sum((emit.sum(row, index), num_values), value) for index in range(down)]
            add_products(emit, totals, offsets, left, factors)
        for index, row_totals in enumerate(totals):
            for column, total in zip(columns, row_totals, strict=True):
                emit.store_within(emit.read(total), outputs, emit.sum(row, index), column)
