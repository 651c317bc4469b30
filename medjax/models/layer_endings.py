"""Finds what follows each convolution of a network that is not trained, so that a kernel computes both together on a CPU.

Batch norm is then by fixed statistics: it, a shortcut that is added, and ReLU are a term of each output and of numbers that
are there before it.
"""

import collections
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var, jaxpr_as_fun
from jaxtyping import Array

from medjax.models.cpu_kernels.primitives import native_call

CHANNELS_LAST = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))  # NHWC, HWIO, NHWC
# A second array, beside the output, would be read more slowly than XLA reads it.
_MAX_ARRAYS = 1
_NAMES = {"add": "add", "sub": "subtract", "mul": "multiply", "max": "maximum", "min": "minimum"}
_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "custom_jvp_call": "call_jaxpr"}

Term = tuple[Any, ...]


class Uses(NamedTuple):
    """Which equations of a traced network compute its values, and which use them."""

    makers: dict[Any, Any]
    users: dict[Any, Any]  # the last one
    counts: collections.Counter[Any]  # outputs of the network are uses too

    def only_user(self, value: Any) -> Any:
        """The equation that uses a value; None where that is not the only use."""
        return self.users.get(value) if self.counts[value] == 1 else None


def read_uses(jaxpr: Jaxpr) -> Uses:
    """What computes and uses each value."""
    makers = {each: equation for equation in jaxpr.eqns for each in equation.outvars}
    users = {each: equation for equation in jaxpr.eqns for each in equation.invars if isinstance(each, Var)}
    used = [*jaxpr.outvars, *(each for equation in jaxpr.eqns for each in equation.invars)]
    return Uses(makers, users, collections.Counter(each for each in used if isinstance(each, Var)))


class Ended(NamedTuple):
    """A convolution and what follows it, as equations of a traced network in its order."""

    equations: tuple[Any, ...]
    broadcasts: tuple[Any, ...]  # equations that spread rows, and that others may use too
    term: Term
    arrays: list[Var]
    rows: list[Var]

    @property
    def arguments(self) -> list[Var]:
        """What the call takes: images, kernel, arrays, rows."""
        return [*self.equations[0].invars, *self.arrays, *self.rows]

    def call(self, *arguments: Array) -> Array:
        """Compute the last equation's output by a kernel, or as the network does."""
        return native_call(functools.partial(_native, self), functools.partial(_twin, self), *arguments)


def _native(ended: Ended, images: Array, kernel: Array, *operands: Array) -> Array:
    from medjax.models.cpu_kernels import convolution

    parameters = ended.equations[0].params
    settings = convolution.Convolution(
        parameters["window_strides"],
        parameters["padding"],
        parameters["lhs_dilation"],
        parameters["rhs_dilation"],
        parameters["feature_group_count"],
    )
    arrays, rows = operands[: len(ended.arrays)], operands[len(ended.arrays) :]
    ending = convolution.Ending(ended.term, arrays, [row.reshape(-1) for row in rows])
    if 1 < settings.groups == images.shape[-1] == kernel.shape[-1]:
        return convolution.convolve_depthwise(images, kernel[:, :, 0], settings, ending)
    return convolution.convolve(images, kernel, settings, ending)


def _twin(ended: Ended, *arguments: Array) -> Array:
    like = jax.make_jaxpr(lambda *each: each[0])(*arguments).jaxpr
    equations = [*ended.broadcasts, *ended.equations]
    alone = like.replace(invars=ended.arguments, outvars=ended.equations[-1].outvars, eqns=equations)
    return jaxpr_as_fun(ClosedJaxpr(alone, []))(*arguments)[0]


def find_ended(jaxpr: Jaxpr) -> list[Ended]:
    """The convolutions in float32 of a traced network that something follows which a kernel computes too."""
    uses = read_uses(jaxpr)
    taken: set[int] = set()  # equations that follow another convolution already
    found = []
    for convolution in jaxpr.eqns:
        if not _is_convolution(convolution):
            continue
        reader = _Reader(convolution, uses.makers)
        while True:
            user = uses.only_user(reader.value)
            if user is None or id(user) in taken or not reader.read(user):
                break
        if len(reader.equations) > 1:
            ended = Ended(
                tuple(reader.equations), tuple(reader.broadcasts), reader.term, reader.arrays, reader.rows
            )
            taken |= set(map(id, ended.equations))
            found.append(ended)
    return found


class _Reader:
    """Follows a convolution's output from one equation to the next, and collects what they read."""

    def __init__(self, convolution: Any, makers: dict[Any, Any]) -> None:
        self.equations = [convolution]
        self.broadcasts: list[Any] = []
        self.value: Any = convolution.outvars[0]
        self.term: Term = ("array", 0)
        self.arrays: list[Var] = []
        self.rows: list[Var] = []
        self._makers = makers
        self._shape = self.value.aval.shape

    def read(self, equation: Any) -> bool:
        """Take an equation in; whether it could be."""
        operands: dict[Var, Term] = {self.value: self.term}
        before = len(self.arrays), len(self.rows), len(self.broadcasts)
        for each in equation.invars:
            if isinstance(each, Var) and each not in operands:
                operand = self._read_operand(each)
                if operand is None:
                    break
                operands[each] = operand
        else:
            term = _evaluate(equation, operands)
            if term is not None and equation.outvars[0].aval.shape == self._shape:
                self.equations.append(equation)
                self.value, self.term = equation.outvars[0], term
                return True
        for kept, count in zip((self.arrays, self.rows, self.broadcasts), before, strict=True):
            del kept[count:]
        return False

    def _read_operand(self, value: Any) -> Term | None:
        maker: Any = self._makers.get(value)
        source = value
        if maker is not None and maker.primitive is lax.broadcast_in_dim_p:
            source = maker.invars[0]
        if isinstance(source, Literal):
            self.broadcasts.append(maker)
            return "number", float(source.val)
        sides, features = source.aval.shape, self._shape[-1]
        if source.aval.dtype != jnp.float32:
            return None
        lies_along_features = source is value or maker.params["broadcast_dimensions"][-1:] == (3,)
        if sides and sides[-1] == source.aval.size == features and lies_along_features:
            if source is not value:
                self.broadcasts.append(maker)
            if source not in self.rows:
                self.rows.append(source)
            return "row", self.rows.index(source)
        if value.aval.shape != self._shape or len(self.arrays) == _MAX_ARRAYS:
            return None
        self.arrays.append(value)
        return "array", len(self.arrays)


def _evaluate(equation: Any, operands: dict[Var, Term]) -> Term | None:
    """The term of an equation's output, given those of its operands; None where a kernel cannot compute it."""

    def of(value: Any) -> Term | None:
        if isinstance(value, Literal):
            return ("number", float(value.val)) if jnp.ndim(value.val) == 0 else None
        return operands.get(value)

    found = [of(each) for each in equation.invars]
    terms = [term for term in found if term is not None]
    name = equation.primitive.name
    if len(terms) < len(found) or len(equation.outvars) != 1:
        return None
    if name in _CALLS:
        inner = equation.params[_CALLS[name]]
        inside = dict(zip(inner.jaxpr.invars, terms, strict=True))
        for each in inner.jaxpr.eqns:
            result = _evaluate(each, inside)
            if result is None:
                return None
            inside[each.outvars[0]] = result
        [output] = inner.jaxpr.outvars
        return inside.get(output) if isinstance(output, Var) else None
    if name not in _NAMES:
        return None
    if name in ("max", "min"):
        numbers = [term for term in terms if term[0] == "number"]
        others = [term for term in terms if term[0] != "number"]
        if len(numbers) != 1:
            return None
        return _NAMES[name], *others, *numbers
    return _NAMES[name], *terms


def _is_convolution(equation: Any) -> bool:
    parameters = equation.params
    if equation.primitive is not lax.conv_general_dilated_p or parameters["batch_group_count"] != 1:
        return False
    images, kernel, outputs = (each.aval for each in (*equation.invars, *equation.outvars))
    return (
        parameters["dimension_numbers"] == CHANNELS_LAST
        and parameters["lhs_dilation"] == (1, 1)
        and images.dtype == kernel.dtype == outputs.dtype == jnp.float32
        # Else the loops of `weight_gradient` compute it.
        and kernel.shape[0] * kernel.shape[1] <= outputs.shape[1] * outputs.shape[2]
    )
