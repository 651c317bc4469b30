"""Products of matrices, by vectors of any width, and where they take the place of XLA's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.cpu_kernels import register_tiles
from medjax.models.cpu_kernels.lowering import fast_convolutions
from medjax.models.cpu_kernels.matrix_products import multiply

RANDOM = np.random.default_rng(8)


# A kernel is compiled once for its shapes, so each case has shapes of its own.
@pytest.mark.parametrize(
    ("lanes", "rows", "values", "columns"),
    [(8, 5, 21, 19), (16, 6, 61, 35), (16, 1, 3, 2), (8, 15, 3, 16), (16, 33, 300, 128), (16, 17, 9, 130)],
)
def test_any_width_of_vectors_gives_the_same_numbers(lanes, rows, values, columns, monkeypatch):
    monkeypatch.setattr(register_tiles, "register_lanes", lambda: lanes)
    left = RANDOM.normal(size=(rows, values)).astype(np.float32)
    right = RANDOM.normal(size=(values, columns)).astype(np.float32)
    found = jax.jit(multiply)(left, right)
    np.testing.assert_allclose(found, left.astype(np.float64) @ right, rtol=1e-4, atol=1e-5)


def test_a_nan_stays_in_its_row():
    left, right = np.ones((40, 4), np.float32), np.ones((4, 50), np.float32)
    left[39, 3] = np.nan
    found = np.asarray(jax.jit(multiply)(left, right))
    assert np.isnan(found).any(axis=1).tolist() == [row == 39 for row in range(40)]
    assert (found[:39] == 4).all()


@pytest.mark.parametrize(
    ("rows", "columns", "is_replaced"), [(16, 48, True), (64, 16, True), (600, 48, False), (64, 15, False)]
)
def test_a_dense_layer_of_few_rows_and_many_columns_is_replaced(rows, columns, is_replaced):
    inputs, weights = jnp.ones((2, rows // 2, 400)), jnp.ones((400, columns))
    with fast_convolutions():
        lowered = jax.jit(lambda inputs, weights: inputs @ weights).lower(inputs, weights)
    assert ("dense_products" in lowered.as_text()) == is_replaced
    assert lowered.compile()(inputs, weights).shape == (2, rows // 2, columns)
