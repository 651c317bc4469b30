"""From a model of any kind to a `Network`."""

import functools
import sys
import warnings
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jaxtyping import Array, Key, PyTree

from medjax.errors import refuse
from medjax.models.linen import from_linen, plain_setting
from medjax.models.network import (
    Network,
    Variables,
    arguments_of,
    make_variables,
    parameter_names,
    require_logits,
    require_same_state,
)
from medjax.models.nnx import from_nnx


def as_network(model: Any) -> Network:
    """Make a `Network` of a model of any kind.

    Takes a Linen module; a factory of NNX modules, called as `factory(rngs=...)` for each fold and seed; an NNX module,
    whose weights are drawn already; a pair of functions, for plain JAX and Equinox; or a `Network`. Parameters become
    float32; modules may compute in another dtype. Raises RefusedError for anything else.

    Of a pair, `init(key, image_shape)` returns parameters and `apply(parameters, images)` logits. A network with a state
    returns `Variables` from `init`; its `apply(variables, images)` returns logits and the new state. `apply` is also given
    `is_training` and `key` if it has arguments of these names.
    """
    if isinstance(model, Network):
        return model
    if isinstance(model, nn.Module):
        return from_linen(model)
    if isinstance(model, tuple) and len(model) == 2 and all(map(callable, model)):
        return _from_functions(*model)
    # NNX takes time to import. Whoever has such a module has imported it already.
    nnx = sys.modules.get("flax.nnx")
    if nnx is not None and isinstance(model, nnx.Module):
        warnings.warn(
            f"{type(model).__name__} is an NNX module whose weights are drawn already: every fold and seed starts from "
            "them. Give a factory that takes rngs to draw them anew.",
            stacklevel=2,
        )
        return from_nnx(model, type(model).__name__, {})
    if callable(model) and "rngs" in parameter_names(model):
        _require_only_rngs(model)
        return from_nnx(model, _name_of(model), _keywords_of(model))
    raise refuse(
        f"model {_name_of(model)}",
        "is no network" + (", but a class of networks" if isinstance(model, type) else ""),
        "give a Linen module, a factory of NNX modules that takes rngs, or a pair of functions (init, apply)",
    )


def _from_functions(init: Callable[..., Any], apply: Callable[..., Any]) -> Network:
    """A network of two functions (see `as_network`)."""
    name = _name_of(apply)
    wanted = {"is_training", "key"} & parameter_names(apply)

    def init_variables(key: Key[Array, ""], image_shape: tuple[int, ...]) -> Variables:
        made = init(key, image_shape)
        parameters, state = made if isinstance(made, Variables) else (made, {})
        return make_variables(name, parameters, state)

    @functools.cache
    def takes_variables(image_shape: tuple[int, ...]) -> bool:
        return isinstance(jax.eval_shape(lambda: init(jax.random.key(0), image_shape)), Variables)

    def apply_variables(
        variables: Variables, images: Array, *, is_training: bool, key: Key[Array, ""]
    ) -> tuple[Array, PyTree]:
        given = {"is_training": is_training, "key": key}
        first = variables if takes_variables(images.shape[1:]) else variables.parameters
        result = apply(first, images, **{argument: given[argument] for argument in sorted(wanted)})
        logits, state = (
            result if isinstance(result, tuple) and len(result) == 2 else (result, variables.state)
        )
        changed = state if is_training else variables.state
        return require_logits(name, logits, images), require_same_state(name, variables.state, changed)

    return Network(init_variables, apply_variables, name)


def _require_only_rngs(factory: Callable[..., Any]) -> None:
    """Raise RefusedError if a factory needs more than `rngs`, or carries settings that it does not take."""
    name = _name_of(factory)
    missing = [
        parameter.name
        for parameter in arguments_of(factory).values()
        if parameter.name != "rngs"
        and parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    if missing:
        raise refuse(
            f"model {name}",
            f"needs {', '.join(missing)} beside rngs",
            f"give functools.partial({name}, {missing[0]}=...)",
        )
    if not isinstance(factory, functools.partial):
        return
    known = arguments_of(factory.func)
    unknown = [each for each in factory.keywords if each not in known]
    if unknown and not any(each.kind is each.VAR_KEYWORD for each in known.values()):
        raise refuse(
            f"model {name}", f"has no argument {unknown[0]}", f"its arguments are {', '.join(known)}"
        )


def _name_of(model: Any) -> str:
    while isinstance(model, functools.partial):
        model = model.func
    return getattr(model, "__name__", type(model).__name__)


def _keywords_of(model: Any) -> dict[str, Any]:
    """The settings that a `functools.partial` carries."""
    if not isinstance(model, functools.partial):
        return {}
    return {
        **_keywords_of(model.func),
        **{name: plain_setting(value) for name, value in model.keywords.items()},
    }
