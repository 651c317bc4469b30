"""Copies rows of an image with zeros around it, so that the loops of a convolution need not ask where an image ends.

The copy is small: it stays in a core's cache, where a padded copy of all images would go through memory.
"""

import contextlib
from collections.abc import Iterator

from llvmlite import ir

from medjax.models.cpu_kernels.emitter import FLOAT, Buffer, Emitter, Index, constant, register_lanes

Padding = tuple[tuple[int, int], tuple[int, int]]


def copy_rows(
    emit: Emitter, images: Buffer, image: Index, top: Index, padding: Padding, rows: Buffer
) -> None:
    """Fill `rows` (row, column, channel) with rows of a padded image, from its row `top` on.

    Negative padding cuts off; what lies behind the right and lower edge is 0.
    """
    _, height, width, channels = images.shape
    num_rows, num_columns, _ = rows.shape
    (above, _), (left, _) = padding
    first = max(-left, 0)  # column of the image
    start = max(left, 0)  # where it goes
    num_copied = max(min(width - first, num_columns - start), 0)
    flat_rows = Buffer(rows.pointer, (0, num_columns * channels), FLOAT)
    flat_images = Buffer(images.pointer, (0, height, width * channels), FLOAT)
    with emit.for_range(0, num_rows) as row:
        source = emit.sum(top, row, -above)
        builder = emit.builder
        is_inside = builder.icmp_unsigned("<", source, ir.Constant(source.type, height))
        _fill(emit, flat_rows, row, 0, start * channels)
        end = start + num_copied
        _fill(emit, flat_rows, row, end * channels, (num_columns - end) * channels)
        with builder.if_else(is_inside) as (inside, outside):
            with inside:
                _copy(
                    emit,
                    (flat_images, (image, source), first * channels),
                    (flat_rows, (row,), start * channels),
                    num_copied * channels,
                )
            with outside:
                _fill(emit, flat_rows, row, start * channels, num_copied * channels)


def _copy(
    emit: Emitter,
    source: tuple[Buffer, tuple[Index, ...], int],
    target: tuple[Buffer, tuple[Index, ...], int],
    length: int,
) -> None:
    if not length:
        return
    with _pieces(emit, length) as (at, lanes):
        (from_, from_place, from_start), (to, to_place, to_start) = source, target
        value = emit.load(from_, *from_place, emit.sum(at, from_start), lanes=lanes)
        emit.store(value, to, *to_place, emit.sum(at, to_start))


def _fill(emit: Emitter, rows: Buffer, row: Index, start: int, length: int) -> None:
    if length:
        with _pieces(emit, length) as (at, lanes):
            emit.store(constant(FLOAT, 0.0, lanes), rows, row, emit.sum(at, start))


@contextlib.contextmanager
def _pieces(emit: Emitter, length: int) -> Iterator[tuple[ir.Value, int]]:
    """Emit a loop over vectors that cover `length` numbers: where each begins, and its lanes."""
    lanes = register_lanes()
    while lanes > length:
        lanes //= 2
    with emit.for_range(0, -(-length // lanes)) as piece:
        # The last vector begins where it still fits.
        yield emit.minimum(emit.sum((piece, lanes)), length - lanes), lanes
