"""Copies rows of an image with a border around it, so that the loops of a convolution need not ask where an image ends.

The copy is small: it stays in a core's cache, where a padded copy of all images would go through memory.
"""

import contextlib
from collections.abc import Iterator

from llvmlite import ir

from medjax.models.cpu_kernels.emitter import FLOAT, Buffer, Emitter, Index, constant, register_lanes

Padding = tuple[tuple[int, int], tuple[int, int]]


def copy_rows(
    emit: Emitter,
    images: Buffer,
    image: Index,
    top: Index,
    padding: Padding,
    rows: Buffer,
    border: float = 0.0,
) -> None:
    """Fill `rows` (row, column, channel) with rows of an image that is padded with `border`, from its row `top` on.

    `rows` may have more channels than the image; those keep what they were. Negative padding cuts off; what lies
    behind the right and lower edge is `border`.
    """
    _, height, width, channels = images.shape
    num_rows, num_columns, pitch = rows.shape
    (above, _), (left, _) = padding
    first = max(-left, 0)  # column of the image
    start = max(left, 0)  # where it goes
    num_copied = max(min(width - first, num_columns - start), 0)
    end = start + num_copied
    builder = emit.builder
    with emit.for_range(0, num_rows) as row:
        source = emit.sum(top, row, -above)
        target = emit.part(rows, row, 0)
        _fill(emit, target, 0, start, border)
        _fill(emit, target, end, num_columns - end, border)
        is_inside = builder.icmp_unsigned("<", source, ir.Constant(source.type, height))
        with builder.if_else(is_inside) as (inside, outside):
            with inside:
                pixels = emit.part(images, image, source, first)
                if pitch == channels:
                    copy_run(emit, pixels, emit.part(target, start), num_copied * channels)
                else:
                    with emit.for_range(0, num_copied) as column:
                        place = emit.part(target, emit.sum(column, start))
                        copy_run(emit, emit.part(pixels, column), place, channels)
            with outside:
                _fill(emit, target, start, num_copied, border)


def copy_run(emit: Emitter, source: Buffer, target: Buffer, length: int) -> None:
    """Copy so many numbers."""
    if length:
        with pieces(emit, length) as (at, lanes):
            emit.store(emit.load(_flat(source), at, lanes=lanes), _flat(target), at)


def _fill(emit: Emitter, row: Buffer, start: int, num_columns: int, value: float) -> None:
    """Fill so many columns with a value."""
    if num_columns:
        pixels = _flat(emit.part(row, start))
        with pieces(emit, num_columns * row.shape[-1]) as (at, lanes):
            emit.store(constant(FLOAT, value, lanes), pixels, at)


def _flat(buffer: Buffer) -> Buffer:
    return Buffer(buffer.pointer, (0,), buffer.element_type)


@contextlib.contextmanager
def pieces(emit: Emitter, length: int) -> Iterator[tuple[ir.Value, int]]:
    """Emit a loop over vectors that cover `length` numbers: where each begins, and its lanes."""
    lanes = register_lanes()
    while lanes > length:
        lanes //= 2
    with emit.for_range(0, -(-length // lanes)) as piece:
        # The last vector begins where it still fits.
        yield emit.minimum(emit.sum((piece, lanes)), length - lanes), lanes
