"""Sums over all axes but the last, and over positions of images."""

import jax
import numpy as np
import pytest

from medjax.models.cpu_kernels.array_operations import sum_columns, sum_positions

SHAPES = [(5, 13, 7, 24), (64, 4, 4, 128), (3, 1000, 7), (40, 17), (2, 3, 5, 100), (3, 2, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_all_axes_but_the_last_are_summed(shape):
    array = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    expected = array.astype(np.float64).reshape(-1, shape[-1]).sum(0)
    np.testing.assert_allclose(
        jax.jit(lambda array: sum_columns(("array", 0), [array], []))(array), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if len(shape) > 2])
def test_positions_of_each_image_are_summed(shape):
    array = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    for num_axes in range(1, len(shape) - 1):
        expected = array.astype(np.float64).sum(tuple(range(len(shape) - 1 - num_axes, len(shape) - 1)))
        program = jax.jit(lambda array, num_axes=num_axes: sum_positions(("array", 0), [array], [], num_axes))
        np.testing.assert_allclose(program(array), expected, rtol=1e-4, atol=1e-4)
