"""Kernel of the products of all columns of a matrix with all columns of another, as the gradient of a dense layer's weights.

Of few rows, which stay in a core's cache. Vectors run along the columns on the right.
"""

from collections.abc import Sequence

from llvmlite import ir

from medjax.models.cpu_kernels.emitter import Buffer, Emitter
from medjax.models.cpu_kernels.register_tiles import (
    add_products,
    block_features,
    block_lanes,
    max_rows,
    tiles_of_job,
    zeros,
)


def column_products(
    emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
) -> None:
    """Jobs, left (row, column), right (row, column) -> outputs (left column, right column); a job takes some on the left."""
    jobs, left, right, outputs = buffers
    num_left, num_right = left.shape[1], right.shape[1]
    across = block_features(num_right)
    down = min(max_rows(across), num_left)
    num_tiles = -(-num_left // down)
    with (
        emit.for_range(first, stop) as job,
        tiles_of_job(emit, job, jobs.shape[1], num_tiles) as tile,
        emit.for_range(0, -(-num_right // across)) as block,
    ):
        # The last one starts where it still fits, and computes some products a second time.
        row = emit.minimum(emit.sum((tile, down)), num_left - down)
        _compute_tile(emit, (left, right, outputs), row, (block, across), down)


def _compute_tile(
    emit: Emitter,
    matrices: tuple[Buffer, Buffer, Buffer],
    row: ir.Value,
    block: tuple[ir.Value, int],
    down: int,
) -> None:
    left, right, outputs = matrices
    lanes = block_lanes(block[1])
    columns = [emit.sum(block, vector) for vector in range(0, block[1], lanes)]
    totals = zeros(emit, down, len(columns), lanes)
    with emit.for_range(0, left.shape[0]) as summand:
        factors = [emit.load_within(right, summand, column, lanes=lanes) for column in columns]
        start = emit.sum((summand, left.shape[1]), row)
        add_products(emit, totals, [emit.sum(start, index) for index in range(down)], left, factors)
    for index, row_totals in enumerate(totals):
        for column, total in zip(columns, row_totals, strict=True):
            emit.store_within(emit.read(total), outputs, emit.sum(row, index), column)
