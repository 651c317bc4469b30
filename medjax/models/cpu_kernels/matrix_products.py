"""Products of two matrices by the kernels of this folder."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32

from medjax.models.cpu_kernels import column_products, dense_products, ffi_handler, row_products
from medjax.models.cpu_kernels.ffi_call import Kernel, call_kernel
from medjax.models.cpu_kernels.register_tiles import Window
from medjax.models.cpu_kernels.weight_gradient import weight_gradient

# With more rows, a transposed copy of the other matrix costs little, and so does XLA's copy of it in another order.
MAX_LEFT_ROWS = 256
# Of more rows, the columns that are multiplied leave a core's cache.
_MAX_SUMMED_ROWS = 512


def multiply(
    left: Float32[Array, "row value"], right: Float32[Array, "value column"]
) -> Float32[Array, "row column"]:
    """The product of two matrices, as of a dense layer's inputs and its weights."""
    return _call(dense_products.dense_products, (len(left), right.shape[1]), left, right)


def multiply_rows(
    left: Float32[Array, "row value"], right: Float32[Array, "other value"]
) -> Float32[Array, "row other"]:
    """The product of each row on the left with each on the right, as matrices (row on the left, row on the right)."""
    if len(left) > MAX_LEFT_ROWS:  # where a transposed copy costs little
        return left @ lax.optimization_barrier(right.T)
    return _call(row_products.row_products, (len(left), len(right)), left, right)


def multiply_columns(
    left: Float32[Array, "row column"], right: Float32[Array, "row other"]
) -> Float32[Array, "column other"]:
    """The product of each column on the left with each on the right, as the gradient of a dense layer's weights."""
    if len(left) > _MAX_SUMMED_ROWS:  # as a convolution of single pixels, which sums over parts of them
        images, gradients = left[:, None, None], right[:, None, None]
        return weight_gradient(images, gradients, (1, 1), Window((1, 1), (1, 1)))[0, 0]
    return _call(column_products.column_products, (left.shape[1], right.shape[1]), left, right)


def _call(kernel: Kernel, shape: tuple[int, int], left: Array, right: Array) -> Array:
    """A kernel whose jobs take shares of the product, which has this shape."""
    jobs = jnp.zeros((ffi_handler.MAX_TASKS, ffi_handler.MAX_TASKS))
    results = [jax.ShapeDtypeStruct(shape, jnp.float32)]
    return call_kernel(kernel, results, [jobs], [left, right], min_images_per_task=1)[0]
