"""Replaces convolutions, pooling and other operations of a program by kernels where it is lowered for this machine's CPU.

XLA:CPU runs convolutions 8 to 13 times slower inside a loop than outside it
(https://github.com/jax-ml/jax/issues/12868). Outside `fast_convolutions` the rules that lower these operations are JAX's own.
"""

import contextlib
import contextvars
import functools
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax._src.interpreters.mlir import _uncacheable_primitives
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Literal
from jax.extend.random import threefry2x32_p
from jax.interpreters import mlir

from medjax.models.cpu_kernels import availability
from medjax.models.cpu_kernels.availability import KernelError
from medjax.models.cpu_kernels.finders import FINDERS, find_sum
from medjax.models.cpu_kernels.primitives import Function, is_native, lower, native_function
from medjax.models.splicing import splice

_cpu_rules = mlir._platform_specific_lowerings["cpu"]
_lock = threading.Lock()
_num_users = 0
_replaced: dict[Any, Any] = {}  # JAX's rules, by primitive; None where it has none for a CPU alone
# The operations, lowered within the context, that no kernel computes; None outside of it.
_left: contextvars.ContextVar[set[Any] | None] = contextvars.ContextVar("fast_convolutions", default=None)


@contextlib.contextmanager
def fast_convolutions() -> Iterator[set[Any]]:
    """Within the context, programs that are lowered for a CPU compute their convolutions by kernels.

    Yields a set, to which those primitives are added that had to be left to the library.
    """
    left: set[Any] = set()
    token = _left.set(left)
    with _installed_rules():
        try:
            yield left
        finally:
            _left.reset(token)


def is_fast(equation: Any) -> bool:
    """Whether a kernel computes an operation of a traced program."""
    avals = [variable.aval for variable in equation.invars]
    return _are_floats(avals) and FINDERS[equation.primitive](avals, equation.params) is not None


def expand(traced: ClosedJaxpr) -> ClosedJaxpr:
    """A traced program with the operations that a kernel computes as calls of kernels; as it is outside `fast_convolutions`.

    So it can be seen which of their parts depend on what. Such a program runs on this machine's CPU only.
    """
    is_for_cpu = _left.get() is not None and jax.default_backend() == "cpu"
    if not is_for_cpu or not availability.is_wanted() or availability.missing():
        return traced
    try:
        equations = [each for equation in traced.jaxpr.eqns for each in _expand(equation)]
    except KernelError as error:
        availability.give_up(str(error))
        return traced
    return traced.replace(jaxpr=traced.jaxpr.replace(eqns=equations))


def _expand(equation: Any) -> list[Any]:
    avals = [variable.aval for variable in equation.invars]
    function = native_function(equation)
    if equation.primitive in FINDERS and _are_floats(avals):
        function = FINDERS[equation.primitive](avals, equation.params)
    if function is None or any(isinstance(each, Literal) for each in equation.invars):
        return [equation]
    return splice(lambda *arrays: jax.tree.leaves(function(*arrays)), equation.invars, equation)


@contextlib.contextmanager
def _installed_rules() -> Iterator[None]:
    """Put rules before JAX's own while any thread is within; those leave to JAX what is lowered by other threads."""
    global _num_users
    with _lock:
        _num_users += 1
        if _num_users == 1:
            primitives = (*FINDERS, lax.reduce_sum_p, threefry2x32_p)
            _replaced.update({primitive: _cpu_rules.get(primitive) for primitive in primitives})
            bits_rule = functools.partial(_random_words, _stock_rule(threefry2x32_p))
            mlir.register_lowering(threefry2x32_p, bits_rule, platform="cpu")
            for primitive, find in FINDERS.items():
                mlir.register_lowering(primitive, _make_rule(find, _stock_rule(primitive)), platform="cpu")
            sum_rule = functools.partial(_sum_columns, _stock_rule(lax.reduce_sum_p))
            # A sum is lowered anew each time, as that depends on how the array is computed.
            mlir.register_lowering(lax.reduce_sum_p, sum_rule, platform="cpu", cacheable=False)
    try:
        yield
    finally:
        with _lock:
            _num_users -= 1
            if _num_users == 0:
                # Programs for several platforms are lowered better, or at all, without rules for one of them.
                _uncacheable_primitives.discard(lax.reduce_sum_p)
                for primitive, rule in _replaced.items():
                    if rule is None:
                        _cpu_rules.pop(primitive, None)
                    else:
                        _cpu_rules[primitive] = rule


def _stock_rule(primitive: Any) -> Function:
    for rules in (_cpu_rules, mlir._lowerings):
        if primitive in rules:
            return rules[primitive].rule
    raise KernelError(f"JAX has no rule for {primitive}")


def _make_rule(find: Function, stock: Function) -> Function:
    def rule(context: mlir.LoweringRuleContext, *operands: Any, **parameters: Any) -> Sequence[Any]:
        left = _left.get()
        if left is None:
            return stock(context, *operands, **parameters)
        are_floats, are_wanted = _are_floats(context.avals_in), availability.is_wanted()
        # Where llvmlite is missing, kernels cannot even be imported.
        are_there = are_wanted and availability.missing() is None
        function = find(context.avals_in, parameters) if are_floats and are_there else None
        if function is None:
            if are_there:
                left.add(context.primitive)
            elif are_floats:
                is_native(context)  # which warns of what is missing
        elif is_native(context):
            try:
                return lower(function, context, operands)
            except KernelError as error:
                availability.give_up(str(error))
        return stock(context, *operands, **parameters)

    return rule


def _sum_columns(
    stock: Function, context: mlir.LoweringRuleContext, *operands: Any, **parameters: Any
) -> Sequence[Any]:
    """The rule of sums, by a kernel that computes the array too."""
    array: Any = context.avals_in[0]
    axes = [int(axis) for axis in parameters["axes"]]  # jax.vmap makes NumPy's integers of them
    function = find_sum(array, axes) if _are_floats([array]) else None
    if _left.get() is None or function is None or not is_native(context):
        return stock(context, *operands, **parameters)
    from medjax.models.cpu_kernels.expressions import read_expression

    term, arrays, rows = read_expression(operands[0])
    if not arrays:  # the same in every row, as zeros: XLA needs no array for it
        return stock(context, *operands, **parameters)
    values = [*arrays, *rows]
    avals = [ShapedArray(tuple(value.type.shape), array.dtype) for value in values]

    def summed(*values: jax.Array) -> jax.Array:
        return function(term, values[: len(arrays)], values[len(arrays) :])

    try:
        return lower(summed, context.replace(avals_in=avals), values)
    except KernelError as error:
        availability.give_up(str(error))
    return stock(context, *operands, **parameters)


def _random_words(
    stock: Function, context: mlir.LoweringRuleContext, *operands: Any, **parameters: Any
) -> Sequence[Any]:
    """The rule of random bits, by a kernel."""
    avals: list[Any] = [*context.avals_in, *context.avals_out]
    posing = [ShapedArray(aval.shape, jnp.dtype("float32")) for aval in avals]
    if _left.get() is None or not is_native(context.replace(avals_in=posing, avals_out=[])):
        return stock(context, *operands, **parameters)
    from medjax.models.cpu_kernels.array_operations import random_words

    try:
        return lower(lambda *arrays: random_words(arrays[:2], arrays[2:]), context, operands)
    except KernelError as error:
        availability.give_up(str(error))
    return stock(context, *operands, **parameters)


def _are_floats(avals: Sequence[Any]) -> bool:
    return all(getattr(aval, "dtype", None) == "float32" for aval in avals)
