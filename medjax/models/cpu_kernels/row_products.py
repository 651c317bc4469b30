"""Kernel of the products of all rows of a matrix with all rows of another, as the gradient of a dense layer's inputs.

With few rows on the left, neither is worth a transposed copy. Vectors run along the rows.
"""

import itertools
from collections.abc import Sequence

from llvmlite import ir

from medjax.models.cpu_kernels.emitter import Buffer, Emitter, register_lanes
from medjax.models.cpu_kernels.register_tiles import tiles_of_job, zeros

# Rows on the left and on the right whose products are summed together, in the 32 vector registers of AVX-512 and the 16 of AVX2.
_TILE = {16: (4, 6), 8: (2, 4)}


def row_products(
    emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
) -> None:
    """Jobs, left (row, value), right (row, value) -> outputs (left row, right row); a job takes some rows on the right."""
    jobs, left, right, outputs = buffers
    num_left, num_right = left.shape[0], right.shape[0]
    rows, columns = (min(pair) for pair in zip(_TILE[register_lanes()], (num_left, num_right), strict=True))
    num_tiles = -(-num_right // columns)
    with (
        emit.for_range(first, stop) as job,
        tiles_of_job(emit, job, jobs.shape[1], num_tiles) as tile,
        emit.for_range(0, -(-num_left // rows)) as part,
    ):
        # The last ones start where they still fit, and compute some products a second time.
        column = emit.minimum(emit.sum((tile, columns)), num_right - columns)
        row = emit.minimum(emit.sum((part, rows)), num_left - rows)
        _compute_tile(emit, (left, right, outputs), (row, column), (rows, columns))


def _compute_tile(
    emit: Emitter,
    matrices: tuple[Buffer, Buffer, Buffer],
    place: tuple[ir.Value, ir.Value],
    sides: tuple[int, int],
) -> None:
    left, right, outputs = matrices
    row, column = place
    rows, columns = sides
    lanes = register_lanes()
    sums = zeros(emit, rows, columns)
    with emit.for_range(0, -(-left.shape[1] // lanes)) as vector:
        value = emit.sum((vector, lanes))
        factors = [emit.load_within(left, emit.sum(row, down), value, lanes=lanes) for down in range(rows)]
        for across in range(columns):
            other = emit.load_within(right, emit.sum(column, across), value, lanes=lanes)
            for factor, totals in zip(factors, sums, strict=True):
                total = totals[across]
                emit.write(emit.add_product(emit.read(total), factor, other), total)
    for down, across in itertools.product(range(rows), range(columns)):
        total = emit.add_lanes(emit.read(sums[down][across]))
        emit.store(total, outputs, emit.sum(row, down), emit.sum(column, across))
