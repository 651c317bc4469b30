"""The layers of a network, in the order of their calls, and what a change to one does to the logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medjax.errors import RefusedError
from medjax.models.as_network import as_network
from medjax.models.cnn import CNN
from medjax.models.layer_maps import change_layer, layer_shapes
from tests.user_networks import nnx_factory, plain_functions

SHAPE = (12, 12, 1)


def tiny():
    return as_network(CNN(3, block_features=(4, 8), hidden_units=0))


def test_layers_come_in_the_order_in_which_they_return():
    assert layer_shapes(tiny(), SHAPE) == {
        "features/block_0": (5, 5, 4),
        "features/block_1": (1, 1, 8),
        "features": (1, 1, 8),
        "head/dropout": (8,),
        "head/logits": (3,),
        "head": (3,),
    }
    assert list(layer_shapes(tiny(), SHAPE))[2] == "features"


@pytest.mark.parametrize("make", [nnx_factory, plain_functions])
def test_networks_that_are_no_linen_modules_have_none(make):
    assert layer_shapes(as_network(make(3)), SHAPE) == {}


def test_a_layer_that_is_called_twice_is_none():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, images):
            layer = nn.Conv(1, (1, 1), name="shared")
            return nn.Dense(2, name="logits")(layer(layer(images)).mean((1, 2)))

    assert list(layer_shapes(as_network(Twice()), SHAPE)) == ["logits"]


def test_a_change_is_what_the_rest_of_the_network_sees():
    network = tiny()
    variables = network.init(jax.random.key(0), SHAPE)
    images = jnp.asarray(np.random.default_rng(0).random((2, *SHAPE), dtype=np.float32))
    as_it_is = network.apply(variables, images, is_training=False, key=jax.random.key(0))[0]
    logits, maps = change_layer(network, variables, images, "features", jnp.zeros((2, 1, 1, 8)))
    np.testing.assert_array_equal(logits, as_it_is)
    changed, same = change_layer(network, variables, images, "features", -maps)
    np.testing.assert_array_equal(same, maps)
    np.testing.assert_allclose(
        changed, np.broadcast_to(variables.parameters["head"]["logits"]["bias"], (2, 3)), atol=1e-6
    )


def test_a_layer_that_there_is_not_is_refused():
    network = tiny()
    variables = network.init(jax.random.key(0), SHAPE)
    with pytest.raises(RefusedError, match=r"--layer body: network CNN has no such layer .*features"):
        change_layer(network, variables, jnp.zeros((1, *SHAPE)), "body", jnp.zeros((1, 1)))
