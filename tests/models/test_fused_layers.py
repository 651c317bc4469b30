"""Layers that are computed together give the values and gradients of the layers one by one."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medjax.models.as_network import as_network
from medjax.models.cpu_kernels import availability
from medjax.models.fused_layers import find_layers, fuse_layers

KEY = jax.random.key(0)


@jax.custom_jvp
def guided_relu(x):
    """ReLU with a derivative of its own."""
    return jax.nn.relu(x)


guided_relu.defjvp(lambda primals, tangents: (guided_relu(*primals), jax.nn.relu(tangents[0])))


class Block(nn.Module):
    """A convolution, the functions given, a dense layer."""

    between: tuple
    kernel: int = 3
    padding: str = "SAME"
    stride: int = 1
    use_bias: bool = True
    features: int = 8
    dtype: str = "float32"

    @nn.compact
    def __call__(self, images):
        images = nn.Conv(
            self.features,
            (self.kernel,) * 2,
            self.stride,
            self.padding,
            use_bias=self.use_bias,
            bias_init=nn.initializers.normal(),
            dtype=self.dtype,
        )(images)
        for function in self.between:
            images = function(images)
        return nn.Dense(3)(images.reshape(len(images), -1))


def pool(images, side=2, padding="VALID"):
    return nn.max_pool(images, (side, side), (2, 2), padding)


def plus_itself(images):
    return images + pool(nn.relu(images)).mean()


def shifted(images):
    """A scalar that the network computes, not one that is written in it."""
    return jax.lax.add(images, images.mean())


FUSED = {
    "relu, pool": Block((nn.relu, pool)),
    "pool, relu": Block((pool, nn.relu)),
    "without padding": Block((nn.relu, pool), padding="VALID"),
    "padding of its own": Block((nn.relu, pool), padding=((2, 0), (1, 3))),
    "5 by 5": Block((nn.relu, pool), kernel=5),
    "2 by 2": Block((nn.relu, pool), kernel=2),
    "without bias": Block((nn.relu, pool), use_bias=False),
}
APART = {
    "another derivative": Block((guided_relu, pool)),
    "maximum with 0, whose derivative at 0 is one half": Block((functools.partial(jnp.maximum, 0), pool)),
    "another activation": Block((nn.gelu, pool)),
    "no activation": Block((pool,)),
    "stride": Block((nn.relu, pool), stride=2),
    "windows of 3": Block((nn.relu, functools.partial(pool, side=3))),
    "padded windows": Block((nn.relu, functools.partial(pool, padding="SAME"))),
    "what lies between is used": Block((nn.relu, plus_itself, pool)),
    "a number in place of a bias": Block((shifted, nn.relu, pool), use_bias=False),
    "many features": Block((nn.relu, pool), features=264),
    "bfloat16": Block((nn.relu, pool), dtype="bfloat16"),
}


def make(module, side=17):
    network = as_network(module)
    return network, network.init(KEY, (side, side, 1)), jax.random.normal(KEY, (3, side, side, 1))


def trace(network, variables, images):
    def call(variables, images):
        return network.apply(variables, images, is_training=True, key=KEY)

    return jax.make_jaxpr(call)(variables, images).jaxpr


def loss_of(apply, images):
    def loss(variables):
        logits, _ = apply(variables, images, is_training=True, key=KEY)
        return (logits**2).sum()

    return loss


@pytest.mark.parametrize("module", FUSED.values(), ids=FUSED)
def test_values_and_gradients_are_those_of_the_layers_one_by_one(module):
    network, variables, images = make(module)
    assert len(find_layers(trace(network, variables, images))) == 1
    ours, theirs = (
        jax.jit(jax.value_and_grad(loss_of(apply, images)))(variables)
        for apply in (fuse_layers(network.apply), network.apply)
    )
    for got, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("module", APART.values(), ids=APART)
def test_other_layers_are_left_as_they_are(module):
    network, variables, images = make(module)
    assert find_layers(trace(network, variables, images)) == []
    ours, theirs = (
        jax.make_jaxpr(loss_of(apply, images))(variables)
        for apply in (fuse_layers(network.apply), network.apply)
    )
    assert str(ours) == str(theirs)


def test_a_network_whose_last_layer_is_pooling_is_found():
    """The output of a network has no user."""

    class Pooled(nn.Module):
        @nn.compact
        def __call__(self, images):
            return pool(nn.relu(nn.Conv(4, (3, 3))(images)))

    images = jnp.zeros((2, 8, 8, 1))
    variables = Pooled().init(KEY, images)
    assert len(find_layers(jax.make_jaxpr(Pooled().apply)(variables, images).jaxpr)) == 1


def test_folds_under_vmap_are_those_of_a_loop():
    network, _, images = make(FUSED["relu, pool"])
    gradient = jax.jit(jax.grad(loss_of(fuse_layers(network.apply), images)))
    folds = [network.init(jax.random.key(fold), (17, 17, 1)) for fold in range(2)]
    stacked = jax.jit(jax.vmap(jax.grad(loss_of(fuse_layers(network.apply), images))))(
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *folds)
    )
    for number, fold in enumerate(folds):
        for got, expected in zip(jax.tree.leaves(stacked), jax.tree.leaves(gradient(fold)), strict=True):
            np.testing.assert_allclose(got[number], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_without_kernels_nothing_is_replaced(monkeypatch):
    monkeypatch.setenv(availability.VARIABLE, "0")
    network, variables, images = make(FUSED["relu, pool"])
    ours, theirs = (
        str(jax.make_jaxpr(loss_of(apply, images))(variables))
        for apply in (fuse_layers(network.apply), network.apply)
    )
    assert ours == theirs


def test_a_learner_needs_no_llvmlite():
    """It is imported when kernels are compiled; where there are none it may be missing."""
    code = "import sys, medjax.training.learner; sys.exit('llvmlite' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
