"""Gradients against closed forms and finite differences; completeness; that weights decide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medjax.explain.gradients import class_logits, input_gradient, integrated_gradients
from medjax.models.as_network import as_network
from tests.user_networks import NETWORKS

SHAPE = (8, 8, 1)


def linear(weights):
    """A network whose logits are sums of weighted pixels; `weights` [pixel, class]."""

    def init(key, image_shape):
        return {"weights": jnp.asarray(weights, jnp.float32)}

    def apply(parameters, images):
        return images.reshape(len(images), -1) @ parameters["weights"]

    return as_network((init, apply))


def drawn(network, shape=SHAPE, seed=0):
    return network.init(jax.random.key(seed), shape)


@pytest.fixture
def images():
    return np.random.default_rng(0).random((3, *SHAPE), dtype=np.float32)


@pytest.fixture
def classes():
    return np.array([0, 2, 1], np.int32)


def test_the_gradient_of_a_linear_network_is_its_weights(images, classes):
    weights = np.random.default_rng(1).normal(size=(64, 3)).astype(np.float32)
    network = linear(weights)
    gradient = input_gradient(network, drawn(network), jnp.asarray(images), jnp.asarray(classes))
    np.testing.assert_allclose(gradient, weights.T[classes].reshape(3, *SHAPE), rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("baseline", [0.0, 0.25])
def test_integrated_gradients_of_a_linear_network_are_weights_times_pixels(images, classes, steps, baseline):
    weights = np.random.default_rng(1).normal(size=(64, 3)).astype(np.float32)
    network = linear(weights)
    found = integrated_gradients(
        network, drawn(network), jnp.asarray(images), jnp.asarray(classes), baseline=baseline, steps=steps
    )
    expected = weights.T[classes].reshape(3, *SHAPE) * (images - baseline)
    np.testing.assert_allclose(found.attributions, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.change, expected.sum((1, 2, 3)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.gap, 0, atol=1e-4)


class Smooth(nn.Module):
    """Without kinks, so that finite differences are right."""

    @nn.compact
    def __call__(self, images):
        maps = jnp.tanh(nn.Conv(4, (3, 3))(images))
        return nn.Dense(3)(jnp.tanh(maps.reshape(len(maps), -1)))


def test_the_gradient_is_that_of_finite_differences(images, classes):
    network = as_network(Smooth())
    variables, step = drawn(network), 1e-2
    gradient = np.asarray(input_gradient(network, variables, jnp.asarray(images), jnp.asarray(classes)))
    for pixel in [(0, 0, 0), (3, 4, 0), (7, 7, 0)]:
        change = np.zeros(SHAPE, np.float32)
        change[pixel] = step
        up, down = (
            class_logits(network, variables, jnp.asarray(images + sign * change), jnp.asarray(classes))
            for sign in (1, -1)
        )
        np.testing.assert_allclose(gradient[:, *pixel], (up - down) / (2 * step), rtol=2e-2, atol=1e-4)


def test_attributions_sum_to_the_difference_of_logits(images, classes):
    network = as_network(Smooth())
    arguments = network, drawn(network), jnp.asarray(images), jnp.asarray(classes)
    few, many = (integrated_gradients(*arguments, steps=steps) for steps in (1, 64))
    assert np.abs(many.gap).max() < 1e-3 * np.abs(many.change).max()
    assert np.abs(few.gap).max() > 3 * np.abs(many.gap).max()
    logits = class_logits(*arguments), class_logits(*arguments[:2], jnp.zeros_like(images), arguments[3])
    np.testing.assert_allclose(many.change, logits[0] - logits[1], rtol=1e-5)
    np.testing.assert_allclose(many.attributions.sum((1, 2, 3)) + many.gap, many.change, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "Linen train flag",
        "Linen own collections",
        "Linen bfloat16",
        "NNX BatchNorm and Dropout",
        "functions with state",
    ],
)
def test_any_network_has_a_gradient_of_each_image_alone(name):
    network = as_network(NETWORKS[name](3))
    images = jnp.asarray(np.random.default_rng(0).random((2, *SHAPE), dtype=np.float32))
    classes = jnp.array([2, 0], jnp.int32)
    variables = drawn(network)
    together = input_gradient(network, variables, images, classes)
    alone = input_gradient(network, variables, images[1:], classes[1:])
    assert np.isfinite(together).all()
    assert np.abs(together).max() > 0
    tolerance = 0.05 if "bfloat16" in name else 1e-3
    np.testing.assert_allclose(together[1:], alone, rtol=tolerance, atol=tolerance * np.abs(alone).max())


def test_batch_statistics_rest():
    """Else the map of an image would depend on the others, and the network would change by being looked at."""
    network = as_network(NETWORKS["Linen BatchNorm ResNet"](3))
    variables = drawn(network)
    state = jax.tree.map(lambda leaf: leaf + 0.5, variables.state)
    images = jnp.asarray(np.random.default_rng(0).random((2, *SHAPE), dtype=np.float32))
    classes = jnp.zeros(2, jnp.int32)
    first = input_gradient(network, variables, images, classes)
    other = input_gradient(network, variables._replace(state=state), images, classes)
    assert np.abs(first - other).max() > 1e-3 * np.abs(first).max()
