"""Grad-CAM against its closed form where there is one, and the layers it looks at."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medjax.errors import RefusedError
from medjax.explain.grad_cam import find_layer, grad_cam, require_layer
from medjax.models.as_network import as_network
from medjax.models.layers import PooledHead
from medjax.models.registry import MODELS
from tests.user_networks import NETWORKS

SHAPE = (28, 28, 1)


class Pooled(nn.Module):
    """Features of single pixels and the mean over all of them: the map is known in closed form."""

    def setup(self):
        self.features, self.head = nn.Conv(5, (1, 1)), PooledHead(3)

    def __call__(self, images):
        return self.head(self.features(images))


class OfTokens(nn.Module):
    """The same with patches as tokens, and a token before them."""

    @nn.compact
    def __call__(self, images):
        maps = nn.Conv(5, (1, 1), name="embed")(images)
        tokens = maps.reshape(len(maps), -1, 5)
        tokens = jnp.concatenate([jnp.ones((len(maps), 1, 5)), tokens], axis=1)
        tokens = nn.Dense(4, name="mix")(tokens)
        return nn.Dense(3, name="logits")(tokens[:, 1:].mean(1))


def reference(maps, weights):
    """Selvaraju et al., equations 1 and 2, where logits are `weights` times the means of the maps."""
    alpha = weights / (maps.shape[0] * maps.shape[1])  # the gradient is the same at every place
    return np.maximum(sum(alpha[k] * maps[:, :, k] for k in range(len(alpha))), 0)


@pytest.fixture
def images():
    return jnp.asarray(np.random.default_rng(0).random((2, 6, 4, 1), dtype=np.float32))


CLASSES = jnp.array([2, 1], jnp.int32)


def test_with_a_mean_over_places_it_is_the_weighted_sum_of_the_maps(images):
    network = as_network(Pooled())
    variables = network.init(jax.random.key(1), (6, 4, 1))
    found = grad_cam(network, variables, images, CLASSES)
    features, head = variables.parameters["features"], variables.parameters["head"]["logits"]
    for row, label in enumerate(CLASSES.tolist()):
        maps = np.asarray(images[row]) * np.asarray(features["kernel"])[0, 0, 0] + features["bias"]
        expected = reference(maps, np.asarray(head["kernel"])[:, label])
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-7)
    assert found.max() > 0


def test_tokens_are_put_where_their_patches_are(images):
    network = as_network(OfTokens())
    variables = network.init(jax.random.key(2), (6, 4, 1))
    found = grad_cam(network, variables, images, CLASSES, layer="mix")
    parameters = jax.tree.map(np.asarray, variables.parameters)
    for row, label in enumerate(CLASSES.tolist()):
        maps = np.asarray(images[row]) * parameters["embed"]["kernel"][0, 0, 0] + parameters["embed"]["bias"]
        maps = maps @ parameters["mix"]["kernel"] + parameters["mix"]["bias"]
        expected = reference(maps, parameters["logits"]["kernel"][:, label])
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-7)
    assert found.max() > 0


def test_maps_are_stretched_bilinearly():
    class Halved(nn.Module):
        def setup(self):
            self.features, self.head = nn.Conv(1, (2, 2), strides=(2, 2), use_bias=False), PooledHead(2)

        def __call__(self, images):
            return self.head(self.features(images))

    network = as_network(Halved())
    variables = network.init(jax.random.key(0), (4, 4, 1))
    ones = jax.tree.map(jnp.ones_like, variables)
    image = jnp.zeros((1, 4, 4, 1)).at[:, :2, :2].set(1.0)
    found = np.asarray(grad_cam(network, ones, image, jnp.zeros(1, jnp.int32)))[0]
    # One cell of 4, times the weight 1/4; a quarter and three quarters of the way to its neighbors between.
    line = np.array([1, 0.75, 0.25, 0])
    np.testing.assert_allclose(found, np.outer(line, line), atol=1e-6)


EXPECTED = {name: "features" for name in MODELS} | {
    "vgg16": "features/layer_31",  # after which there is one place left
    "vit_tiny": "features/block_11/norm1",
}


@pytest.mark.parametrize("name", ["cnn", "resnet18", "vgg16", "vit_tiny"])
def test_networks_of_the_zoo_have_a_layer_with_more_than_one_place(name):
    network = as_network(MODELS[name](3))
    layer = find_layer(network, SHAPE)
    assert layer == require_layer(network, SHAPE, None) == EXPECTED[name]


@pytest.mark.slow  # tracing these takes long
@pytest.mark.parametrize("side", [28, 64])
@pytest.mark.parametrize("name", MODELS)
def test_every_network_of_the_zoo_has_one_at_any_size(name, side):
    network = as_network(MODELS[name](3))
    layer = find_layer(network, (side, side, 1))
    assert layer in (EXPECTED[name], "features")


@pytest.mark.slow
def test_the_patches_of_a_vision_transformer_have_a_part_in_its_map():
    network = as_network(MODELS["vit_tiny"](3))
    variables = jax.jit(network.init, static_argnums=1)(jax.random.key(0), SHAPE)
    image = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    images, classes = jnp.asarray(np.stack([image] * 3)), jnp.arange(3, dtype=jnp.int32)
    found = np.asarray(jax.jit(functools.partial(grad_cam, network))(variables, images, classes))
    assert found.max() > 0
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", ["Linen BatchNorm ResNet", "NNX BatchNorm and Dropout", "plain functions"])
def test_a_network_without_features_is_refused_in_one_line(name):
    network = as_network(NETWORKS[name](3))
    assert find_layer(network, SHAPE) is None
    with pytest.raises(RefusedError, match="no module features with maps of places") as caught:
        require_layer(network, SHAPE, None)
    [line] = caught.value.lines()
    assert "integrated-gradients" in line
    assert ("--layer Block_0" in line) == name.startswith("Linen")


def test_any_layer_with_maps_may_be_named():
    network = as_network(NETWORKS["Linen BatchNorm ResNet"](3))
    variables = network.init(jax.random.key(0), SHAPE)
    images = jnp.asarray(np.random.default_rng(0).random((1, *SHAPE), dtype=np.float32))
    found = grad_cam(network, variables, images, jnp.zeros(1, jnp.int32), layer="Block_0")
    assert found.shape == (1, 28, 28)
    for layer in ("Block_1", "Dense_0", ""):
        with pytest.raises(RefusedError, match="is no layer of network"):
            require_layer(network, SHAPE, layer)
