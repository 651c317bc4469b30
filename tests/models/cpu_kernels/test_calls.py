"""Sums over tasks, and parts of features."""

import jax
import numpy as np
import pytest

from medjax.models.cpu_kernels.calls import count_parts, sum_first


@pytest.mark.parametrize("shape", [(1, 7), (2, 7), (16, 3, 3, 5, 20), (9, 16, 33), (3, 1)])
def test_the_first_axis_is_summed(shape):
    sums = np.random.default_rng(9).normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(jax.jit(sum_first)(sums), sums.sum(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("blocks", "of_part", "parts"), [(1, 0, 1), (16, 4, 4), (16, 0, 16), (6, 4, 2), (7, 4, 7)]
)
def test_parts_are_few_and_of_one_size(blocks, of_part, parts):
    assert count_parts(blocks, of_part) == parts
