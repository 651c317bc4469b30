"""Two JAX primitives: a call of a kernel or its twin, chosen when a program is lowered, and a linear function.

Both take functions of arrays as parameters. These should be defined once, not anew for each call: JAX caches by them.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from medjax.models.cpu_kernels import availability
from medjax.models.cpu_kernels.availability import KernelError

Function = Callable[..., Any]

_DTYPES = ("float32", "int8")

_native_call_p = Primitive("native_call")
_linear_call_p = Primitive("linear_call")


def native_call(native: Function, twin: Function, *arrays: jax.Array) -> Any:
    """Call `native`, which runs kernels, in a program for this machine's CPU, and `twin` in every other.

    Both return the same tree of arrays. `native` is traced, and its kernels are compiled, only when such a program is
    lowered and all arrays are float32 or int8 and not empty; an exported program (`jax.export`) gets the twin, so that
    it runs in any process. Under `jax.vmap` kernels run for one example after the other. Derivatives are the twin's.
    """
    outputs = _native_call_p.bind(*arrays, native=native, twin=twin)
    return jax.tree.unflatten(jax.tree.structure(jax.eval_shape(twin, *arrays)), outputs)


def linear_call(
    function: Function, transpose: Function, residuals: Sequence[jax.Array], tangents: Sequence[jax.Array]
) -> Any:
    """Call `function(*residuals, *tangents)`, which is linear in `tangents` and returns an array.

    `transpose(*residuals, cotangent)` gives the cotangents of `tangents`. In contrast to
    `jax.custom_derivatives.linear_call` this can be batched, and differentiated once more, through `function`.
    """
    [output] = _linear_call_p.bind(
        *residuals, *tangents, function=function, transpose=transpose, num_residuals=len(residuals)
    )
    return output


def _native_or_twin(
    context: mlir.LoweringRuleContext, *operands: Any, native: Function, twin: Function
) -> Sequence[Any]:
    if is_native(context):
        try:
            return lower(native, context, operands)
        except KernelError as error:
            availability.give_up(str(error))
    return lower(twin, context, operands)


def is_native(context: mlir.LoweringRuleContext) -> bool:
    """Whether a program is for this machine's CPU, with arrays that kernels can work on."""
    module = context.module_context
    if tuple(module.platforms) != ("cpu",) or module.lowering_parameters.for_export:
        return False
    avals = [*context.avals_in, *context.avals_out]
    if any(0 in aval.shape for aval in avals) or not availability.is_wanted():
        return False
    others = sorted({aval.dtype.name for aval in avals} - set(_DTYPES))
    reason = f"CPU kernels are for float32, not {', '.join(others)}" if others else availability.missing()
    if reason:
        availability.warn_once(reason)
    return reason is None


def native_function(equation: Any) -> Function | None:
    """The function that a call of a kernel in a traced program runs on this machine's CPU; None if the equation is no such call."""
    if equation.primitive is not _native_call_p:
        return None
    avals = [variable.aval for variable in (*equation.invars, *equation.outvars)]
    fits = all(aval.dtype.name in _DTYPES and 0 not in aval.shape for aval in avals)
    return equation.params["native"] if fits else None


def lower(function: Function, context: mlir.LoweringRuleContext, operands: Sequence[Any]) -> Sequence[Any]:
    """Lower a function of arrays in the place of an operation."""
    return mlir.lower_fun(lambda *arrays: jax.tree.leaves(function(*arrays)))(context, *operands)


def _batch_native_call(
    arrays: Sequence[Any], axes: Sequence[int | None], *, native: Function, twin: Function
) -> tuple[list[Any], list[int]]:
    axes = tuple(axes)
    outputs = _native_call_p.bind(*arrays, native=_vmap(native, axes), twin=_vmap(twin, axes))
    return outputs, [0] * len(outputs)


def _transpose_linear_call(
    cotangents: Sequence[Any], *operands: Any, function: Function, transpose: Function, num_residuals: int
) -> list[Any]:
    [cotangent] = cotangents
    results = transpose(*operands[:num_residuals], ad.instantiate_zeros(cotangent))
    return [None] * num_residuals + jax.tree.leaves(results)


def _batch_linear_call(
    operands: Sequence[Any],
    axes: Sequence[int | None],
    *,
    function: Function,
    transpose: Function,
    num_residuals: int,
) -> tuple[list[Any], list[int]]:
    [size] = {operand.shape[axis] for operand, axis in zip(operands, axes, strict=True) if axis is not None}
    residual_axes, tangent_axes = tuple(axes[:num_residuals]), axes[num_residuals:]
    # Every example gets its own tangents, so that `transpose` need not sum cotangents over examples.
    tangents = [
        batching.bdim_at_front(tangent, axis, size)
        for tangent, axis in zip(operands[num_residuals:], tangent_axes, strict=True)
    ]
    outputs = _linear_call_p.bind(
        *operands[:num_residuals],
        *tangents,
        function=_vmap(function, (*residual_axes, *(0 for _ in tangents))),
        transpose=_vmap(transpose, (*residual_axes, 0)),
        num_residuals=num_residuals,
    )
    return outputs, [0]


@functools.cache
def _vmap(function: Function, axes: tuple[int | None, ...]) -> Function:
    """`jax.vmap` that returns the same function for the same arguments."""
    return jax.vmap(function, in_axes=axes)


def _jvp(
    function: Function, primals: Sequence[Any], tangents: Sequence[Any]
) -> tuple[Sequence[Any], Sequence[Any]]:
    """Differentiate the operations of `function` with respect to the arrays that have a tangent."""
    variable_indices = [index for index, tangent in enumerate(tangents) if not isinstance(tangent, ad.Zero)]

    def of_variables(*variables: Any) -> list[Any]:
        arguments = list(primals)
        for index, variable in zip(variable_indices, variables, strict=True):
            arguments[index] = variable
        return jax.tree.leaves(function(*arguments))

    return jax.jvp(
        of_variables,
        [primals[index] for index in variable_indices],
        [tangents[index] for index in variable_indices],
    )


@functools.cache
def _jit(primitive: Primitive, **parameters: Any) -> Function:
    return jax.jit(functools.partial(primitive.bind, **parameters))


def _register(primitive: Primitive, main_parameter: str, lower: Function) -> None:
    """The rules that both primitives share; `main_parameter` names the function that defines values and derivatives."""
    primitive.multiple_results = True
    primitive.def_impl(lambda *arrays, **parameters: _jit(primitive, **parameters)(*arrays))
    primitive.def_abstract_eval(
        lambda *avals, **parameters: jax.make_jaxpr(parameters[main_parameter])(*avals).out_avals
    )
    ad.primitive_jvps[primitive] = lambda primals, tangents, **parameters: _jvp(
        parameters[main_parameter], primals, tangents
    )
    mlir.register_lowering(primitive, lower)


_register(_native_call_p, "twin", _native_or_twin)
_register(
    _linear_call_p,
    "function",
    lambda context, *operands, function, **_: lower(function, context, operands),
)
batching.primitive_batchers[_native_call_p] = _batch_native_call
batching.primitive_batchers[_linear_call_p] = _batch_linear_call
ad.primitive_transposes[_linear_call_p] = _transpose_linear_call
