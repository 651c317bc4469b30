"""Puts the operations of one traced function in the place of some of another's."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import Literal


def splice(function: Callable[..., Any], arguments: Sequence[Any], last: Any) -> list[Any]:
    """The equations of `function`, applied to variables of a traced function, that give the outputs of its equation `last`.

    `function` must compute each of its outputs: one that is an argument or a constant is no equation's, and `last`'s variable
    would be left without a value.
    """
    # By a function of its own: JAX would trace the same function once, and its variables would have two meanings.
    inner = jax.make_jaxpr(functools.partial(function))(*(each.aval for each in arguments))
    assert not inner.consts
    names = dict(zip(inner.jaxpr.invars, arguments, strict=True))
    names |= dict(zip(inner.jaxpr.outvars, last.outvars, strict=True))
    return [
        equation.replace(
            invars=[each if isinstance(each, Literal) else names.get(each, each) for each in equation.invars],
            outvars=[names.get(each, each) for each in equation.outvars],
            source_info=last.source_info,
        )
        for equation in inner.jaxpr.eqns
    ]
