"""Forward kernels on vectors of any width, and where blocks of tiles overlap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.cpu_kernels import forward_kernels, native, twins
from medjax.models.cpu_kernels.ffi_call import call_kernel
from tests.models.cpu_kernels.lanes import LANES, with_lanes
from tests.models.cpu_kernels.test_twins import random_arrays

RESULTS = [jax.ShapeDtypeStruct((5, 3, 3, 32), dtype) for dtype in (jnp.float32, jnp.int8)]


@pytest.mark.parametrize("kernel_name", ["pooled_forward", "winograd_forward"])
def test_sixteen_lanes_are_eight_lanes_are_four(kernel_name, monkeypatch):
    images, kernel, bias = random_arrays((5, 9, 9, 32), (3, 3, 32, 32), (32,))
    shared = [native.transform_kernel(kernel) if kernel_name == "winograd_forward" else kernel, bias]
    emit = getattr(forward_kernels, kernel_name)
    expected_activations, expected_positions = twins.forward(images, kernel, bias)
    for lanes in LANES:
        activations, positions = with_lanes(monkeypatch, lanes, emit, RESULTS, [images], shared)
        np.testing.assert_allclose(activations, expected_activations, rtol=1e-4, atol=1e-4)
        assert (positions == expected_positions).mean() > 0.99  # rounding decides where two values are close


@pytest.mark.parametrize("kernel_name", ["pooled_forward", "winograd_forward"])
def test_a_bias_that_is_not_a_number_is_lost_in_no_lane(kernel_name, monkeypatch):
    images, kernel, bias = random_arrays((2, 6, 6, 8), (3, 3, 8, 16), (16,))
    results = [jax.ShapeDtypeStruct((2, 2, 2, 16), dtype) for dtype in (jnp.float32, jnp.int8)]
    weights = native.transform_kernel(kernel) if kernel_name == "winograd_forward" else kernel
    bad = jnp.arange(16) % 3 == 0
    shared = [weights, jnp.where(bad, jnp.nan, bias)]
    emit = getattr(forward_kernels, kernel_name)
    for lanes in LANES:
        activations, positions = with_lanes(monkeypatch, lanes, emit, results, [images], shared)
        assert np.array_equal(np.isnan(activations), np.broadcast_to(bad, activations.shape))
        assert (positions[..., bad] == twins.NOWHERE).all()


@pytest.mark.parametrize("width", [1, 2, 4, 5, 6, 9, 11])
def test_every_window_of_a_row_is_computed(width):
    images, kernel, bias = (
        jnp.round(2 * array) for array in random_arrays((1, 4, 2 * width + 2, 8), (3, 3, 8, 8), (8,))
    )
    results = [jax.ShapeDtypeStruct((1, 1, width, 8), dtype) for dtype in (jnp.float32, jnp.int8)]
    shared = [native.transform_kernel(kernel), bias]
    got = jax.jit(lambda: call_kernel(forward_kernels.winograd_forward, results, [images], shared))()
    for array, expected in zip(got, twins.forward(images, kernel, bias), strict=True):
        assert np.array_equal(array, expected)
