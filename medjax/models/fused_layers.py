"""Layers of any network that kernels compute together are called together, in programs for a CPU.

In training those that `convolution_pool` computes: a pooled gradient is zero but for one of four outputs, so together they
train several times faster than one by one. In evaluation also what `layer_endings` finds.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Var, jaxpr_as_fun
from jaxtyping import Array, Key, PyTree

from medjax.models.convolution_pool import convolution_pool
from medjax.models.cpu_kernels import availability
from medjax.models.layer_endings import CHANNELS_LAST, find_ended, read_uses
from medjax.models.network import Apply, Variables
from medjax.models.splicing import splice

_POOLING = {
    "window_dimensions": (1, 2, 2, 1),
    "window_strides": (1, 2, 2, 1),
    "padding": ((0, 0),) * 4,
    "base_dilation": (1,) * 4,
    "window_dilation": (1,) * 4,
}
_CONVOLUTION = {
    "window_strides": (1, 1),
    "lhs_dilation": (1, 1),
    "rhs_dilation": (1, 1),
    "feature_group_count": 1,
    "batch_group_count": 1,
    "dimension_numbers": CHANNELS_LAST,
}
_FUNCTIONS = ("custom_jvp_call", "jit", "pjit")
# Beyond them, the kernels that skip zeros take longer than Winograd's; measured.
_MAX_CHANNELS, _MAX_KERNEL_SIDE = 256, 5


class Layers(NamedTuple):
    """A convolution, bias, ReLU and 2 by 2 max-pool that follow one another; nothing else uses what lies between them."""

    equations: tuple[Any, ...]  # of the traced network, in its order
    images: Any
    kernel: Any
    bias: Any  # as the network added it, of features or of (1, 1, 1, feature); None where it has none
    padding: tuple[tuple[int, int], tuple[int, int]]


def fuse_layers(apply: Apply) -> Apply:
    """`apply` of a `Network`, with the layers that are found in it computed together in programs for a CPU."""

    @functools.wraps(apply)
    def fused(
        variables: Variables, images: Array, *, is_training: bool, key: Key[Array, ""] | None
    ) -> tuple[Array, PyTree]:
        def call(variables: Variables, images: Array, key: Any) -> tuple[Array, PyTree]:
            return apply(variables, images, is_training=is_training, key=key)

        arguments = variables, images, key
        if jax.default_backend() != "cpu" or not availability.is_wanted() or availability.missing():
            return call(*arguments)
        traced, outline = jax.make_jaxpr(call, return_shape=True)(*arguments)
        replaced = _replace(traced, find_layers(traced.jaxpr))
        if not is_training:
            replaced = _end_in_kernels(replaced)
        outputs = jaxpr_as_fun(replaced)(*jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(outline), outputs)

    return fused


def find_layers(jaxpr: Jaxpr) -> list[Layers]:
    """The groups of layers in a traced network that `convolution_pool` computes, in float32."""
    uses = read_uses(jaxpr)

    def maker(value: Any) -> Any:
        """The equation that computes a value for one use alone."""
        return uses.makers.get(value) if isinstance(value, Var) and uses.counts[value] == 1 else None

    found = []
    for pool in jaxpr.eqns:
        if not _is_pool(pool):
            continue
        before = maker(pool.invars[0])
        after = uses.only_user(pool.outvars[0])
        layers = None
        if _is_relu(before):
            layers = _read_convolution(maker, before.invars[0], (before, pool))
        elif _is_relu(after):
            layers = _read_convolution(maker, pool.invars[0], (pool, after))
        if layers is not None:
            found.append(layers)
    return found


def _read_convolution(maker: Callable[[Any], Any], value: Any, after: tuple[Any, ...]) -> Layers | None:
    """The layers that end with the equations `after`, of which the first takes `value`; None if it is computed otherwise."""
    convolution, bias, equations = maker(value), None, after
    if convolution is not None and convolution.primitive is lax.add_p:
        add = convolution
        value, bias = add.invars
        convolution, equations = maker(value), (add, *after)
        if not isinstance(bias, Var) or not _is_row(bias.aval, add.outvars[0].aval):
            return None
    if convolution is None or not _is_convolution(convolution):
        return None
    padding = convolution.params["padding"]
    images, kernel = convolution.invars
    return Layers((convolution, *equations), images, kernel, bias, padding)


def _is_pool(equation: Any) -> bool:
    is_max = equation.primitive.name == "reduce_window_max"
    return is_max and _matches(equation.params, _POOLING)


def _is_convolution(equation: Any) -> bool:
    if equation.primitive is not lax.conv_general_dilated_p or not _matches(equation.params, _CONVOLUTION):
        return False
    images, kernel = (variable.aval for variable in equation.invars)
    *sides, channels, features = kernel.shape
    return (
        images.dtype == kernel.dtype == "float32"
        and max(sides) <= _MAX_KERNEL_SIDE
        and max(channels, features) <= _MAX_CHANNELS
        and all(side >= 2 for side in equation.outvars[0].aval.shape[1:3])
    )


def _is_row(bias: Any, outputs: Any) -> bool:
    return bias.dtype == "float32" and bias.ndim > 0 and bias.size == bias.shape[-1] == outputs.shape[-1]


def _matches(parameters: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(parameters[name] == value for name, value in wanted.items())


def _is_relu(equation: Any) -> bool:
    """Whether an equation computes `jax.nn.relu`, with the same derivative: a function of the same values may have another."""
    if equation is None or equation.primitive.name not in _FUNCTIONS or len(equation.invars) != 1:
        return False
    aval = equation.invars[0].aval
    alone = jax.make_jaxpr(jax.nn.relu)(aval).jaxpr.replace(
        invars=equation.invars, outvars=equation.outvars, eqns=[equation]
    )
    call = jaxpr_as_fun(ClosedJaxpr(alone, []))
    ours, relu = (
        str(jax.make_jaxpr(functools.partial(jax.jvp, function))((aval,), (aval,)))
        for function in (lambda value: call(value)[0], jax.nn.relu)
    )
    return ours == relu


def _replace(traced: ClosedJaxpr, found: Sequence[Layers]) -> ClosedJaxpr:
    """The traced network with one call in place of each group of layers, where the last of them was."""
    return _put_calls(traced, [(layers.equations, *_make_pooled(layers)) for layers in found])


def _end_in_kernels(traced: ClosedJaxpr) -> ClosedJaxpr:
    """The traced network, not to be trained, with one call in place of each convolution and what follows it."""
    found = find_ended(traced.jaxpr)
    return _put_calls(traced, [(ended.equations, ended.call, ended.arguments) for ended in found])


def _make_pooled(layers: Layers) -> tuple[Callable[..., Array], list[Any]]:
    """The function that takes the place of layers, and its arguments."""
    arguments = [each for each in (layers.images, layers.kernel, layers.bias) if each is not None]

    def convolution_relu_pool(images: Array, kernel: Array, bias: Array | None = None) -> Array:
        features = kernel.shape[-1]
        bias = jnp.zeros(features) if bias is None else bias.reshape(features)
        border = [(0, 0, 0), *((*pair, 0) for pair in layers.padding), (0, 0, 0)]
        return convolution_pool(lax.pad(images, jnp.float32(0), border), kernel, bias)

    return convolution_relu_pool, arguments


def _put_calls(
    traced: ClosedJaxpr, calls: Sequence[tuple[Sequence[Any], Callable[..., Array], Sequence[Any]]]
) -> ClosedJaxpr:
    """Put calls, of a function with its arguments, in the place of the last of some equations each."""
    dropped = {id(equation) for equations, *_ in calls for equation in equations[:-1]}
    placed = {}
    for equations, function, arguments in calls:
        placed[id(equations[-1])] = splice(function, arguments, equations[-1])
    equations = [
        each
        for equation in traced.jaxpr.eqns
        if id(equation) not in dropped
        for each in placed.get(id(equation), [equation])
    ]
    return traced.replace(jaxpr=traced.jaxpr.replace(eqns=equations))
