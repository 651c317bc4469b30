"""Products of all rows with all rows, by vectors of any width."""

import jax
import numpy as np
import pytest

from medjax.models.cpu_kernels import register_tiles, row_products
from medjax.models.cpu_kernels.matrix_products import multiply_rows

RANDOM = np.random.default_rng(8)


# A kernel is compiled once for its shapes, so each case has shapes of its own.
@pytest.mark.parametrize(
    ("lanes", "left", "right", "length"), [(8, 5, 21, 19), (16, 6, 22, 35), (16, 1, 2, 3), (8, 3, 1, 16)]
)
def test_any_width_of_vectors_gives_the_same_numbers(lanes, left, right, length, monkeypatch):
    for module in (register_tiles, row_products):
        monkeypatch.setattr(module, "register_lanes", lambda: lanes)
    one = RANDOM.normal(size=(left, length)).astype(np.float32)
    other = RANDOM.normal(size=(right, length)).astype(np.float32)
    found = jax.jit(multiply_rows)(one, other)
    np.testing.assert_allclose(found, one.astype(np.float64) @ other.T, rtol=1e-4, atol=1e-5)


def test_a_nan_stays_in_its_row():
    one, other = np.ones((9, 20), np.float32), np.ones((17, 20), np.float32)
    one[4, 19] = np.nan
    found = np.asarray(jax.jit(multiply_rows)(one, other))
    assert np.isnan(found).any(axis=1).tolist() == [row == 4 for row in range(9)]
    assert (found[5:] == 20).all()
