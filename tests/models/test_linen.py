"""Linen modules under any name of the training flag."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medjax.errors import RefusedError
from medjax.models.linen import from_linen, plain_setting
from medjax.models.network import TRAINING_FLAGS

SHAPE = (6, 6, 1)
IMAGES = jnp.asarray(np.random.default_rng(0).random((4, *SHAPE), np.float32))


def module_with_flag(flag):
    """A module that shouts whether it is trained: logits are 1 in training, 0 otherwise."""

    def call(self, x, value):
        is_training = value == TRAINING_FLAGS[flag]
        return nn.Dense(2)(x.reshape(len(x), -1)) * 0 + float(is_training)

    scope = {}
    exec(f"def __call__(self, x, *, {flag}):\n    return call(self, x, {flag})", {"call": call}, scope)
    return type("Shouting", (nn.Module,), {"__call__": nn.compact(scope["__call__"])})()


@pytest.mark.parametrize("flag", TRAINING_FLAGS)
def test_the_flag_is_found_under_every_usual_name(flag):
    network = from_linen(module_with_flag(flag))
    variables = network.init(jax.random.key(0), SHAPE)
    for is_training in (False, True):
        logits, _ = network.apply(variables, IMAGES, is_training=is_training, key=jax.random.key(0))
        np.testing.assert_array_equal(logits, float(is_training))


class TrainMethod(nn.Module):
    """`train` is a method, which tells nothing."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x.reshape(len(x), -1))

    def train(self):
        raise NotImplementedError


def test_a_method_is_no_training_flag():
    network = from_linen(TrainMethod())
    variables = network.init(jax.random.key(0), SHAPE)
    logits, _ = network.apply(variables, IMAGES, is_training=True, key=jax.random.key(0))
    assert logits.shape == (len(IMAGES), 2)


class Counting(nn.Module):
    """Its state starts as Python numbers."""

    @nn.compact
    def __call__(self, x, train=False):
        count = self.variable("counts", "batches", lambda: 0)
        if train:
            count.value += 1
        return nn.Dense(2)(x.reshape(len(x), -1))


def test_a_state_of_python_numbers_becomes_arrays():
    variables = from_linen(Counting()).init(jax.random.key(0), SHAPE)
    assert variables.state["counts"]["batches"].dtype == jnp.int32


class AlwaysTraining(nn.Module):
    """Batch statistics, and no way to say that it is not trained."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.BatchNorm(use_running_average=False)(x).reshape(len(x), -1))


def test_a_module_that_cannot_be_told_that_it_is_evaluated_is_refused():
    network = from_linen(AlwaysTraining())
    variables = network.init(jax.random.key(0), SHAPE)
    with pytest.raises(
        RefusedError, match=r"changes its state outside training.*an argument named is_training or"
    ):
        network.apply(variables, IMAGES, is_training=False, key=jax.random.key(0))


class InTrainingOnly(nn.Module):
    """A second head that only training has."""

    @nn.compact
    def __call__(self, x, train=False):
        x = x.reshape(len(x), -1)
        if train:
            nn.Dense(3, name="second")(x)
        return nn.Dense(2)(x)


def test_parameters_that_only_training_has_are_refused():
    network = from_linen(InTrainingOnly())
    variables = network.init(jax.random.key(0), SHAPE)
    with pytest.raises(RefusedError, match=r"has not all of its parameters.*\"/second\".*as in evaluation"):
        network.apply(variables, IMAGES, is_training=True, key=jax.random.key(0))


def test_settings_are_plain_and_the_same_in_every_process():
    settings = from_linen(nn.Sequential([nn.Dense(3), nn.relu])).settings
    assert settings["layers"][0]["Dense"]["features"] == 3
    assert settings["layers"][1] == "relu"
    assert plain_setting(lambda x: x) == "<lambda>"
    assert "0x" not in repr(settings)


@dataclasses.dataclass
class Sizes:
    """Settings as a dataclass."""

    width: int
    cap: float = float("inf")


def test_settings_are_json_and_tell_their_values():
    settings = [Sizes(3), functools.partial(nn.GroupNorm, num_groups=2), np.float32(0.5), -np.inf]
    found = json.loads(json.dumps(plain_setting(settings), allow_nan=False))
    assert found == [{"Sizes": {"width": 3, "cap": "inf"}}, {"GroupNorm": [{"num_groups": 2}]}, 0.5, "-inf"]
