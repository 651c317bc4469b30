"""The gradients of the weights of convolutions, by the kernels of this folder."""

import math

import jax
import jax.numpy as jnp

from medjax.models.cpu_kernels import depthwise, direct_weight_gradient, ffi_handler, winograd_gradient
from medjax.models.cpu_kernels.calls import (
    ChannelKernels,
    Gradients,
    Images,
    Kernel,
    Pair,
    count_parts,
    make_scratch,
    sum_first,
)
from medjax.models.cpu_kernels.convolution import Convolution, is_for_winograd
from medjax.models.cpu_kernels.ffi_call import call_kernel
from medjax.models.cpu_kernels.register_tiles import Window, block_features
from medjax.models.cpu_kernels.winograd_tiles import make_plan, scratch_size

# Sums over parts of the images take at most so much memory.
_MAX_PARTIAL_BYTES = 2**22
# Transformed pixels and sums that a job of Winograd's goes through again and again, and the tiles that are worth sums of
# their own; measured.
_CACHED_BYTES, _CACHED_SUMS_BYTES, _MIN_SUMMED_TILES = 2**18, 2**19, 128


def weight_gradient(images: Images, gradients: Gradients, sides: Pair, window: Window) -> Kernel:
    """Gradient of a kernel of so many rows and columns, given images and the gradients of the outputs."""
    groups, features, channels = window.groups, gradients.shape[-1], images.shape[-1] // window.groups
    convolution = Convolution(window.strides, window.padding, (1, 1), window.dilation, groups)
    if is_for_winograd((*sides, channels, features), convolution):
        return _winograd_weight_gradient(images, gradients, window.padding)
    block = block_features(features // groups)
    num_blocks = groups * -(-features // groups // block)
    weights_bytes = 4 * sides[0] * sides[1] * channels * features
    num_image_groups = max(
        1, min(-(-ffi_handler.MAX_TASKS // num_blocks), _MAX_PARTIAL_BYTES // weights_bytes, len(images))
    )
    num_jobs = num_blocks * num_image_groups
    chunks = direct_weight_gradient.make_chunks(
        window, sides[0], images.shape, gradients.shape, num_image_groups
    )
    [sums, _] = call_kernel(
        direct_weight_gradient.make_weight_gradient(window, num_image_groups),
        [
            jax.ShapeDtypeStruct((num_image_groups, *sides, channels, features), jnp.float32),
            make_scratch(
                direct_weight_gradient.copies_pixels(window, images.shape[-1]), num_jobs, chunks.scratch_size
            ),
        ],
        [jnp.zeros((num_jobs, 1))],
        [images, gradients],
        min_images_per_task=1,
    )
    return sum_first(sums)


def depthwise_weight_gradient(
    images: Images, gradients: Gradients, sides: Pair, window: Window
) -> ChannelKernels:
    """As `weight_gradient`, of a depthwise convolution."""
    num_tasks = ffi_handler.num_tasks(len(images))
    shape = depthwise.padded_shape(window, sides[0], images.shape, gradients.shape)
    results = [
        jax.ShapeDtypeStruct((num_tasks, *sides, images.shape[-1]), jnp.float32),
        make_scratch(window.is_padded, num_tasks, math.prod(shape)),
    ]
    sums, _ = call_kernel(depthwise.make_weight_gradient(window), results, [images, gradients])
    return sum_first(sums)


def _winograd_weight_gradient(images: Images, gradients: Gradients, padding: tuple[Pair, Pair]) -> Kernel:
    num_images, *_, channels = images.shape
    _, height, width, features = gradients.shape
    block = block_features(features)
    num_blocks = -(-features // block)
    num_parts = count_parts(num_blocks, _CACHED_SUMS_BYTES // (64 * channels * block))
    part_size = block * (num_blocks // num_parts)
    num_tiles = num_images * -(-height // 2) * -(-width // 2)
    num_groups = max(1, min(ffi_handler.MAX_TASKS // num_parts, num_tiles // _MIN_SUMMED_TILES, num_images))
    plan = make_plan(num_images, channels, (height, width), padding, num_groups, _CACHED_BYTES)
    num_jobs = num_parts * num_groups
    shapes = [
        (num_groups, 3, 3, channels, features),
        (num_jobs, 4, 4, channels, part_size),
        (num_jobs, scratch_size(plan, part_size)),
    ]
    [sums, _, _] = call_kernel(
        winograd_gradient.make_weight_gradient(plan),
        [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes],
        [jnp.zeros((num_jobs, 1))],
        [images, gradients],
        min_images_per_task=1,
    )
    return sum_first(sums)
