"""Slices along any axis but the first."""

import jax
import numpy as np
import pytest

from medjax.models.cpu_kernels.array_operations import slice_axis, split_axis

ARRAY = np.arange(3 * 5 * 7 * 20, dtype=np.float32).reshape(3, 5, 7, 20)


@pytest.mark.parametrize(
    ("axis", "start", "stop"), [(1, 1, 4), (1, 0, 1), (2, 6, 7), (3, 0, 19), (3, 3, 20), (3, 2, 3)]
)
def test_a_slice_is_that_of_numpy(axis, start, stop):
    found = jax.jit(lambda array: slice_axis(array, axis, start, stop))(ARRAY)
    np.testing.assert_array_equal(found, np.moveaxis(np.moveaxis(ARRAY, axis, 0)[start:stop], 0, axis))


def test_parts_make_up_the_whole():
    parts = jax.jit(lambda array: split_axis(array, 3, (3, 16, 1)))(ARRAY)
    assert [part.shape[3] for part in parts] == [3, 16, 1]
    np.testing.assert_array_equal(np.concatenate(parts, axis=3), ARRAY)
