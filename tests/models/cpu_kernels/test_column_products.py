"""Products of all columns with all columns, by vectors of any width."""

import jax
import numpy as np
import pytest

from medjax.models.cpu_kernels import register_tiles
from medjax.models.cpu_kernels.matrix_products import multiply_columns

RANDOM = np.random.default_rng(9)


# A kernel is compiled once for its shapes, so each case has shapes of its own.
@pytest.mark.parametrize(
    ("lanes", "rows", "left", "right"),
    [(8, 5, 21, 19), (16, 6, 61, 35), (16, 3, 1, 2), (8, 1, 3, 16), (16, 32, 300, 128)],
)
def test_any_width_of_vectors_gives_the_same_numbers(lanes, rows, left, right, monkeypatch):
    monkeypatch.setattr(register_tiles, "register_lanes", lambda: lanes)
    one = RANDOM.normal(size=(rows, left)).astype(np.float32)
    other = RANDOM.normal(size=(rows, right)).astype(np.float32)
    found = jax.jit(multiply_columns)(one, other)
    np.testing.assert_allclose(found, one.astype(np.float64).T @ other, rtol=1e-4, atol=1e-5)


def test_a_nan_stays_in_its_row():
    one, other = np.ones((4, 40), np.float32), np.ones((4, 17), np.float32)
    one[3, 39] = np.nan
    found = np.asarray(jax.jit(multiply_columns)(one, other))
    assert np.isnan(found).any(axis=1).tolist() == [row == 39 for row in range(40)]
    assert (found[:39] == 4).all()
