"""Products of matrices, of few rows and of many."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.cpu_kernels.lowering import fast_convolutions
from medjax.models.cpu_kernels.matrix_products import multiply_columns, multiply_rows

RANDOM = np.random.default_rng(10)


@pytest.mark.parametrize("rows", [50, 600])
def test_columns_are_multiplied_with_columns(rows):
    left, right = (RANDOM.normal(size=(rows, width)).astype(np.float32) for width in (30, 7))
    np.testing.assert_allclose(jax.jit(multiply_columns)(left, right), left.T @ right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [50, 300])
def test_rows_are_multiplied_with_rows(rows):
    left, right = (RANDOM.normal(size=(height, 30)).astype(np.float32) for height in (rows, 7))
    np.testing.assert_allclose(jax.jit(multiply_rows)(left, right), left @ right.T, rtol=1e-4, atol=1e-4)


def test_the_gradient_of_a_weight_matrix_is_not_transposed():
    """Its program would copy a dense layer's whole gradient, in each step."""

    def gradient(weights, inputs):
        return jax.grad(lambda weights: jnp.square(inputs @ weights).sum())(weights)

    with fast_convolutions():
        compiled = jax.jit(gradient).lower(jnp.ones((80, 48)), jnp.ones((16, 80))).compile().as_text()
    assert "column_products" in compiled
    assert " transpose(" not in compiled
