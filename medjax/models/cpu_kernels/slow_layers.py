"""Says which layers of a program run on a slow path of a CPU: convolutions that no kernel computes."""

import re
import warnings
from collections.abc import Iterator
from typing import Any

from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr


def warn_of_slow_layers(jaxpr: Any, is_fast: Any) -> None:
    """Warn in one line of the convolutions for which `is_fast(equation)` is false, and of what would be fast."""
    slow: dict[str, str] = {}
    for equation in _equations(jaxpr):
        if equation.primitive is lax.conv_general_dilated_p and not is_fast(equation):
            slow.setdefault(_name(equation), _describe(equation))
    if slow:
        layers = ", ".join(f"{name} ({what})" for name, what in list(slow.items())[:3])
        more = f" and {len(slow) - 3} more" if len(slow) > 3 else ""
        warnings.warn(
            f"{layers}{more}: on a CPU these convolutions train about ten times slower than they could; "
            "those of 2-dimensional images in float32, strided or dilated, are fast",
            RuntimeWarning,
            stacklevel=4,
        )


def _equations(jaxpr: Any) -> Iterator[Any]:
    """All equations, those of loops, branches and called functions included."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if isinstance(inner, ClosedJaxpr):
                    yield from _equations(inner.jaxpr)
                elif isinstance(inner, Jaxpr):
                    yield from _equations(inner)


def _name(equation: Any) -> str:
    """Where a layer was called, as Flax names it: without the names of transformations."""
    names = re.sub(r"\b\w+\(|\)", "", str(equation.source_info.name_stack)).split("/")
    kept = [name for name in names if name and name != "conv_general_dilated"]
    return "/".join(kept) or "a convolution"


def _describe(equation: Any) -> str:
    left = equation.invars[0].aval
    dimensions = left.ndim - 2
    if dimensions != 2:
        return f"{dimensions}-dimensional"
    return "strided and dilated" if str(left.dtype) == "float32" else str(left.dtype)
