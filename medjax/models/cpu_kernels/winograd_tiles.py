"""How the kernels of `winograd` go through images: blocks of tiles of 4 by 4 pixels, transformed.

Tiles overlap by two pixels, as each gives 2 by 2 outputs. A block is some images, or some rows of tiles of one image: so
many that its matrix products use each loaded weight often, so few that they stay in a core's cache.
"""

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from llvmlite import ir

from medjax.models.cpu_kernels.borders import Padding, copy_rows
from medjax.models.cpu_kernels.emitter import INT, Buffer, Emitter, register_lanes, vector_lanes

# Of a block.
_MIN_TILES, _MAX_TILES = 28, 112
# So many tiles, which nobody needs, may a matrix product compute behind the last.
_MAX_ROWS = 32

Values = Sequence[ir.Value]
Place = tuple[
    ir.Value, ir.Value, ir.Value, ir.Value
]  # image, row and column among its tiles, number in the block


class Plan(NamedTuple):
    """How the images of a convolution are split among jobs, and those of a job among blocks."""

    padding: Padding
    outputs: tuple[int, int]  # rows and columns
    channels: int
    num_image_groups: int  # a job takes one
    group_size: int  # images
    images: int  # of a block
    rows: int  # of tiles, of a block

    @property
    def sides(self) -> tuple[int, int]:
        """Rows and columns of tiles of an image."""
        down, right = (-(-side // 2) for side in self.outputs)
        return down, right

    @property
    def num_tiles(self) -> int:
        """The most tiles of a block."""
        return self.images * self.rows * self.sides[1]

    @property
    def pixels_shape(self) -> tuple[int, int, int]:
        """Of the rows of an image that a block needs, with zeros around it."""
        return 2 * self.rows + 2, 2 * self.sides[1] + 2, self.channels

    def shape(self, length: int) -> tuple[int, int, int, int]:
        """Of `length` transformed numbers of each tile. Both odd, so that neighbors lie in different parts of a cache."""
        return 4, 4, (self.num_tiles + _MAX_ROWS) | 1, length

    @property
    def row_length(self) -> int:
        """Numbers from one tile's transformed pixels to the next's."""
        return self.channels + register_lanes()

    def __str__(self) -> str:
        """Its part of a kernel's name."""
        numbers = itertools.chain(*self.padding, self.outputs, self[2:])
        return "_".join(str(number).replace("-", "m") for number in numbers)


def make_plan(
    num_images: int,
    channels: int,
    outputs: tuple[int, int],
    padding: Padding,
    num_image_groups: int,
    cached_bytes: int,
) -> Plan:
    """Split a batch whose outputs have so many rows and columns; a block's transformed pixels take about `cached_bytes`."""
    group_size = -(-num_images // num_image_groups)
    down, right = (-(-side // 2) for side in outputs)
    wanted = min(max(cached_bytes // (64 * channels), _MIN_TILES), _MAX_TILES)
    if down * right < wanted:
        images, rows = min(wanted // (down * right), group_size), down
    else:
        images, rows = 1, -(-down // max(1, round(down * right / wanted)))
    return Plan(padding, outputs, channels, num_image_groups, group_size, images, rows)


class Block(NamedTuple):
    """Some images, or some rows of tiles of one image."""

    plan: Plan
    images: tuple[ir.Value, ir.Value]  # the first, and the one to stop before
    rows: tuple[ir.Value, ir.Value]
    num_tiles: ir.Value

    @contextlib.contextmanager
    def for_tiles(self, emit: Emitter) -> Iterator[tuple[ir.Value, ir.Value, ir.Value, ir.Value]]:
        """Emit a loop over tiles: the image, the row and column among its tiles, the number in the block."""
        with (
            emit.for_range(*self.images) as image,
            emit.for_range(*self.rows) as row,
            emit.for_range(0, self.plan.sides[1]) as column,
        ):
            yield image, row, column, self._number(emit, image, row, column)

    def _number(self, emit: Emitter, image: ir.Value, row: ir.Value, column: ir.Value) -> ir.Value:
        columns = self.plan.sides[1]
        return emit.sum(
            (emit.builder.sub(image, self.images[0]), self.plan.rows * columns),
            (emit.builder.sub(row, self.rows[0]), columns),
            column,
        )

    def transform(self, emit: Emitter, images: Buffer, pixels: Buffer, tiles: Buffer) -> None:
        """Write the transformed tiles; `pixels` is memory for the rows of an image that they need."""
        lanes = vector_lanes(self.plan.channels)
        with emit.for_range(*self.images) as image:
            copy_rows(emit, images, image, emit.sum((self.rows[0], 2)), self.plan.padding, pixels)
            with (
                emit.for_range(*self.rows) as row,
                emit.for_range(0, self.plan.sides[1]) as column,
                emit.for_range(0, self.plan.channels // lanes) as vector,
            ):
                top = emit.sum((emit.builder.sub(row, self.rows[0]), 2))
                left, channel = emit.sum((column, 2)), emit.sum((vector, lanes))
                values = [
                    [
                        emit.load(pixels, emit.sum(top, y), emit.sum(left, x), channel, lanes=lanes)
                        for x in range(4)
                    ]
                    for y in range(4)
                ]
                tile = self._number(emit, image, row, column)
                for (y, x), value in transform(values, functools.partial(pixel_transform, emit.builder)):
                    emit.store(value, tiles, y, x, tile, channel)


@contextlib.contextmanager
def for_blocks(emit: Emitter, plan: Plan, num_images: int, job: ir.Value) -> Iterator[Block]:
    """Emit a loop over the blocks of a job's images."""
    group = emit.builder.urem(job, INT(plan.num_image_groups))
    start = emit.sum((group, plan.group_size))
    stop = emit.minimum(emit.sum(start, plan.group_size), num_images)
    down, right = plan.sides
    with (
        emit.for_range(0, -(-plan.group_size // plan.images)) as part,
        emit.for_range(0, -(-down // plan.rows)) as band,
    ):
        first = emit.sum(start, (part, plan.images))
        end = emit.minimum(emit.sum(first, plan.images), stop)
        top = emit.sum((band, plan.rows))
        bottom = emit.minimum(emit.sum(top, plan.rows), down)
        num_rows = emit.sum(
            (emit.builder.sub(end, first), plan.rows), emit.builder.sub(bottom, top), -plan.rows
        )
        yield Block(plan, (first, end), (top, bottom), emit.sum((num_rows, right)))


def scratch_size(plan: Plan, block_size: int) -> int:
    """Numbers that a job needs for pixels, transformed pixels, and products or transformed gradients."""
    return sum(map(math.prod, _scratch_shapes(plan, block_size)))


def make_scratch(emit: Emitter, scratch: Buffer, job: ir.Value, plan: Plan, block_size: int) -> list[Buffer]:
    """A job's memory for pixels, transformed pixels, and products or transformed gradients."""
    shapes = _scratch_shapes(plan, block_size)
    starts = [0, *itertools.accumulate(map(math.prod, shapes))]
    return [emit.part(scratch, job, start, shape=shape) for start, shape in zip(starts, shapes, strict=False)]


def _scratch_shapes(plan: Plan, block_size: int) -> list[tuple[int, ...]]:
    return [plan.pixels_shape, plan.shape(plan.row_length), plan.shape(block_size)]


def is_inside(
    emit: Emitter, at: tuple[ir.Value, ir.Value], offsets: tuple[int, int], sides: tuple[int, int]
) -> ir.Value | None:
    """Whether a pixel lies inside the outputs; None where that is certain."""
    found = None
    for index, offset, side in zip(at, offsets, sides, strict=True):
        if offset and side % 2:
            within = emit.builder.icmp_signed("<", index, INT(side))
            found = within if found is None else emit.builder.and_(found, within)
    return found


def transform(
    rows: Sequence[Values], along: Callable[[Values], list[ir.Value]]
) -> Iterator[tuple[tuple[int, int], ir.Value]]:
    """Transform a small matrix along both axes; the elements with their row and column."""
    columns = [along(column) for column in zip(*rows, strict=True)]
    for y, row in enumerate(zip(*columns, strict=True)):
        for x, value in enumerate(along(row)):
            yield (y, x), value


def pixel_transform(builder: ir.IRBuilder, values: Values) -> list[ir.Value]:
    """Four pixels in a line, transformed."""
    first, second, third, fourth = values
    return [
        builder.fsub(first, third),
        builder.fadd(second, third),
        builder.fsub(third, second),
        builder.fsub(second, fourth),
    ]


def output_transform(builder: ir.IRBuilder, values: Values) -> list[ir.Value]:
    """Two outputs, from four products in a line."""
    first, second, third, fourth = values
    return [
        builder.fadd(builder.fadd(first, second), third),
        builder.fsub(builder.fsub(second, third), fourth),
    ]
