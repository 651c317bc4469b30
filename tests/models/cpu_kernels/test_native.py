"""Kernels against their twins: equal to the bit where nothing is rounded."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.cpu_kernels import native, twins
from tests.models.cpu_kernels.test_twins import SHAPES, random_arrays


@pytest.mark.parametrize(("image_shape", "kernel_shape"), SHAPES)
def test_kernels_and_twins_agree_to_the_bit_and_the_position(image_shape, kernel_shape):
    # Whole numbers: no rounding, and many windows whose largest values are equal.
    images, kernel, bias = (
        jnp.round(2 * array) for array in random_arrays(image_shape, kernel_shape, kernel_shape[-1:])
    )
    activations, positions = jax.jit(native.forward)(images, kernel, bias)
    expected_activations, expected_positions = jax.jit(twins.forward)(images, kernel, bias)
    assert np.array_equal(activations, expected_activations)
    assert np.array_equal(positions, expected_positions)
    assert len(np.unique(positions)) == 5 or positions.size < 100
    gradient = jnp.round(2 * random_arrays(activations.shape)[0])
    arguments = images, kernel, positions, gradient
    assert np.array_equal(
        jax.jit(native.image_gradient)(*arguments), jax.jit(twins.image_gradient)(*arguments)
    )
    for got, expected in zip(
        jax.jit(native.kernel_gradient)(*arguments), jax.jit(twins.kernel_gradient)(*arguments), strict=True
    ):
        assert np.array_equal(got, expected)


@pytest.mark.parametrize("channels", [1, 8], ids=["direct", "winograd"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_biases_that_are_not_finite_give_what_the_twin_gives(bad, channels):
    images, kernel, bias = random_arrays((2, 8, 8, channels), (3, 3, channels, 16), (16,))
    arguments = images, kernel, bias.at[3].set(bad)
    activations, positions = jax.jit(native.forward)(*arguments)
    expected_activations, expected_positions = jax.jit(twins.forward)(*arguments)
    assert not np.isfinite(activations[..., 3]).any() or bad == -np.inf
    np.testing.assert_allclose(activations, expected_activations, rtol=1e-4, atol=1e-4)
    assert np.array_equal(positions, expected_positions)
    gradient = jnp.cos(jnp.where(jnp.isfinite(activations), activations, 1.0))
    for got, expected in zip(
        jax.jit(native.kernel_gradient)(images, kernel, positions, gradient),
        jax.jit(twins.kernel_gradient)(images, kernel, positions, gradient),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_give_what_the_twin_gives(bad):
    # With one channel, as Winograd's sums make NaN of infinities.
    images, kernel, bias = random_arrays((4, 8, 8, 1), (3, 3, 1, 16), (16,))
    for index, (row, column) in enumerate([(0, 0), (3, 4), (4, 3), (7, 7)]):
        images = images.at[index, row, column].set(bad)
    activations, positions = jax.jit(native.forward)(images, kernel, bias)
    expected_activations, expected_positions = jax.jit(twins.forward)(images, kernel, bias)
    np.testing.assert_allclose(activations, expected_activations, rtol=1e-4, atol=1e-4)
    assert np.array_equal(positions, expected_positions)


@pytest.mark.parametrize("row", range(2))
@pytest.mark.parametrize("column", range(2))
def test_winograd_loses_no_nan(row, column):
    images, kernel, bias = random_arrays((1, 4, 4, 8), (3, 3, 8, 16), (16,))
    # A pixel in a corner of the tile is part of one of the four outputs only.
    activations, positions = jax.jit(native.forward)(
        images.at[0, 3 * row, 3 * column, 5].set(np.nan), kernel, bias
    )
    assert np.isnan(activations).all()
    assert (positions == twins.NOWHERE).all()


def test_without_llvmlite_programs_are_lowered_and_run():
    script = """
import sys, warnings
sys.modules["llvmlite"] = None
import jax, jax.numpy as jnp
from medjax.models.convolution_pool import convolution_pool
def loss(*arguments): return (convolution_pool(*arguments) ** 2).sum()
gradient = jax.jit(jax.grad(loss, (0, 1, 2)))
arguments = jnp.ones((2, 6, 6, 1)), jnp.ones((3, 3, 1, 4)), jnp.ones(4)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    jax.export.export(gradient, platforms=("cuda",))(*arguments)
    assert not caught
    gradient(*arguments)
    gradient(*(array[:1] for array in arguments[:1]), *arguments[1:])
[warning] = caught
print(warning.message)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.startswith("llvmlite cannot be loaded"), result.stderr
