"""Library formulation of the layer: Flax's values and gradients; gradients are the transposes of tangents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medjax.models.cpu_kernels import twins

SHAPES = [
    ((2, 28, 28, 1), (3, 3, 1, 32)),
    ((9, 13, 13, 32), (3, 3, 32, 64)),
    ((3, 12, 12, 32), (3, 3, 32, 24)),
    ((1, 5, 9, 3), (3, 3, 3, 5)),
    ((17, 6, 7, 4), (2, 3, 4, 12)),
    ((1, 150, 60, 4), (3, 3, 4, 8)),  # more windows than the gradient kernels process together
]


def random_arrays(*shapes):
    draw = np.random.default_rng(0)  # NumPy's: JAX would compile its own for each shape
    return [jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in shapes]


def random_problem(image_shape, kernel_shape):
    """Images, kernel, bias, and weights like the activations."""
    shapes = image_shape, kernel_shape, kernel_shape[-1:]
    return random_arrays(*shapes, jax.eval_shape(by_flax, *map(jnp.zeros, shapes)).shape)


def by_flax(images, kernel, bias):
    outputs = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return nn.relu(nn.max_pool(outputs + bias, (2, 2), strides=(2, 2)))


@pytest.mark.parametrize(("image_shape", "kernel_shape"), SHAPES[:5])
def test_values_tangents_and_gradients_are_those_of_flax(image_shape, kernel_shape):
    images, kernel, bias, gradient = random_problem(image_shape, kernel_shape)
    tangents = [jnp.cos(array) for array in (images, kernel, bias)]
    activations, positions = jax.jit(twins.forward)(images, kernel, bias)
    expected, expected_tangent = jax.jit(
        lambda *tangents: jax.jvp(by_flax, (images, kernel, bias), tangents)
    )(*tangents)
    np.testing.assert_allclose(activations, expected, rtol=1e-4, atol=1e-4)
    tangent = jax.jit(twins.image_tangent)(images, kernel, positions, tangents[0])
    tangent += jax.jit(twins.kernel_tangent)(images, kernel, positions, *tangents[1:])
    np.testing.assert_allclose(tangent, expected_tangent, rtol=1e-3, atol=1e-3)
    gradients = (
        twins.image_gradient(images, kernel, positions, gradient),
        *twins.kernel_gradient(images, kernel, positions, gradient),
    )
    for got, expected in zip(
        gradients, jax.vjp(jax.jit(by_flax), images, kernel, bias)[1](gradient), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_positions_are_of_the_first_of_equal_maxima():
    # Each window is one output of a kernel that copies its upper left pixel.
    windows = [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
        [2, 2, 2, 2],
        [0, 1, 1, 1],
        [0, 0, 1, 1],
    ]
    images = jnp.asarray(windows, jnp.float32).reshape(-1, 2, 2, 1)
    _, positions = twins.forward(images, jnp.ones((1, 1, 1, 1)), jnp.zeros(1))
    assert positions.ravel().tolist() == [0, 1, 2, 3, 0, 1, 2]


def test_windows_that_relu_sets_to_zero_have_no_position():
    images = jnp.asarray([-1.0, 0.0, np.nan, 1.0]).reshape(-1, 1, 1, 1) * jnp.ones((4, 2, 2, 1))
    activations, positions = twins.forward(images, jnp.ones((1, 1, 1, 1)), jnp.zeros(1))
    assert positions.ravel().tolist() == [twins.NOWHERE, twins.NOWHERE, twins.NOWHERE, 0]
    assert np.array_equal(activations.ravel(), [0, 0, np.nan, 1], equal_nan=True)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_the_dtype_stays(dtype):
    images, kernel, bias = (array.astype(dtype) for array in random_arrays((2, 7, 8, 3), (3, 3, 3, 4), (4,)))
    activations, positions = twins.forward(images, kernel, bias)
    arguments = images, kernel, positions
    arrays = [
        activations,
        twins.image_tangent(*arguments, images),
        twins.kernel_tangent(*arguments, kernel, bias),
        twins.image_gradient(*arguments, activations),
        *twins.kernel_gradient(*arguments, activations),
    ]
    assert {array.dtype for array in arrays} == {jnp.dtype(dtype)}
    assert positions.dtype == jnp.int8
