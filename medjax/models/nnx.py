"""An NNX module as a `Network`: split once into its graph and its arrays, merged again in each call."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from medjax.models.network import (
    TRAINING_FLAGS,
    Network,
    Variables,
    find_flag,
    make_variables,
    parameter_names,
    require_logits,
    require_same_state,
)


def from_nnx(model: Any, name: str, settings: Mapping[str, Any]) -> Network:
    """A network of an NNX module, or of a factory that is called as `factory(rngs=...)` for each fold and seed.

    Parameters and state are nested dicts by the module's attributes. Counters and keys of random streams are made anew
    from the key of each call.
    """
    from flax import nnx  # imported here: it takes time, and only a user of NNX needs it

    is_drawn = isinstance(model, nnx.Module)

    def make(key: Any) -> Any:
        return model if is_drawn else model(rngs=nnx.Rngs(key))

    def split(module: Any) -> tuple[Any, Any, Any, Any]:
        return nnx.split(module, nnx.Param, nnx.RngState, ...)

    @functools.cache
    def outline() -> tuple[Any, Callable[..., Any], list[Any]]:
        """The module's graph, its `__call__`, and the shapes of its arrays; computes nothing."""
        module = model if is_drawn else nnx.eval_shape(lambda: make(0))
        graph, *shapes = split(module)
        return graph, type(module).__call__, shapes

    def init(key: Key[Array, ""], image_shape: tuple[int, ...]) -> Variables:
        del image_shape  # NNX modules know the sizes of their inputs
        _, parameters, _, state = split(make(key))
        return make_variables(name, _to_dict(parameters), _to_dict(state))

    def apply(
        variables: Variables, images: Array, *, is_training: bool, key: Key[Array, ""]
    ) -> tuple[Array, PyTree]:
        graph, call, (parameters, streams, state) = outline()
        module = nnx.merge(
            graph,
            _from_dict(parameters, variables.parameters),
            _fresh_streams(key, streams),
            _from_dict(state, variables.state),
        )
        (module.train if is_training else module.eval)()
        flag = find_flag(call)
        options: dict[str, Any] = {} if flag is None else {flag: is_training == TRAINING_FLAGS[flag]}
        if "rngs" in parameter_names(call):
            options["rngs"] = nnx.Rngs(key)
        logits = require_logits(name, module(images, **options), images)
        nnx.pop(module, nnx.Intermediate)  # what it has sown would grow with each call
        changed = _to_dict(split(module)[3]) if is_training else variables.state
        return logits, require_same_state(name, variables.state, changed)

    return Network(init, apply, name, settings)


def _path_names(path: tuple[Any, ...]) -> list[str]:
    """The names of an NNX state's path: of attributes, and of what a variable's value holds if it is a dict or a tuple."""
    names = (getattr(entry, "key", getattr(entry, "idx", None)) for entry in path)
    return [str(name) for name in names if name is not None]  # None: says that a variable has a value


def _to_dict(state: Any) -> dict[str, Any]:
    """An NNX state as nested dicts of arrays, which checkpoints can hold."""
    nested: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        *parents, last = _path_names(path)
        inner = nested
        for name in parents:
            inner = inner.setdefault(name, {})
        inner[last] = leaf
    return nested


def _from_dict(like: Any, nested: Mapping[str, Any]) -> Any:
    """The inverse of `_to_dict`, as an NNX state of the structure of `like`."""

    def find(path: tuple[Any, ...], _: Any) -> Any:
        return functools.reduce(lambda inner, name: inner[name], _path_names(path), nested)

    return jax.tree_util.tree_map_with_path(find, like)


def _fresh_streams(key: Key[Array, ""], streams: Any) -> Any:
    """States of NNX's random streams: a key of its own for each, and counters at zero."""
    leaves, structure = jax.tree.flatten(streams)
    fresh = []
    for index, leaf in enumerate(leaves):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            own = jax.random.fold_in(key, index)
            fresh.append(jax.random.split(own, leaf.shape) if leaf.shape else own)
        else:
            fresh.append(jnp.zeros(leaf.shape, leaf.dtype))
    return jax.tree.unflatten(structure, fresh)
