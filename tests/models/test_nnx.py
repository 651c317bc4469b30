"""NNX modules: factories and instances, in both of NNX's graph modes."""

import contextlib
import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from medjax.models.as_network import as_network
from tests.user_networks import NnxCNN, nnx_factory

SHAPE = (28, 28, 1)


@contextlib.contextmanager
def graph_mode(is_graph):
    before = flax.config.nnx_graph_mode
    flax.config.update("nnx_graph_mode", is_graph)
    try:
        yield
    finally:
        flax.config.update("nnx_graph_mode", before)


@pytest.mark.parametrize("is_graph", [True, False])
def test_a_step_changes_batch_statistics_and_an_evaluation_nothing(is_graph):
    with graph_mode(is_graph):
        network = as_network(nnx_factory(3))
        variables = jax.jit(network.init, static_argnums=1)(jax.random.key(0), SHAPE)
        images = jax.random.uniform(jax.random.key(1), (4, *SHAPE))
        apply = jax.jit(network.apply, static_argnames="is_training")
        _, trained = apply(variables, images, is_training=True, key=jax.random.key(2))
        _, same = apply(variables, images, is_training=False, key=jax.random.key(2))
    assert not np.array_equal(trained["norm"]["mean"], variables.state["norm"]["mean"])
    jax.tree.map(np.testing.assert_array_equal, same, variables.state)


def test_dropout_follows_the_key_and_is_off_in_evaluation():
    network = as_network(nnx_factory(3))
    variables = network.init(jax.random.key(0), SHAPE)
    images = jax.random.uniform(jax.random.key(1), (4, *SHAPE))

    def logits(seed, is_training):
        return network.apply(variables, images, is_training=is_training, key=jax.random.key(seed))[0]

    assert np.array_equal(logits(0, True), logits(0, True))
    assert not np.array_equal(logits(0, True), logits(1, True))
    assert np.array_equal(logits(0, False), logits(1, False))


def test_variables_are_nested_dicts_of_plain_names():
    variables = as_network(nnx_factory(3)).init(jax.random.key(0), SHAPE)
    assert set(variables.parameters) == {"conv", "norm", "layers"}
    assert set(variables.parameters["layers"]) == {"0", "1"}
    assert all(isinstance(leaf, jnp.ndarray) for leaf in jax.tree.leaves(variables))


def test_an_instance_keeps_its_weights_and_a_warning_says_so():
    module = NnxCNN(3, rngs=nnx.Rngs(7))
    with pytest.warns(UserWarning, match="weights are drawn already: every fold and seed starts from"):
        network = as_network(module)
    first, second = (network.init(jax.random.key(seed), SHAPE) for seed in (0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    np.testing.assert_array_equal(first.parameters["conv"]["kernel"], module.conv.kernel[...])


def test_a_factory_draws_anew_for_each_key():
    network = as_network(functools.partial(NnxCNN, outputs=3))
    first, second = (network.init(jax.random.key(seed), SHAPE) for seed in (0, 1))
    assert not np.array_equal(first.parameters["conv"]["kernel"], second.parameters["conv"]["kernel"])
    assert network.settings == {"outputs": 3}


class Unusual(nnx.Module):
    """A variable that holds a tuple, a stream given to the call, and an output that is sown."""

    def __init__(self, *, rngs):
        self.linear = nnx.Linear(28 * 28, 2, rngs=rngs)
        self.dropout = nnx.Dropout(0.5)
        self.pair = nnx.BatchStat((jnp.zeros(3), jnp.ones(2)))

    def __call__(self, x, *, rngs):
        x = self.dropout(x.reshape(len(x), -1), rngs=rngs)
        self.sow(nnx.Intermediate, "features", x)
        return self.linear(x)


@pytest.mark.parametrize("is_graph", [True, False])
@pytest.mark.filterwarnings("ignore:Using 'Module.sow")
def test_variables_of_tuples_streams_of_the_call_and_sown_values(is_graph):
    with graph_mode(is_graph):
        network = as_network(Unusual)
        variables = network.init(jax.random.key(0), SHAPE)
        np.testing.assert_array_equal(variables.state["pair"]["0"], np.zeros(3))
        np.testing.assert_array_equal(variables.state["pair"]["1"], np.ones(2))
        images = jax.random.uniform(jax.random.key(1), (4, *SHAPE))
        first, second = (
            network.apply(variables, images, is_training=True, key=jax.random.key(seed)) for seed in (0, 1)
        )
    assert not np.array_equal(first[0], second[0])
    assert jax.tree.structure(first[1]) == jax.tree.structure(variables.state)
