import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medjax.errors import RefusedError
from medjax.models.as_network import as_network
from medjax.models.cnn import CNN
from medjax.models.network import Variables
from medjax.models.parts import freeze_features, head_network, put_head, split_parts, take_head

SHAPE = (4, 4, 1)
KEY = jax.random.key(0)


class Norm(nn.Module):
    """A dense layer, batch norm and dropout."""

    units: int

    @nn.compact
    def __call__(self, x, *, is_training=False):
        x = nn.BatchNorm(use_running_average=not is_training)(nn.Dense(self.units)(x))
        return nn.Dropout(0.5, deterministic=not is_training)(x)


class Normed(nn.Module):
    """Batch statistics in both parts, and something done before them and between."""

    def setup(self):
        self.features = Norm(3)
        self.head = Norm(2)

    def __call__(self, images, *, is_training=False):
        maps = self.features(images.reshape(len(images), -1) - 0.5, is_training=is_training)
        return self.head(2 * maps, is_training=is_training)


NETWORK = as_network(Normed())
IMAGES = jnp.asarray(np.random.default_rng(0).random((6, *SHAPE)), jnp.float32)
VARIABLES = NETWORK.init(KEY, SHAPE)


def is_same(first, second):
    return jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), first, second))


def test_the_parts_together_are_the_network():
    parts = split_parts(NETWORK, SHAPE, "--freeze features")
    logits, state = parts.head(VARIABLES, parts.features(VARIABLES, IMAGES), is_training=False, key=KEY)
    expected, _ = NETWORK.apply(VARIABLES, IMAGES, is_training=False, key=KEY)
    np.testing.assert_allclose(logits, expected, rtol=1e-6)
    assert is_same(state, VARIABLES.state)


def test_frozen_features_have_no_gradient_and_keep_their_batch_statistics():
    frozen = freeze_features(NETWORK, SHAPE)

    def loss(parameters):
        variables = Variables(parameters, VARIABLES.state)
        logits, state = frozen.apply(variables, IMAGES, is_training=True, key=KEY)
        return (logits**2).sum(), state

    gradient, state = jax.grad(loss, has_aux=True)(VARIABLES.parameters)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient["features"]))
    assert all((leaf != 0).any() for leaf in jax.tree.leaves(gradient["head"]["BatchNorm_0"]))
    before = VARIABLES.state["batch_stats"]
    assert is_same(state["batch_stats"]["features"], before["features"])
    assert not is_same(state["batch_stats"]["head"], before["head"])


def test_a_frozen_network_is_evaluated_as_ever():
    found, _ = freeze_features(NETWORK, SHAPE).apply(VARIABLES, IMAGES, is_training=False, key=KEY)
    expected, _ = NETWORK.apply(VARIABLES, IMAGES, is_training=False, key=KEY)
    assert np.array_equal(found, expected)


def test_the_head_alone_is_trained_as_in_the_frozen_network():
    parts = split_parts(NETWORK, SHAPE, "--freeze features")
    maps = parts.features(VARIABLES, IMAGES)
    alone = head_network(NETWORK, SHAPE)
    head = alone.init(KEY, maps.shape[1:])
    assert is_same(head, take_head(VARIABLES))
    found, state = alone.apply(head, maps, is_training=True, key=KEY)
    expected, whole = freeze_features(NETWORK, SHAPE).apply(VARIABLES, IMAGES, is_training=True, key=KEY)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(
        jax.tree.leaves(state)[0], jax.tree.leaves(whole["batch_stats"]["head"])[0], rtol=1e-5
    )
    assert is_same(put_head(VARIABLES, head), VARIABLES)


def test_the_built_in_network_has_both_parts():
    network = as_network(CNN(2, block_features=(4,), hidden_units=0, centre=True))
    variables = network.init(KEY, (8, 8, 1))
    maps = split_parts(network, (8, 8, 1), "--freeze features").features(variables, jnp.ones((1, 8, 8, 1)))
    assert maps.shape == (1, 3, 3, 4)


@pytest.mark.parametrize("model", [nn.Dense(2), (lambda key, shape: {"head": jnp.ones(2)}, lambda p, x: x)])
def test_a_network_without_parts_is_refused(model):
    with pytest.raises(RefusedError, match=r"--freeze features: network \S+ has no parts features and head"):
        split_parts(as_network(model), (8,) if isinstance(model, nn.Module) else SHAPE, "--freeze features")
