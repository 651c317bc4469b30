"""Gradient kernels on vectors of any width, and where an image has more windows than a number has bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.cpu_kernels import ffi_handler, gradient_kernels, native, twins
from tests.models.cpu_kernels.lanes import LANES, with_lanes
from tests.models.cpu_kernels.test_twins import random_arrays

TASKS = ffi_handler.num_tasks(5)


@pytest.fixture(scope="module")
def problem():
    """Images, kernel, positions, gradient."""
    images, kernel, bias = random_arrays((5, 9, 9, 32), (3, 3, 32, 32), (32,))
    activations, positions = twins.forward(images, kernel, bias)
    return images, kernel, positions, jnp.cos(activations)


@pytest.mark.parametrize("lanes", LANES)
def test_image_gradients_are_the_same_on_vectors_of_any_width(lanes, problem, monkeypatch):
    images, kernel, positions, gradient = problem
    results = [jax.ShapeDtypeStruct(images.shape, jnp.float32)]
    emit, shared = gradient_kernels.image_gradient, [kernel.transpose(3, 0, 1, 2)]
    [got] = with_lanes(monkeypatch, lanes, emit, results, [positions, gradient], shared)
    np.testing.assert_allclose(got, twins.image_gradient(*problem), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("kernel_name", ["kernel_gradient", "shallow_kernel_gradient"])
def test_kernel_gradients_are_the_same_on_vectors_of_any_width(kernel_name, lanes, problem, monkeypatch):
    images, _, positions, gradient = problem
    is_shallow = kernel_name == "shallow_kernel_gradient"
    shapes = [(TASKS, 3, 3, 32, 32) if is_shallow else (TASKS, 32, 3, 3, 32), (TASKS, 32)]
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    emit = getattr(gradient_kernels, kernel_name)
    kernels, biases = with_lanes(monkeypatch, lanes, emit, results, [images, positions, gradient])
    kernel = kernels.sum(0) if is_shallow else kernels.sum(0).transpose(1, 2, 3, 0)
    for got, expected in zip((kernel, biases.sum(0)), twins.kernel_gradient(*problem), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sides", [(18, 18), (20, 21), (6, 300)])
def test_windows_of_any_number_are_gone_through(sides, monkeypatch):
    """64 windows, 90 and 298: their bits fill a number, begin another, fill several."""
    images, kernel, bias = (
        jnp.round(2 * array) for array in random_arrays((3, *sides, 4), (3, 3, 4, 8), (8,))
    )
    activations, positions = twins.forward(images, kernel, bias)
    arguments = images, kernel, positions, jnp.round(activations)
    expected = [twins.image_gradient(*arguments), *twins.kernel_gradient(*arguments)]
    got = jax.jit(lambda: [native.image_gradient(*arguments), *native.kernel_gradient(*arguments)])()
    for array, expected_array in zip(got, expected, strict=True):
        assert np.array_equal(array, expected_array)


def test_weights_in_chunks_give_the_same_gradient(problem, monkeypatch):
    monkeypatch.setattr(gradient_kernels, "_CHUNK_SIZE", 0)  # chunks of as few vectors as there may be
    monkeypatch.setattr(
        gradient_kernels.image_gradient, "__name__", "image_gradient_in_chunks"
    )  # compile anew
    images, kernel, positions, gradient = problem
    got = jax.jit(native.image_gradient)(images, kernel, positions, gradient)
    np.testing.assert_allclose(got, twins.image_gradient(*problem), rtol=1e-4, atol=1e-4)
