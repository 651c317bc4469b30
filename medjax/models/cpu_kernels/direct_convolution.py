"""Kernels of convolutions, with or without groups: the outputs, and the gradient of the weights.

Images are float32 as batch, height, width, channel. A kernel keeps a tile of sums in registers while it runs over their
products, so that every number that it loads serves many multiplications.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from llvmlite import ir

from medjax.models.cpu_kernels.borders import Padding, copy_rows
from medjax.models.cpu_kernels.emitter import FLOAT, INT, Buffer, Emitter, Index, constant, register_lanes
from medjax.models.cpu_kernels.ffi_call import Kernel

# Of the 32 vector registers of AVX-512 and the 16 of AVX2; the others hold what is multiplied.
_MAX_SUMS = {16: 28, 8: 12}
# Bytes of images and gradients that are gone through again and again: half of a core's second cache.
_CACHED_BYTES = 2**19
# Padded rows of an image that each block of features goes through: a quarter of it.
_CACHED_ROWS_BYTES = 2**18
# Weights of few channels are gone through by code without loops.
_MAX_UNROLLED = 4


Item = TypeVar("Item")


class Window(NamedTuple):
    """Where the taps of a convolution's kernel lie in an image, and which channels they meet."""

    strides: tuple[int, int]
    dilation: tuple[int, int]
    padding: Padding = ((0, 0), (0, 0))
    groups: int = 1

    @property
    def is_padded(self) -> bool:
        """Whether the kernel reaches over the edge of an image, or does not reach all of it."""
        return self.padding != ((0, 0), (0, 0))

    def num_rows(self, outputs: int, taps: int) -> int:
        """Rows of an image that so many rows of outputs need, of a kernel with so many rows."""
        return (outputs - 1) * self.strides[0] + (taps - 1) * self.dilation[0] + 1

    def padded_width(self, width: int) -> int:
        """Columns of a padded image."""
        return width + sum(self.padding[1])

    def __str__(self) -> str:
        """Its part of a kernel's name."""
        numbers = (*self.strides, *self.dilation, *itertools.chain(*self.padding), self.groups)
        return "_".join(str(number).replace("-", "m") for number in numbers)


class FeatureBlock(NamedTuple):
    """Features of one group that are computed together."""

    group: ir.Value
    first: ir.Value  # in the group
    size: int

    def vectors(self, emit: Emitter) -> list[ir.Value]:
        """The first feature of each vector."""
        return [emit.sum(self.first, vector) for vector in range(0, self.size, register_lanes())]


def find_block(emit: Emitter, number: Index, blocks_of_group: int, size: int) -> FeatureBlock:
    """A block by its number; the blocks of a group follow one another."""
    number = emit.sum(number)
    first = emit.sum((emit.builder.urem(number, INT(blocks_of_group)), size))
    return FeatureBlock(emit.builder.udiv(number, INT(blocks_of_group)), first, size)


def by_group(buffer: Buffer, groups: int) -> Buffer:
    """The same array with its features as group, feature of the group."""
    *sides, features = buffer.shape
    return Buffer(buffer.pointer, (*sides, groups, features // groups), buffer.element_type)


class Tap(NamedTuple):
    """A row of the weights: its number, and the offset in an image of the pixels that it is multiplied by."""

    row: Index
    offset: Index


def block_features(features: int) -> int:
    """Features that are computed together; their blocks cover `features` with least waste."""
    lanes = register_lanes()
    num_vectors = -(-features // lanes)
    return lanes * next(number for number in (2, 3, 1) if num_vectors % number == 0)


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


@functools.cache
def make_forward(window: Window) -> Kernel:
    """The kernel `images, weights -> outputs, scratch`.

    Weights are feature block, kernel height, width, channel, feature; a group's blocks follow one another. Scratch is the
    memory for a task's padded rows, see `make_bands`.
    """

    def forward(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        images, weights, outputs, scratch = buffers
        bands = make_bands(window, weights.shape[1:3], images.shape, outputs.shape, weights.shape[-1])
        height, width = outputs.shape[1:3]
        rows, columns = bands.tile
        with emit.for_range(first, stop) as image, emit.for_range(0, -(-height // bands.rows)) as band:
            # The last band and the last tile start where they still fit, and compute some outputs a second time.
            band_top = emit.minimum(emit.sum((band, bands.rows)), height - bands.rows)
            pixel_row = emit.sum((band_top, window.strides[0]))
            pixels = emit.part(images, image, pixel_row)
            if window.is_padded:
                pixels = emit.part(scratch, task, shape=bands.pixels_shape)
                copy_rows(emit, images, image, pixel_row, window.padding, pixels)
            with (
                emit.for_range(0, weights.shape[0]) as block,
                emit.for_range(0, -(-bands.rows // rows)) as tile_row,
                emit.for_range(0, -(-width // columns)) as tile_column,
            ):
                top = emit.minimum(emit.sum((tile_row, rows)), bands.rows - rows)
                left = emit.minimum(emit.sum((tile_column, columns)), width - columns)
                arrays = pixels, weights, emit.part(outputs, image, band_top)
                _compute_tile(emit, arrays, window, bands.tile, (block, top, left))

    forward.__name__ = f"convolution_{window}"
    return forward


def _compute_tile(
    emit: Emitter,
    arrays: tuple[Buffer, Buffer, Buffer],
    window: Window,
    tile: tuple[int, int],
    position: tuple[ir.Value, ir.Value, ir.Value],
) -> None:
    """Compute a tile of outputs, given rows of an image, for one block of features."""
    rows, weights, outputs = arrays
    block, top, left = position
    num_blocks, kernel_height, kernel_width, channels, block_size = weights.shape
    row_offset, column_offset = rows.shape[1] * rows.shape[2], rows.shape[2]
    lanes = register_lanes()
    features = find_block(emit, block, num_blocks // window.groups, block_size)
    places = list(itertools.product(*map(range, tile)))
    sums = zeros(emit, len(places), block_size // lanes)
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
    for (down, right), vectors in zip(places, sums, strict=True):
        for total, feature in zip(vectors, features.vectors(emit), strict=True):
            at = emit.sum(top, down), emit.sum(left, right), features.group, feature
            emit.store_within(emit.read(total), by_group(outputs, window.groups), *at)


class Chunks(NamedTuple):
    """How a job of the weights' gradient goes through its images: so many at a time."""

    images: int
    pixels_shape: tuple[int, int, int]  # of a padded image
    group_size: int  # images of a job

    @property
    def scratch_size(self) -> int:
        """Numbers that a job needs for padded images."""
        return self.images * math.prod(self.pixels_shape)


def make_chunks(
    window: Window,
    kernel_height: int,
    images: tuple[int, ...],
    gradients: tuple[int, ...],
    num_image_groups: int,
) -> Chunks:
    """Chunks whose pixels and gradients stay in a core's cache."""
    num_images, _, width, channels = images
    _, *sides, features = gradients
    pitch = channels + (register_lanes() if _lie_together(channels) else 0)
    shape = window.num_rows(sides[0], kernel_height), window.padded_width(width), pitch
    group_size = -(-num_images // num_image_groups)
    bytes_of_image = 4 * (math.prod(sides) * block_features(features // window.groups) + math.prod(shape))
    return Chunks(min(group_size, max(1, _CACHED_BYTES // bytes_of_image)), shape, group_size)


def copies_pixels(window: Window, channels: int) -> bool:
    """Whether the gradient of the weights copies an image's pixels first: for zeros around it, or to move them apart."""
    return window.is_padded or _lie_together(channels)


def _lie_together(channels: int) -> bool:
    """Whether neighboring pixels would take each other's place in a core's first cache, measured at 512 channels."""
    return channels % 512 == 0


@functools.cache
def make_weight_gradient(window: Window, num_image_groups: int) -> Kernel:
    """The kernel `jobs, images, gradients of the outputs -> gradients of the weights, scratch`, of each group of images.

    Job after job, `num_image_groups` of them share a block of features; each takes its part of the images. Scratch is
    the memory for its padded images, see `make_chunks`.
    """

    def weight_gradient(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        _, images, gradients, weights, scratch = buffers
        chunks = make_chunks(window, weights.shape[1], images.shape, gradients.shape, num_image_groups)
        features_of_group = weights.shape[-1] // window.groups
        block_size = block_features(features_of_group)
        blocks_of_group = -(-features_of_group // block_size)
        with emit.for_range(first, stop) as job:
            block = emit.builder.udiv(job, INT(num_image_groups))
            group = emit.builder.urem(job, INT(num_image_groups))
            features = find_block(emit, block, blocks_of_group, block_size)
            part_of_weights = by_group(emit.part(weights, group, 0), window.groups)
            _fill_with_zeros(emit, part_of_weights, features)
            group_start = emit.sum((group, chunks.group_size))
            group_stop = emit.minimum(emit.sum(group_start, chunks.group_size), images.shape[0])
            with emit.for_range(0, -(-chunks.group_size // chunks.images)) as part:
                start = emit.sum(group_start, (part, chunks.images))
                end = emit.minimum(emit.sum(start, chunks.images), group_stop)
                pixels = emit.part(images, start)
                if copies_pixels(window, images.shape[-1]):
                    pixels = emit.part(scratch, job, shape=(chunks.images, *chunks.pixels_shape))
                    with emit.for_range(start, end) as image:
                        rows = emit.part(pixels, emit.builder.sub(image, start), 0)
                        copy_rows(emit, images, image, 0, window.padding, rows)
                arrays = pixels, by_group(emit.part(gradients, start), window.groups), part_of_weights
                _add_images(emit, arrays, window, features, emit.builder.sub(end, start))

    weight_gradient.__name__ = f"weight_gradient_{window}_{num_image_groups}"
    return weight_gradient


def _fill_with_zeros(emit: Emitter, weights: Buffer, features: FeatureBlock) -> None:
    kernel_height, kernel_width, channels, *_ = weights.shape
    rows = Buffer(weights.pointer, (kernel_height * kernel_width * channels, *weights.shape[3:]), FLOAT)
    with emit.for_range(0, rows.shape[0]) as row:
        for feature in features.vectors(emit):
            zero = constant(FLOAT, 0.0, register_lanes())
            emit.store_within(zero, rows, row, features.group, feature)


def _add_images(
    emit: Emitter,
    arrays: tuple[Buffer, Buffer, Buffer],
    window: Window,
    features: FeatureBlock,
    num_images: ir.Value,
) -> None:
    """Add the products of the first images to all weights of a block of features."""
    images, _, weights = arrays
    kernel_height, kernel_width, channels, *_ = weights.shape
    most = max_rows(features.size)
    position = features, num_images
    row_offset, column_offset = images.shape[2] * images.shape[3], images.shape[3]
    along = kernel_width if window.dilation[1] == 1 == window.groups else 1
    taps = [
        Tap(
            (y * kernel_width + x) * channels + channel,
            y * window.dilation[0] * row_offset + x * window.dilation[1] * column_offset + channel,
        )
        for y, x, channel in itertools.product(range(kernel_height), range(kernel_width), range(channels))
    ]
    if len(taps) <= _MAX_UNROLLED * most:
        for some in even_parts(taps, most):
            _add_to_weights(emit, arrays, window, position, some, Tap(0, 0))
        return
    parts = even_parts(taps[: along * channels], most)
    with emit.for_range(0, kernel_height) as y, emit.for_range(0, kernel_width // along) as x:
        first = Tap(
            emit.sum((y, kernel_width * channels), (x, channels)),
            emit.sum((y, window.dilation[0] * row_offset), (x, window.dilation[1] * column_offset)),
        )
        # All parts but the last are of one size.
        with emit.for_range(0, len(parts) - 1) as part:
            moved = Tap(*(emit.sum(start, (part, len(parts[0]))) for start in first))
            _add_to_weights(emit, arrays, window, position, parts[0], moved)
        _add_to_weights(emit, arrays, window, position, parts[-1], first)


def _add_to_weights(
    emit: Emitter,
    arrays: tuple[Buffer, Buffer, Buffer],
    window: Window,
    position: tuple[FeatureBlock, ir.Value],
    taps: Sequence[Tap],
    first: Tap,
) -> None:
    """Add the products of the first images to some rows of the weights, counted from the row `first`."""
    images, gradients, weights = arrays
    features, num_images = position
    _, height, width, *_ = gradients.shape
    image_offset, row_offset, column_offset = (math.prod(images.shape[axis:]) for axis in (1, 2, 3))
    kernel_height, kernel_width, channels, *by_feature = weights.shape
    rows = Buffer(weights.pointer, (kernel_height * kernel_width * channels, *by_feature), FLOAT)
    lanes = register_lanes()
    vectors = features.vectors(emit)
    totals = zeros(emit, len(taps), len(vectors))
    with (
        emit.for_range(0, num_images) as image,
        emit.for_range(0, height) as row,
        emit.for_range(0, width) as column,
    ):
        factors = [
            emit.load_within(gradients, image, row, column, features.group, feature, lanes=lanes)
            for feature in vectors
        ]
        base = emit.sum(
            (image, image_offset),
            (row, window.strides[0] * row_offset),
            (column, window.strides[1] * column_offset),
            (features.group, channels),
            first.offset,
        )
        add_products(emit, totals, [emit.sum(base, tap.offset) for tap in taps], images, factors)
    for tap, tap_totals in zip(taps, totals, strict=True):
        for total, feature in zip(tap_totals, vectors, strict=True):
            at = emit.sum(first.row, tap.row), features.group, feature
            before = emit.load_within(rows, *at, lanes=lanes)
            emit.store_within(emit.builder.fadd(before, emit.read(total)), rows, *at)


def add_products(
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


def zeros(emit: Emitter, num_rows: int, num_vectors: int) -> list[list[ir.Value]]:
    """Rows of vectors that sums start from."""
    zero = constant(FLOAT, 0.0, register_lanes())
    return [[emit.variable(zero) for _ in range(num_vectors)] for _ in range(num_rows)]


def max_rows(block_size: int) -> int:
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


def even_parts(taps: Sequence[Item], most: int) -> list[Sequence[Item]]:
    """Parts of at most `most` taps, all of one size but the last, which is no longer."""
    size = -(-len(taps) // -(-len(taps) // most))
    return [taps[start : start + size] for start in range(0, len(taps), size)]
