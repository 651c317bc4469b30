"""Kernel of the gradient of a convolution's weights, with or without groups.

Images are float32 as batch, height, width, channel.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from llvmlite import ir

from medjax.models.cpu_kernels.borders import copy_rows
from medjax.models.cpu_kernels.emitter import FLOAT, INT, Buffer, Emitter, Index, constant, register_lanes
from medjax.models.cpu_kernels.ffi_call import Kernel
from medjax.models.cpu_kernels.register_tiles import (
    FeatureBlock,
    Window,
    add_products,
    block_features,
    block_lanes,
    by_group,
    even_parts,
    find_block,
    max_rows,
    zeros,
)

# Bytes of images and gradients that are gone through again and again: half of a core's second cache.
_CACHED_BYTES = 2**19
# Weights of few channels are gone through by code without loops.
_MAX_UNROLLED = 4


class Tap(NamedTuple):
    """A row of the weights: its number, and the offset in an image of the pixels that it is multiplied by."""

    row: Index
    offset: Index


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
            zero = constant(FLOAT, 0.0, block_lanes(features.size))
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
    lanes = block_lanes(features.size)
    vectors = features.vectors(emit)
    totals = zeros(emit, len(taps), len(vectors), lanes)
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
