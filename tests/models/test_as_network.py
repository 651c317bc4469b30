"""Models of every kind become networks; what is none is refused with what to give."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import RefusedError
from medjax.models.as_network import as_network
from medjax.models.cnn import CNN
from medjax.models.network import Variables
from tests.user_networks import NnxCNN, plain_functions, stateful_functions

SHAPE = (28, 28, 1)


def test_a_network_is_taken_as_it_is():
    network = as_network(CNN(3))
    assert as_network(network) is network


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (CNN, "model CNN: is no network, but a class of networks"),
        (3, "model int: is no network"),
        ("cnn", "model str: is no network"),
        (lambda x: x, "model <lambda>: is no network"),
        ((1, 2), "model tuple: is no network"),
        (
            NnxCNN,
            r"model NnxCNN: needs outputs beside rngs \(give functools\.partial\(NnxCNN, outputs=\.\.\.\)\)",
        ),
        (
            functools.partial(NnxCNN, 3, widht=4),
            r"model NnxCNN: has no argument widht \(its arguments are outputs, rngs\)",
        ),
    ],
)
def test_what_is_no_network_is_refused(model, message):
    with pytest.raises(RefusedError, match=message):
        as_network(model)


def test_plain_functions_may_return_parameters_alone():
    network = as_network(plain_functions(3))
    variables = network.init(jax.random.key(0), SHAPE)
    assert variables.state == {}
    logits, state = network.apply(variables, jnp.ones((2, *SHAPE)), is_training=True, key=jax.random.key(0))
    assert logits.shape == (2, 3)
    assert state == {}


def test_functions_over_variables_get_the_flag_and_the_key_and_keep_a_state():
    network = as_network(stateful_functions(3))
    variables = network.init(jax.random.key(0), SHAPE)
    assert isinstance(variables, Variables)
    images = jnp.ones((2, *SHAPE))
    first, state = network.apply(variables, images, is_training=True, key=jax.random.key(0))
    other, _ = network.apply(variables, images, is_training=True, key=jax.random.key(1))
    assert not np.array_equal(first, other)
    assert state["mean"] == pytest.approx(0.1)
    _, unchanged = network.apply(variables, images, is_training=False, key=jax.random.key(0))
    assert unchanged["mean"] == 0
