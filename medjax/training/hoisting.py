"""What an evaluation step computes of the network's variables alone is computed once, before the loop over batches.

A CPU's kernels read weights in an order of their own. XLA:CPU would put them into that order again for each batch.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

from medjax.models.cpu_kernels.lowering import expand
from medjax.models.network import Variables
from medjax.training.batching import Batch
from medjax.training.learner import Evaluation

# What is kept from before the loop is at most so many times what it is computed from, unless it is small anyway.
_MAX_GROWTH, _SMALL = 2, 2**16


def hoist(
    step: Callable[[Variables, Batch], Evaluation], variables: Variables, batch: Batch
) -> Callable[[Batch], Evaluation]:
    """`step` for these variables, to be called in a loop; `batch` is one of its batches, or has ShapeDtypeStructs."""
    traced, outline = jax.make_jaxpr(step, return_shape=True)(variables, batch)
    traced = expand(traced)
    jaxpr = traced.jaxpr
    leaves, num_batch_leaves = jax.tree.leaves(variables), len(jax.tree.leaves(batch))
    known = {*jaxpr.constvars, *jaxpr.invars[: len(leaves)]}
    early, late = [], []
    for equation in jaxpr.eqns:
        if _is_early(equation, known):
            early.append(equation)
            known |= set(equation.outvars)
        else:
            late.append(equation)
    used = {each for equation in late for each in equation.invars if not isinstance(each, Literal)}
    used |= {each for each in jaxpr.outvars if not isinstance(each, Literal)}
    kept = list(dict.fromkeys(each for equation in early for each in equation.outvars if each in used))
    first = jaxpr.replace(invars=jaxpr.invars[: len(leaves)], outvars=kept, eqns=early)
    values = jaxpr_as_fun(ClosedJaxpr(first, traced.consts))(*leaves)
    rest = jaxpr.replace(invars=[*kept, *jaxpr.invars], eqns=late)
    finish = jaxpr_as_fun(ClosedJaxpr(rest, traced.consts))

    def of_batch(batch: Batch) -> Evaluation:
        arrays = jax.tree.leaves(batch)
        assert len(arrays) == num_batch_leaves
        return jax.tree.unflatten(jax.tree.structure(outline), finish(*values, *leaves, *arrays))

    return of_batch


def _is_early(equation: Any, known: set[Any]) -> bool:
    inputs = [each for each in equation.invars if not isinstance(each, Literal)]
    if equation.effects or not known.issuperset(inputs):
        return False
    before, after = (sum(math.prod(each.aval.shape) for each in some) for some in (inputs, equation.outvars))
    return after <= max(_MAX_GROWTH * before, _SMALL)
