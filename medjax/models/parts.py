"""The two parts of a network, `features` and `head`, computed apart, so that the first can stay as it is."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Key, PyTree

from medjax.errors import refuse
from medjax.models.network import (
    TRAINING_FLAGS,
    Network,
    Variables,
    abstract_variables,
    find_flag,
    require_logits,
    require_same_state,
)

HEAD = "head"
_FEATURES = "features"


class Parts(NamedTuple):
    """A network in two."""

    # (variables, images) -> what the head is given, as in evaluation: batch statistics and dropout rest
    features: Callable[[Variables, Array], Array]
    # (variables, what the head is given, *, is_training, key) -> (logits, state)
    head: Callable[..., tuple[Array, PyTree]]


def split_parts(network: Network, image_shape: tuple[int, ...], option: str) -> Parts:
    """The parts of a Linen network that calls modules `features` and `head`, in this order, for its logits.

    RefusedError, which names the `option` that needs them, for any other network.
    """
    parameters = abstract_variables(network, image_shape).parameters
    is_split = isinstance(parameters, Mapping) and {_FEATURES, HEAD} >= set(parameters) >= {HEAD}
    module = network.module
    if module is None or not is_split:
        remedy = "give one of medjax's, or name two modules in it features and head"
        raise refuse(option, f"network {network.name} has no parts features and head alone", remedy)

    def features(variables: Variables, images: Array) -> Array:
        given: list[Array] = []

        def record(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
            if context.module.path == (HEAD,) and context.method_name == "__call__":
                given.append(args[0])
            return call(*args, **kwargs)

        # The whole network, because it may do more than call its parts; what comes after is dropped by the compiler.
        with nn.intercept_methods(record):
            network.apply(variables, images, is_training=False, key=jax.random.key(0))
        return given[0]

    def head(
        variables: Variables, maps: Array, *, is_training: bool, key: Key[Array, ""]
    ) -> tuple[Array, PyTree]:
        collections = {"params": variables.parameters, **variables.state}
        changing = [name for name, each in variables.state.items() if HEAD in each] if is_training else []
        logits, changed = module.apply(
            collections,
            maps,
            rngs={"dropout": key, "params": jax.random.fold_in(key, 1)},
            mutable=changing,
            method=lambda module, maps: _call(module.head, maps, is_training),
        )
        state = require_same_state(network.name, variables.state, {**variables.state, **changed})
        return require_logits(network.name, logits, maps), state

    return Parts(features, head)


def _call(head: nn.Module, maps: Array, is_training: bool) -> Array:
    flag = find_flag(type(head).__call__)
    return head(maps, **({} if flag is None else {flag: is_training == TRAINING_FLAGS[flag]}))


def freeze_features(network: Network, image_shape: tuple[int, ...]) -> Network:
    """The network with features that are never trained: no gradient reaches them, and their batch statistics rest."""
    parts = split_parts(network, image_shape, "--freeze features")

    def apply(
        variables: Variables, images: Array, *, is_training: bool, key: Key[Array, ""]
    ) -> tuple[Array, PyTree]:
        if not is_training:
            return network.apply(variables, images, is_training=False, key=key)
        maps = lax.stop_gradient(parts.features(variables, images))
        return parts.head(variables, maps, is_training=True, key=key)

    return dataclasses.replace(network, apply=apply)


def head_network(network: Network, image_shape: tuple[int, ...]) -> Network:
    """The head as a network of its own, whose images are what it is given; it starts as it would in the whole."""
    parts = split_parts(network, image_shape, "--freeze features")

    def init(key: Key[Array, ""], shape: tuple[int, ...]) -> Variables:
        del shape  # that of one map; the head's own sizes follow from the image's
        return take_head(network.init(key, image_shape))

    return dataclasses.replace(network, init=init, apply=parts.head)


def take_head(variables: Variables) -> Variables:
    """The head's share of a network's variables."""
    state = {name: {HEAD: each[HEAD]} for name, each in variables.state.items() if HEAD in each}
    return Variables({HEAD: variables.parameters[HEAD]}, state)


def put_head(variables: Variables, head: Variables) -> Variables:
    """A network's variables with another head."""
    state = {name: {**each, **head.state.get(name, {})} for name, each in variables.state.items()}
    return Variables({**variables.parameters, **head.parameters}, state)
