import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medjax.models.as_network import as_network
from medjax.models.cnn import CNN
from medjax.models.network import Variables, in_bfloat16
from medjax.models.starting import InputScaling, missing_variables, scale_input, start_from

SHAPE = (8, 8, 1)
NETWORK = as_network(CNN(2, block_features=(4,), hidden_units=0))
SCALING = InputScaling((0.2, 0.4, 0.6), (0.5, 0.25, 0.125))


class SeesPixels(nn.Module):
    """Logits are the pixels themselves."""

    @nn.compact
    def __call__(self, images):
        return images.reshape(len(images), -1) * self.param("one", nn.initializers.ones, ())


def test_scaling_keeps_the_dtype_of_pixels():
    network = scale_input(as_network(SeesPixels()), SCALING)
    variables = network.init(jax.random.key(0), (2, 2, 3))
    logits, _ = in_bfloat16(network.apply)(
        variables, jnp.ones((1, 2, 2, 3)), is_training=False, key=jax.random.key(0)
    )
    assert logits.dtype == jnp.bfloat16


def given(value=3.0):
    """Variables that are given but for the head."""
    missing = missing_variables(NETWORK, SHAPE)
    features = jax.tree.map(lambda leaf: np.full_like(leaf, value), missing.parameters["features"])
    return Variables({**missing.parameters, "features": features}, missing.state)


def test_what_is_given_is_taken_and_the_rest_is_drawn():
    network, key = start_from(NETWORK, given()), jax.random.key(0)
    drawn = NETWORK.init(key, SHAPE)
    for found in (network.init(key, SHAPE), jax.jit(lambda key: network.init(key, SHAPE))(key)):
        assert all((leaf == 3).all() for leaf in jax.tree.leaves(found.parameters["features"]))
        heads = (jax.tree.leaves(each.parameters["head"]) for each in (found, drawn))
        assert all(np.allclose(mine, its) for mine, its in zip(*heads, strict=True))


def test_folds_start_alike_but_for_what_is_drawn():
    network = start_from(NETWORK, given())
    folds = jax.jit(jax.vmap(lambda key: network.init(key, SHAPE)))(jax.random.split(jax.random.key(0), 3))
    assert all((leaf == 3).all() for leaf in jax.tree.leaves(folds.parameters["features"]))
    kernel = folds.parameters["head"]["logits"]["kernel"]
    assert not np.array_equal(kernel[0], kernel[1])


def test_shapes_need_no_numbers():
    network = start_from(NETWORK, given())
    shapes = jax.eval_shape(lambda key: network.init(key, SHAPE), jax.random.key(0))
    assert jax.tree.structure(shapes) == jax.tree.structure(missing_variables(NETWORK, SHAPE))


@pytest.mark.parametrize("is_training", [True, False])
def test_each_channel_is_scaled_by_its_own_numbers(is_training):
    network = scale_input(as_network(SeesPixels()), SCALING)
    images = jnp.asarray(np.random.default_rng(0).random((2, 4, 4, 3)), jnp.float32)
    variables = network.init(jax.random.key(0), (4, 4, 3))
    logits, _ = network.apply(variables, images, is_training=is_training, key=jax.random.key(0))
    expected = (images - np.array([0.2, 0.4, 0.6])) / np.array([0.5, 0.25, 0.125])
    np.testing.assert_allclose(logits, expected.reshape(2, -1), rtol=1e-5, atol=1e-6)


def test_a_gray_image_is_scaled_by_the_average_of_the_colors():
    mean, deviation = SCALING.of_channels(1)
    np.testing.assert_allclose((mean, deviation), ([0.4], [0.875 / 3]), rtol=1e-6)
