"""The contract between networks and training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medjax.errors import RefusedError
from medjax.models.as_network import as_network
from medjax.models.network import (
    abstract_variables,
    arguments_of,
    count_classes,
    in_bfloat16,
    make_variables,
    require_same_state,
)
from tests.user_networks import NETWORKS

SHAPE = (28, 28, 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_keeps_the_contract(name):
    network = as_network(NETWORKS[name](5))
    variables = network.init(jax.random.key(0), SHAPE)
    assert jax.tree.structure(abstract_variables(network, SHAPE)) == jax.tree.structure(variables)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables.parameters))
    assert not any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(variables)), (
        "no key lives in the state"
    )
    assert count_classes(network, SHAPE) == 5
    images = jax.random.uniform(jax.random.key(1), (3, *SHAPE))
    for is_training in (False, True):
        logits, state = network.apply(variables, images, is_training=is_training, key=jax.random.key(2))
        assert logits.shape == (3, 5)
        assert jax.tree.structure(state) == jax.tree.structure(variables.state)
        if not is_training:
            jax.tree.map(np.testing.assert_array_equal, state, variables.state)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_key_alone_decides(name):
    network = as_network(NETWORKS[name](5))
    first, again, other = (network.init(jax.random.key(seed), SHAPE) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert any(
        not np.array_equal(mine, its)
        for mine, its in zip(
            jax.tree.leaves(first.parameters), jax.tree.leaves(other.parameters), strict=True
        )
    )
    images = jax.random.uniform(jax.random.key(1), (3, *SHAPE))
    calls = [network.apply(first, images, is_training=True, key=jax.random.key(seed))[0] for seed in (3, 3)]
    np.testing.assert_array_equal(*calls)


class Growing(nn.Module):
    """Sows what grows into a collection that it carries."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(2)(x.reshape(len(x), -1))
        self.sow("losses", "norm", x.sum())
        return x


class NotLogits(nn.Module):
    """Returns a dictionary."""

    @nn.compact
    def __call__(self, x):
        return {"logits": nn.Dense(2)(x.reshape(len(x), -1))}


def test_a_state_that_grows_is_refused():
    network = as_network(Growing())
    variables = network.init(jax.random.key(0), SHAPE)
    with pytest.raises(RefusedError, match="network Growing: its state has other shapes or dtypes after"):
        network.apply(variables, jnp.zeros((2, *SHAPE)), is_training=True, key=jax.random.key(0))


class Centered(nn.Module):
    """Keeps the mean of its last batch as it comes."""

    @nn.compact
    def __call__(self, x, train=False):
        mean = self.variable("means", "of batch", jnp.zeros, SHAPE)
        if train:
            mean.value = x.mean(0)
        return nn.Dense(2)((x - mean.value).reshape(len(x), -1))


def test_under_bfloat16_a_state_stays_float32():
    network = as_network(Centered())
    variables = network.init(jax.random.key(0), SHAPE)
    images = jnp.full((2, *SHAPE), 1 / 3)
    _, state = in_bfloat16(network.apply)(variables, images, is_training=True, key=jax.random.key(0))
    [mean] = jax.tree.leaves(state)
    assert mean.dtype == jnp.float32
    assert (mean == jnp.bfloat16(1 / 3)).all()


def test_what_is_no_row_of_logits_an_image_is_refused():
    with pytest.raises(RefusedError, match=r"network NotLogits: returned a dict for 1 image \(return logits"):
        count_classes(as_network(NotLogits()), SHAPE)


def test_arguments_are_found_behind_partials_and_metaclasses():
    import functools

    def function(first, second, *, rngs, width=3):
        return first, second, rngs, width

    assert list(arguments_of(functools.partial(function, 1, width=4))) == ["second", "rngs"]
    assert "rngs" in arguments_of(NETWORKS["NNX BatchNorm and Dropout"](3))
    assert arguments_of(dict.fromkeys) == arguments_of(dict.fromkeys)

    class Unusual:
        def __init__(this, width, *, rngs):
            pass

    assert list(arguments_of(Unusual)) == ["width", "rngs"]
    assert list(arguments_of(functools.partial(Unusual, 3))) == ["rngs"]


def test_parameters_become_float32_and_nothing_is_weakly_typed():
    numbers = {"a": jnp.ones(2, jnp.bfloat16), "b": np.float64(1), "c": 0.5}
    parameters, state = make_variables("mine", numbers, {**numbers, "d": 3})
    assert [leaf.dtype.name for leaf in jax.tree.leaves(parameters)] == ["float32"] * 3
    assert [leaf.dtype.name for leaf in jax.tree.leaves(state)] == ["bfloat16", "float32", "float32", "int32"]
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((parameters, state)))


@pytest.mark.parametrize(("leaf", "kind"), [(jnp.arange(3), "int32"), (3, "int"), (jax.nn.relu, "")])
def test_parameters_without_a_gradient_are_refused(leaf, kind):
    with pytest.raises(RefusedError, match=rf"network mine: has a parameter of type {kind}.*no gradient"):
        make_variables("mine", {"a": jnp.ones(2), "b": leaf}, {})


@jax.tree_util.register_pytree_node_class
class Box:
    """A tree that compares by identity, as most classes do."""

    def __init__(self, value):
        self.value = value

    def tree_flatten(self):
        return (self.value,), None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        return cls(*leaves)


def test_a_state_may_be_a_tree_of_the_users_own():
    before, after = Box(jnp.zeros(2)), Box(jnp.ones(2))
    assert require_same_state("mine", before, after) is after
    for other in (Box(jnp.ones(3)), {"value": jnp.ones(2)}):
        with pytest.raises(RefusedError, match=r"network mine: its state has other shapes"):
            require_same_state("mine", before, other)
