"""Kernels of convolutions without padding: the outputs, and the gradient of the weights.

Images are float32 as batch, height, width, channel. A kernel keeps a tile of sums in registers while it runs over their
products, so that every number that it loads serves many multiplications.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from llvmlite import ir

from medjax.models.cpu_kernels.emitter import FLOAT, INT, Buffer, Emitter, Index, constant, register_lanes
from medjax.models.cpu_kernels.ffi_call import Kernel

# Of the 32 vector registers of AVX-512 and the 16 of AVX2; the others hold what is multiplied.
_MAX_SUMS = {16: 28, 8: 12}
# Bytes of images and gradients that are gone through again and again: half of a core's second cache.
_CACHED_BYTES = 2**19
# Weights of few channels are gone through by code without loops.
_MAX_UNROLLED = 4


class Window(NamedTuple):
    """How far apart, down and to the right, a convolution's outputs and the taps of its kernel lie in an image."""

    strides: tuple[int, int]
    dilation: tuple[int, int]

    def __str__(self) -> str:
        """Its part of a kernel's name."""
        return "_".join(map(str, (*self.strides, *self.dilation)))


class Tap(NamedTuple):
    """A row of the weights: its number, and the offset in an image of the pixels that it is multiplied by."""

    row: Index
    offset: Index


def block_features(features: int) -> int:
    """Features that are computed together; their blocks cover `features` with least waste."""
    lanes = register_lanes()
    num_vectors = -(-features // lanes)
    return lanes * next(number for number in (2, 3, 1) if num_vectors % number == 0)


@functools.cache
def make_forward(window: Window) -> Kernel:
    """The kernel `images, weights -> outputs`; weights are feature block, kernel height, width, channel, feature."""

    def forward(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        _, weights, outputs = buffers
        _, height, width, _ = outputs.shape
        rows, columns = _choose_tile(height, width, _max_rows(weights.shape[-1]))
        with (
            emit.for_range(first, stop) as image,
            emit.for_range(0, weights.shape[0]) as block,
            emit.for_range(0, -(-height // rows)) as tile_row,
            emit.for_range(0, -(-width // columns)) as tile_column,
        ):
            # The last tile starts where it still fits, and computes some outputs a second time.
            top = emit.minimum(emit.sum((tile_row, rows)), height - rows)
            left = emit.minimum(emit.sum((tile_column, columns)), width - columns)
            _compute_tile(emit, buffers, window, (rows, columns), (image, block, top, left))

    forward.__name__ = f"convolution_{window}"
    return forward


def _compute_tile(
    emit: Emitter,
    buffers: Sequence[Buffer],
    window: Window,
    tile: tuple[int, int],
    position: tuple[ir.Value, ir.Value, ir.Value, ir.Value],
) -> None:
    """Compute a tile of outputs of one image and one block of features."""
    images, weights, outputs = buffers
    image, block, top, left = position
    _, kernel_height, kernel_width, channels, block_size = weights.shape
    row_offset, column_offset = images.shape[2] * channels, channels
    lanes = register_lanes()
    pixels = list(itertools.product(*map(range, tile)))
    sums = _zeros(emit, len(pixels), block_size // lanes)
    base = emit.sum(
        (image, images.shape[1] * row_offset),
        (top, window.strides[0] * row_offset),
        (left, window.strides[1] * column_offset),
    )
    # A row of a kernel without dilation is contiguous, in the weights as in the images.
    along = kernel_width if window.dilation[1] == 1 else 1
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
            for down, right in pixels
        ]
        _add_products(emit, sums, [emit.sum(tap, offset) for offset in offsets], images, factors)
    for (down, right), vectors in zip(pixels, sums, strict=True):
        for vector, total in enumerate(vectors):
            feature = emit.sum((block, block_size), vector * lanes)
            emit.store(emit.read(total), outputs, image, emit.sum(top, down), emit.sum(left, right), feature)


@functools.cache
def make_weight_gradient(window: Window, num_image_groups: int) -> Kernel:
    """The kernel `jobs, images, gradients of the outputs -> gradients of the weights`, one for each job.

    Job after job, `num_image_groups` of them share a block of features; each takes its part of the images.
    """

    def weight_gradient(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        _, images, gradients, sums = buffers
        num_images, height, width, _ = gradients.shape
        lanes, group_size = register_lanes(), -(-num_images // num_image_groups)
        bytes_of_image = 4 * (height * width * sums.shape[-1] + math.prod(images.shape[1:]))
        chunk = min(group_size, max(1, _CACHED_BYTES // bytes_of_image))
        with emit.for_range(first, stop) as job:
            with emit.for_range(0, math.prod(sums.shape[1:]) // lanes) as vector:
                emit.store(constant(FLOAT, 0.0, lanes), sums, job, 0, 0, 0, emit.sum((vector, lanes)))
            block = emit.builder.udiv(job, INT(num_image_groups))
            group = emit.builder.urem(job, INT(num_image_groups))
            group_stop = emit.minimum(emit.sum((group, group_size), group_size), num_images)
            with emit.for_range(0, -(-group_size // chunk)) as part:
                start = emit.sum((group, group_size), (part, chunk))
                end = emit.minimum(emit.sum(start, chunk), group_stop)
                _add_images(emit, buffers[1:], window, (job, block, start, end))

    weight_gradient.__name__ = f"weight_gradient_{window}_{num_image_groups}"
    return weight_gradient


def _add_images(
    emit: Emitter,
    buffers: Sequence[Buffer],
    window: Window,
    position: tuple[ir.Value, ir.Value, ir.Value, ir.Value],
) -> None:
    """Add the products of some images to all weights of a block of features."""
    images, _, sums = buffers
    _, kernel_height, kernel_width, channels, block_size = sums.shape
    most = _max_rows(block_size)
    row_offset, column_offset = images.shape[2] * channels, channels
    along = kernel_width if window.dilation[1] == 1 else 1
    taps = [
        Tap(
            (y * kernel_width + x) * channels + channel,
            y * window.dilation[0] * row_offset + x * window.dilation[1] * column_offset + channel,
        )
        for y, x, channel in itertools.product(range(kernel_height), range(kernel_width), range(channels))
    ]
    if len(taps) <= _MAX_UNROLLED * most:
        for some in _even_parts(taps, most):
            _add_to_weights(emit, buffers, window, position, some, Tap(0, 0))
        return
    parts = _even_parts(taps[: along * channels], most)
    with emit.for_range(0, kernel_height) as y, emit.for_range(0, kernel_width // along) as x:
        first = Tap(
            emit.sum((y, kernel_width * channels), (x, channels)),
            emit.sum((y, window.dilation[0] * row_offset), (x, window.dilation[1] * column_offset)),
        )
        # All parts but the last are of one size.
        with emit.for_range(0, len(parts) - 1) as part:
            moved = Tap(*(emit.sum(start, (part, len(parts[0]))) for start in first))
            _add_to_weights(emit, buffers, window, position, parts[0], moved)
        _add_to_weights(emit, buffers, window, position, parts[-1], first)


def _add_to_weights(
    emit: Emitter,
    buffers: Sequence[Buffer],
    window: Window,
    position: tuple[ir.Value, ir.Value, ir.Value, ir.Value],
    taps: Sequence[Tap],
    first: Tap,
) -> None:
    """Add the products of some images to some rows of the weights, counted from the row `first`."""
    images, gradients, sums = buffers
    job, block, start, end = position
    _, height, width, _ = gradients.shape
    row_offset, column_offset = images.shape[2] * images.shape[3], images.shape[3]
    *rest, block_size = sums.shape
    by_row = Buffer(sums.pointer, (0, math.prod(rest[1:]), block_size), FLOAT)
    lanes = register_lanes()
    vectors = range(0, block_size, lanes)
    totals = _zeros(emit, len(taps), len(vectors))
    with (
        emit.for_range(start, end) as image,
        emit.for_range(0, height) as row,
        emit.for_range(0, width) as column,
    ):
        factors = [
            emit.load(gradients, image, row, column, emit.sum((block, block_size), vector), lanes=lanes)
            for vector in vectors
        ]
        base = emit.sum(
            (image, images.shape[1] * row_offset),
            (row, window.strides[0] * row_offset),
            (column, window.strides[1] * column_offset),
            first.offset,
        )
        _add_products(emit, totals, [emit.sum(base, tap.offset) for tap in taps], images, factors)
    for tap, tap_totals in zip(taps, totals, strict=True):
        for total, vector in zip(tap_totals, vectors, strict=True):
            row = emit.sum(first.row, tap.row)
            before = emit.load(by_row, job, row, vector, lanes=lanes)
            emit.store(emit.builder.fadd(before, emit.read(total)), by_row, job, row, vector)


def _add_products(
    emit: Emitter,
    sums: Sequence[Sequence[ir.Value]],
    offsets: Sequence[ir.Value],
    images: Buffer,
    factors: Sequence[ir.Value],
) -> None:
    """Add to each row of sums the pixel at its offset times the vectors `factors`."""
    flat = Buffer(images.pointer, (0,), FLOAT)
    for offset, totals in zip(offsets, sums, strict=True):
        pixel = emit.broadcast(emit.load(flat, offset), register_lanes())
        for total, factor in zip(totals, factors, strict=True):
            emit.write(emit.add_product(emit.read(total), pixel, factor), total)


def _zeros(emit: Emitter, num_rows: int, num_vectors: int) -> list[list[ir.Value]]:
    zero = constant(FLOAT, 0.0, register_lanes())
    return [[emit.variable(zero) for _ in range(num_vectors)] for _ in range(num_rows)]


def _max_rows(block_size: int) -> int:
    """Rows of sums, of `block_size` features each, that fit the registers."""
    lanes = register_lanes()
    return _MAX_SUMS[lanes] // (block_size // lanes)


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


def _even_parts(taps: Sequence[Tap], most: int) -> list[Sequence[Tap]]:
    """Parts of at most `most` taps, all of one size but the last, which is no longer."""
    size = -(-len(taps) // -(-len(taps) // most))
    return [taps[start : start + size] for start in range(0, len(taps), size)]
