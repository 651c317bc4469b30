import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medjax.models.as_network import as_network
from medjax.models.network import abstract_variables
from medjax.models.vision_transformer import WIDTH, AttentionBlock, vit_tiny
from tests.models.zoo import count_parameters, feature_shape


def test_it_has_the_published_number_of_parameters():
    """As timm's table of results gives it."""
    assert count_parameters(vit_tiny(1000), (224, 224, 3)) == 5_717_416


@pytest.mark.parametrize(("side", "patches"), [(224, 196), (64, 16), (60, 225), (28, 49), (30, 64), (1, 1)])
def test_each_patch_has_a_position_whatever_the_size(side, patches):
    variables = abstract_variables(as_network(vit_tiny(2)), (side, side, 1))
    assert variables.parameters["features"]["pos_embed"].shape == (1, patches + 1, WIDTH)


def test_the_map_is_the_class_token():
    assert feature_shape(vit_tiny(2), (28, 28, 1)) == (1, 1, WIDTH)


def test_attention_is_that_of_stock_layers():
    x = jax.random.normal(jax.random.key(0), (2, 5, WIDTH))
    variables = AttentionBlock().init(jax.random.key(1), x)
    variables = jax.tree.map(
        lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(2), leaf.shape), variables
    )
    parameters = variables["params"]

    def norm(name, x):
        return nn.LayerNorm(epsilon=1e-6).apply({"params": parameters[name]}, x)

    def dense(name, x):
        return x @ parameters[name]["kernel"] + parameters[name]["bias"]

    queries, keys, values = (
        part.reshape(2, 5, 3, 64) for part in jnp.split(dense("qkv", norm("norm1", x)), 3, axis=-1)
    )
    weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", queries, keys) / 8)
    expected = x + dense("proj", jnp.einsum("bhqk,bkhd->bqhd", weights, values).reshape(x.shape))
    hidden = jax.nn.gelu(dense("fc1", norm("norm2", expected)), approximate=False)
    expected = expected + dense("fc2", hidden)
    np.testing.assert_allclose(AttentionBlock().apply(variables, x), expected, rtol=1e-3, atol=1e-3)
