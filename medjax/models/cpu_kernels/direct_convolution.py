"""Kernel of the outputs of convolutions, with or without groups.

Images are float32 as batch, height, width, channel.
"""

import contextlib
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from llvmlite import ir

from medjax.models.cpu_kernels.borders import copy_rows
from medjax.models.cpu_kernels.emitter import Buffer, Emitter
from medjax.models.cpu_kernels.epilogues import Epilogue, Operands, split_operands
from medjax.models.cpu_kernels.ffi_call import Kernel
from medjax.models.cpu_kernels.register_tiles import (
    FeatureBlock,
    Window,
    add_products,
    block_lanes,
    by_group,
    find_block,
    max_rows,
    zeros,
)

# Padded rows of an image that each block of features goes through: a quarter of a core's second cache.
_CACHED_ROWS_BYTES = 2**18


class Bands(NamedTuple):
    """How the outputs of an image are computed: so many rows at a time, in tiles."""

    rows: int
    tile: tuple[int, int]
    pixels_shape: tuple[int, int, int]  # of the padded rows of the image that they need


def make_bands(
    window: Window,
    kernel_sides: tuple[int, ...],
    images: tuple[int, ...],
    outputs: tuple[int, ...],
    block: int,
) -> Bands:
    """Bands whose padded rows stay in a core's cache; of images without padding, one band."""
    _, _, width, channels = images
    _, height, num_columns, _ = outputs
    tile = _choose_tile(height, num_columns, max_rows(block))
    rows, columns = height, window.padded_width(width)
    if window.is_padded:
        bytes_of_row = 4 * columns * channels * window.strides[0]
        num_tiles = max(1, _CACHED_ROWS_BYTES // (bytes_of_row * tile[0]))
        num_rows = -(-height // tile[0])
        num_bands = -(-num_rows // num_tiles)
        rows = min(-(-num_rows // num_bands) * tile[0], height)
    return Bands(rows, tile, (window.num_rows(rows, kernel_sides[0]), columns, channels))


@contextlib.contextmanager
def for_bands(
    emit: Emitter,
    window: Window,
    bands: Bands,
    buffers: tuple[Buffer, Sequence[Buffer], Buffer],
    place: tuple[ir.Value, ir.Value],
) -> Iterator[tuple[Buffer, list[Buffer]]]:
    """Emit a loop over the bands of an image, given images, arrays like the outputs, and scratch: their rows in the band."""
    images, outputs, scratch = buffers
    image, task = place
    height = outputs[0].shape[1]
    with emit.for_range(0, -(-height // bands.rows)) as band:
        # The last band starts where it still fits, and computes some outputs a second time.
        top = emit.minimum(emit.sum((band, bands.rows)), height - bands.rows)
        pixel_row = emit.sum((top, window.strides[0]))
        pixels = emit.part(images, image, pixel_row)
        if window.is_padded:
            pixels = emit.part(scratch, task, shape=bands.pixels_shape)
            copy_rows(emit, images, image, pixel_row, window.padding, pixels)
        yield pixels, [emit.part(array, image, top) for array in outputs]


@functools.cache
def make_forward(window: Window, epilogue: Epilogue) -> Kernel:
    """The kernel `images, arrays, weights, rows -> outputs, scratch`; arrays and rows are what the epilogue reads.

    Weights are feature block, kernel height, width, channel, feature; a group's blocks follow one another. Scratch is the
    memory for a task's padded rows, see `make_bands`.
    """

    def forward(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        images, *others, outputs, scratch = buffers
        arrays, weights, rows = split_operands(epilogue, others)
        rows = [by_group(row, window.groups) for row in rows]
        bands = make_bands(window, weights.shape[1:3], images.shape, outputs.shape, weights.shape[-1])
        width = outputs.shape[2]
        tile_rows, columns = bands.tile
        with (
            emit.for_range(first, stop) as image,
            for_bands(emit, window, bands, (images, [outputs, *arrays], scratch), (image, task)) as (
                pixels,
                parts,
            ),
            emit.for_range(0, weights.shape[0]) as block,
            emit.for_range(0, -(-bands.rows // tile_rows)) as tile_row,
            emit.for_range(0, -(-width // columns)) as tile_column,
        ):
            # The last tile starts where it still fits, and computes some outputs a second time.
            top = emit.minimum(emit.sum((tile_row, tile_rows)), bands.rows - tile_rows)
            left = emit.minimum(emit.sum((tile_column, columns)), width - columns)
            band, *bands_of_arrays = (by_group(part, window.groups) for part in parts)
            sums, features = _compute_tile(emit, (pixels, weights), window, bands.tile, (block, top, left))
            operands = Operands(bands_of_arrays, rows)
            for (down, right), vectors in sums.items():
                for total, feature in zip(vectors, features.vectors(emit), strict=True):
                    at = emit.sum(top, down), emit.sum(left, right), features.group, feature
                    emit.store_within(operands.finish(emit, epilogue, emit.read(total), at), band, *at)

    forward.__name__ = f"convolution_{window}{epilogue}"
    return forward


def _compute_tile(
    emit: Emitter,
    arrays: tuple[Buffer, Buffer],
    window: Window,
    tile: tuple[int, int],
    position: tuple[ir.Value, ir.Value, ir.Value],
) -> tuple[dict[tuple[int, int], list[ir.Value]], FeatureBlock]:
    """A tile of outputs by its row and column, given rows of an image, for one block of features."""
    rows, weights = arrays
    block, top, left = position
    num_blocks, kernel_height, kernel_width, channels, block_size = weights.shape
    row_offset, column_offset = rows.shape[1] * rows.shape[2], rows.shape[2]
    lanes = block_lanes(block_size)
    features = find_block(emit, block, num_blocks // window.groups, block_size)
    places = list(itertools.product(range(tile[0]), range(tile[1])))
    sums = zeros(emit, len(places), block_size // lanes, lanes)
    base = emit.sum(
        (top, window.strides[0] * row_offset),
        (left, window.strides[1] * column_offset),
        (features.group, channels),
    )
    # A row of a kernel without dilation is contiguous, in the weights as in an image without groups.
    along = kernel_width if window.dilation[1] == 1 == window.groups else 1
    with (
        emit.for_range(0, kernel_height) as y,
        emit.for_range(0, kernel_width // along) as x,
        emit.for_range(0, along * channels) as channel,
    ):
        factors = [
            emit.load(weights, block, y, x, channel, vector * lanes, lanes=lanes)
            for vector in range(block_size // lanes)
        ]
        tap = emit.sum(
            base,
            (y, window.dilation[0] * row_offset),
            (x, window.dilation[1] * column_offset),
            channel,
        )
        offsets = [
            down * window.strides[0] * row_offset + right * window.strides[1] * column_offset
            for down, right in places
        ]
        add_products(emit, sums, [emit.sum(tap, offset) for offset in offsets], rows, factors)
    return dict(zip(places, sums, strict=True)), features


def _choose_tile(height: int, width: int, max_pixels: int) -> tuple[int, int]:
    """Rows and columns of tiles of at most `max_pixels` that cover all outputs with least waste."""

    def cost(tile: tuple[int, int]) -> tuple[int, int]:
        rows, columns = tile
        # A step of a tile loads its weights too, which takes about as long as two pixels.
        return -(-height // rows) * -(-width // columns) * (rows * columns + 2), -columns

    return min(
        (
            (rows, columns)
            for columns in range(1, min(width, max_pixels) + 1)
            for rows in range(1, min(height, max_pixels // columns) + 1)
        ),
        key=cost,
    )
