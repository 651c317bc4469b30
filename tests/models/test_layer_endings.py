"""What follows a convolution in evaluation is computed by its kernel, with the values of the layers one by one."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medjax.models.as_network import as_network
from medjax.models.fused_layers import fuse_layers
from medjax.models.layer_endings import find_ended
from medjax.training.compilation import compile_program

KEY = jax.random.key(0)
CHANNELS = 6


class Net(nn.Module):
    """One convolution, what follows it, and the mean of that."""

    ending: tuple
    features: int = CHANNELS
    kernel: int = 3
    stride: int = 1
    groups: int = 1
    use_bias: bool = False

    @nn.compact
    def __call__(self, images, train):
        images = nn.Conv(CHANNELS, (1, 1), name="before")(images)
        outputs = nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            self.stride,
            feature_group_count=self.groups,
            use_bias=self.use_bias,
            bias_init=nn.initializers.normal(),
        )(images)
        for function in self.ending:
            outputs = function(images, outputs, train)
        return outputs.mean((1, 2))


def norm(_, outputs, train):
    return nn.BatchNorm(use_running_average=not train, bias_init=nn.initializers.normal())(outputs)


def shortcut(images, outputs, _):
    return images + outputs


def apply(function, _, outputs, __):
    return function(outputs)


def by(function):
    return functools.partial(apply, function)


def scale(images, outputs, _):
    return outputs * images.mean((1, 2), keepdims=True)


RELU, RELU6, GELU = by(nn.relu), by(nn.relu6), by(nn.gelu)
# A network, and the number of equations that its last convolution takes in.
ENDED = {
    "batch norm and ReLU": (Net((norm, RELU)), 4),
    "ReLU6": (Net((norm, RELU6)), 4),
    "a shortcut": (Net((norm, shortcut, RELU)), 5),
    "strided": (Net((norm, RELU), stride=2), 4),
    "1 by 1": (Net((norm, RELU), kernel=1), 4),
    "depthwise": (Net((norm, RELU), groups=CHANNELS), 4),
    "in groups": (Net((norm, shortcut, RELU), groups=2), 5),
    "Winograd's": (Net((norm, RELU), features=24), 4),
    "a bias": (Net((RELU,), use_bias=True), 2),
    "up to what no kernel computes": (Net((norm, GELU)), 3),
    "a factor of an image": (Net((norm, scale)), 3),
    "what is used twice": (Net((norm, by(lambda x: x * x))), 3),
    "numbers": (Net((by(lambda x: 2 - 3 * x),)), 2),
}


def make(module):
    network = as_network(module)
    variables = network.init(KEY, (9, 9, CHANNELS))
    state = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.uniform(KEY, leaf.shape), variables.state)
    return network, variables._replace(state=state), jax.random.normal(KEY, (3, 9, 9, CHANNELS))


def logits_of(apply, is_training=False):
    return lambda variables, images: apply(variables, images, is_training=is_training, key=KEY)[0]


@pytest.mark.parametrize(("module", "count"), ENDED.values(), ids=ENDED)
def test_values_are_those_of_the_layers_one_by_one(module, count):
    network, variables, images = make(module)
    found = find_ended(jax.make_jaxpr(logits_of(network.apply))(variables, images).jaxpr)
    [ended] = [each for each in found if each.equations[0].source_info.name_stack.stack[-1].name != "before"]
    assert len(ended.equations) - 1 >= count
    ours = compile_program(logits_of(fuse_layers(network.apply)))
    theirs = jax.jit(logits_of(network.apply))(variables, images)
    assert re.search(r"_then_", ours.lower(variables, images).as_text())
    np.testing.assert_allclose(ours(variables, images), theirs, rtol=1e-4, atol=1e-5)


def test_training_is_left_as_it_is():
    network, variables, images = make(Net((norm, RELU)))
    ours, theirs = (
        str(jax.make_jaxpr(logits_of(each, is_training=True))(variables, images))
        for each in (fuse_layers(network.apply), network.apply)
    )
    assert ours == theirs


def test_two_convolutions_that_are_added_are_taken_in_once():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, images):
            return nn.relu(nn.Conv(4, (3, 3))(images) + nn.Conv(4, (3, 3))(images)).mean((1, 2))

    network, variables, images = make(Two())
    assert len(find_ended(jax.make_jaxpr(logits_of(network.apply))(variables, images).jaxpr)) == 2
    ours = compile_program(logits_of(fuse_layers(network.apply)))(variables, images)
    theirs = jax.jit(logits_of(network.apply))(variables, images)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_not_a_number_stays_one():
    network, variables, images = make(Net((norm, RELU)))
    images = images.at[0, 4, 4, 0].set(jnp.nan)
    logits = compile_program(logits_of(fuse_layers(network.apply)))(variables, images)
    assert jnp.isnan(logits[0]).all()
    assert jnp.isfinite(logits[1:]).all()


def test_gradients_of_evaluation_are_those_of_the_layers():
    network, variables, images = make(Net((norm, shortcut, RELU)))

    def gradient(apply):
        return jax.jit(jax.grad(lambda images: (logits_of(apply)(variables, images) ** 2).sum()))(images)

    np.testing.assert_allclose(gradient(fuse_layers(network.apply)), gradient(network.apply), atol=1e-5)
