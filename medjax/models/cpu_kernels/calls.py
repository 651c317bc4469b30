"""What all calls of kernels share: memory, parts of the features, sums over tasks."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32

from medjax.models.cpu_kernels import column_sums
from medjax.models.cpu_kernels.ffi_call import call_kernel

Pair = tuple[int, int]
Images = Float32[Array, "batch height width channel"]
ChannelKernels = Float32[Array, "kernel_height kernel_width channel"]
Gradients = Float32[Array, "batch output_height output_width feature"]
Kernel = Float32[Array, "kernel_height kernel_width group_channel feature"]  # channels of one group


def make_scratch(is_needed: bool, num_tasks: int, size: int) -> jax.ShapeDtypeStruct:
    """Memory for the pixels that each task copies."""
    return jax.ShapeDtypeStruct((num_tasks, size) if is_needed else (1, 1), jnp.float32)


def count_parts(num_blocks: int, blocks_of_part: int) -> int:
    """The fewest parts of at most so many blocks, but at least one; all are of one size."""
    return next(
        number
        for number in range(1, num_blocks + 1)
        if num_blocks % number == 0 and num_blocks // number <= max(1, blocks_of_part)
    )


def sum_first(sums: Array) -> Array:
    """Sum over the first axis, of tasks; XLA would compute it anew for each number that it is used for."""
    if len(sums) == 1:
        return sums[0]
    num_parts = next(number for number in (16, 9, 8, 4, 3, 2, 1) if sums.shape[1] % number == 0)
    parts = sums.reshape(len(sums), num_parts, -1)
    result = jax.ShapeDtypeStruct(parts.shape[1:], jnp.float32)
    [total] = call_kernel(
        column_sums.task_sums, [result], [jnp.zeros((num_parts, 1))], [parts], min_images_per_task=1
    )
    return total.reshape(sums.shape[1:])
