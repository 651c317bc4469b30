"""A Linen module as a `Network`: any name of the training flag, any mutable collection, any random stream."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import errors as flax_errors
from flax import linen as nn
from jaxtyping import Array, Key, PyTree

from medjax.errors import refuse
from medjax.models.network import (
    TRAINING_FLAGS,
    Network,
    Variables,
    find_flag,
    make_variables,
    require_logits,
    require_same_state,
)


def from_linen(module: nn.Module) -> Network:
    """A network of a Linen module. The collection "params" becomes its parameters, all others its state.

    Its training flag is an argument of `__call__` or a field, under any of the names in `TRAINING_FLAGS`. A module that has
    none and changes its state all the same raises RefusedError when it is evaluated.
    """
    flag = find_flag(type(module).__call__)
    name = type(module).__name__
    fields = {each.name for each in dataclasses.fields(module)}  # not attributes: `train` may be a method
    field = None if flag else next((each for each in TRAINING_FLAGS if each in fields), None)

    def bind(*, is_training: bool) -> tuple[nn.Module, dict[str, bool]]:
        """The module and the arguments that tell it whether it is trained."""
        if flag is not None:
            return module, {flag: is_training == TRAINING_FLAGS[flag]}
        if field is not None:
            return module.clone(**{field: is_training == TRAINING_FLAGS[field]}), {}
        return module, {}

    def init(key: Key[Array, ""], image_shape: tuple[int, ...]) -> Variables:
        bound, options = bind(is_training=False)
        # Modules draw at random under names of their own; Linen falls back on "params" for all of them.
        variables = bound.init(key, jnp.zeros((1, *image_shape), jnp.float32), **options)
        variables = dict(nn.meta.unbox(variables))
        return make_variables(name, variables.pop("params", {}), variables)

    def apply(
        variables: Variables, images: Array, *, is_training: bool, key: Key[Array, ""]
    ) -> tuple[Array, PyTree]:
        bound, options = bind(is_training=is_training)
        rngs = {"dropout": key, "params": jax.random.fold_in(key, 1)}
        state = dict(variables.state)
        collections = {"params": variables.parameters, **state}
        try:
            if is_training and state:
                logits, changed = bound.apply(collections, images, rngs=rngs, mutable=list(state), **options)
                state = require_same_state(name, state, dict(changed))
            else:
                logits = bound.apply(collections, images, rngs=rngs, **options)
        except flax_errors.ModifyScopeVariableError as error:
            raise refuse(
                f"network {name}",
                "changes its state outside training, as nothing tells it whether it is trained",
                f"give its __call__ an argument named {' or '.join(list(TRAINING_FLAGS)[:4])}",
            ) from error
        except (flax_errors.ScopeParamNotFoundError, flax_errors.ScopeCollectionNotFound) as error:
            raise refuse(
                f"network {name}",
                f"has not all of its parameters or its state: {str(error).partition(' (http')[0]}",
                "make them in every call, for networks are initialized as in evaluation",
            ) from error
        return require_logits(name, logits, images), state

    return Network(init, apply, name, _settings_of(module), module)


def _settings_of(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, without those that Linen adds to a module."""
    hidden = ("parent", "name") if isinstance(value, nn.Module) else ()
    names = [field.name for field in dataclasses.fields(value) if field.name not in hidden]
    return {name: plain_setting(getattr(value, name)) for name in names}


def plain_setting(value: Any) -> Any:
    """A setting as JSON can hold it, without addresses in memory, so that two processes agree on it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain_setting(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): plain_setting(each) for name, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):  # Linen modules are dataclasses
        return {type(value).__name__: _settings_of(value)}
    if isinstance(value, functools.partial):
        return {plain_setting(value.func): plain_setting([*value.args, value.keywords])}
    return getattr(value, "__name__", type(value).__name__)
