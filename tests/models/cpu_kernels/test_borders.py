"""Rows of an image with zeros around it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.cpu_kernels.borders import copy_rows
from medjax.models.cpu_kernels.ffi_call import call_kernel

RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize("channels", [1, 3, 16, 20])
@pytest.mark.parametrize(
    "padding", [((0, 0), (0, 0)), ((2, 3), (1, 0)), ((-1, 4), (-2, 1)), ((9, 0), (7, -3))]
)
@pytest.mark.parametrize("top", [0, 2])
def test_rows_are_those_of_a_padded_image(channels, padding, top):
    images = RANDOM.normal(size=(3, 5, 4, channels)).astype(np.float32)
    num_rows, num_columns = 6, 4 + sum(padding[1])

    def kernel(emit, buffers, first, stop, task):
        with emit.for_range(first, stop) as image:
            rows = emit.part(buffers[1], image, 0)
            copy_rows(emit, buffers[0], image, top, padding, rows)

    kernel.__name__ = f"copy_{padding}_{top}".translate(str.maketrans("(), -", "____m"))
    result = jax.ShapeDtypeStruct((3, num_rows, num_columns, channels), jnp.float32)
    [found] = jax.jit(lambda images: call_kernel(kernel, [result], [images]))(images)
    beyond = 20  # rows below, of zeros
    (above, _), (left, _) = padding
    wide = np.pad(images, ((0, 0), (20, beyond), (20, 20), (0, 0)))
    first_row, first_column = 20 - above + top, 20 - left
    expected = wide[:, first_row : first_row + num_rows, first_column : first_column + num_columns]
    np.testing.assert_array_equal(found, expected)
