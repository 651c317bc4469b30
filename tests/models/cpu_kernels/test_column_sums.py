"""Sums over all axes but the last."""

import jax
import numpy as np
import pytest

from medjax.models.cpu_kernels.array_operations import sum_columns


@pytest.mark.parametrize("shape", [(5, 13, 7, 24), (64, 4, 4, 128), (3, 1000, 7), (40, 17)])
def test_all_axes_but_the_last_are_summed(shape):
    array = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    expected = array.astype(np.float64).reshape(-1, shape[-1]).sum(0)
    np.testing.assert_allclose(
        jax.jit(lambda array: sum_columns(("array", 0), [array], []))(array), expected, rtol=1e-4, atol=1e-4
    )
