"""Reads from a program that is being lowered how an array is computed, so that a kernel can compute it while it sums.

Batch statistics and their gradients are sums of products, squares and masked gradients. XLA would write each of these arrays
to memory before a kernel reads it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jax.extend.mlir import ir
from llvmlite import ir as llvm_ir

from medjax.models.cpu_kernels.emitter import FLOAT, Emitter, constant

# With more arrays to read, writing one of them costs less.
_MAX_ARRAYS = 3
_MAX_OPERATIONS = 24

_OPERATIONS = {
    "stablehlo.add": "add",
    "stablehlo.subtract": "subtract",
    "stablehlo.multiply": "multiply",
    "stablehlo.negate": "negate",
    "chlo.square": "square",
    "stablehlo.select": "select",
    "stablehlo.compare": "compare",
}
_DIRECTIONS = {"GT": ">", "GE": ">=", "LT": "<", "LE": "<="}

# The name of an operation and its operands, ("array", index), ("row", index) or ("number", number).
Term: TypeAlias = tuple[Any, ...]


class Expression(NamedTuple):
    """How each number of an array is computed, from arrays of its shape and from rows along its last axis."""

    term: Term
    arrays: list[Any]  # values of the program
    rows: list[Any]

    @property
    def is_computed(self) -> bool:
        """Whether there is anything to compute."""
        return self.term[0] != "array"


def read_expression(value: Any) -> Expression:
    """How a value of a program is computed, by operations on single numbers, from at most `_MAX_ARRAYS` arrays."""
    kept: list[Any] = []  # arrays that are read
    while True:
        reader = _Reader(value.type.shape, kept)
        term = reader.read(value)
        if len(reader.arrays) <= _MAX_ARRAYS and reader.num_operations <= _MAX_OPERATIONS:
            return Expression(term, reader.arrays, reader.rows)
        # Begin again, and stop at the operand of the root that needs the most arrays; at last, at the root.
        operands = [each for each in value.owner.operands if each not in kept and each.type == value.type]
        if not operands:
            return Expression(("array", 0), [value], [])
        kept.append(max(operands, key=lambda each: _Reader(value.type.shape, kept).count(each)))


class _Reader:
    """Reads a term, and collects what it is computed from."""

    def __init__(self, shape: Sequence[int], kept: Sequence[Any]) -> None:
        self.arrays: list[Any] = []
        self.rows: list[Any] = []
        self.num_operations = 0
        self._shape = list(shape)
        self._kept = kept

    def count(self, value: Any) -> int:
        """The number of arrays that a value is computed from."""
        self.read(value)
        return len(self.arrays)

    def read(self, value: Any) -> Term:
        operation: Any = None if isinstance(value.owner, ir.Block) or value in self._kept else value.owner
        name = None if operation is None else operation.name
        if name == "stablehlo.broadcast_in_dim":
            found = self._read_broadcast(operation)
            if found is not None:
                return found
        if name in _OPERATIONS and self.num_operations <= _MAX_OPERATIONS and self._is_readable(operation):
            self.num_operations += 1
            operands = [self.read(each) for each in operation.operands]
            if name == "stablehlo.compare":
                return (_DIRECTIONS[_direction(operation)], *operands)
            return (_OPERATIONS[name], *operands)
        return "array", _index(self.arrays, value)

    def _is_readable(self, operation: Any) -> bool:
        """Whether its operands are float32, or comparisons of such, and none would be spread in memory to be read."""
        if any(map(self._is_spread, operation.operands)):
            return False
        if operation.name == "stablehlo.compare":
            return _direction(operation) in _DIRECTIONS and _is_float(operation.operands[0])
        if operation.name == "stablehlo.select":
            condition, *others = operation.operands
            owner = condition.owner
            return (
                not isinstance(owner, ir.Block)
                and owner.name == "stablehlo.compare"
                and self._is_readable(owner)
                and all(map(_is_float, others))
            )
        return all(map(_is_float, operation.operands))

    def _is_spread(self, value: Any) -> bool:
        """Whether a value is a smaller array repeated, and neither a number nor a row."""
        operation: Any = value.owner
        is_broadcast = not isinstance(operation, ir.Block) and operation.name == "stablehlo.broadcast_in_dim"
        return is_broadcast and _Reader(self._shape, ())._read_broadcast(operation) is None

    def _read_broadcast(self, operation: Any) -> Term | None:
        [operand] = operation.operands
        sides = list(operand.type.shape)
        if not _is_float(operand):
            return None
        if (
            not sides
            and not isinstance(operand.owner, ir.Block)
            and operand.owner.name == "stablehlo.constant"
        ):
            return "number", float(np.asarray(operand.owner.attributes["value"]).item())
        axes = list(operation.attributes["broadcast_dimensions"])
        is_row = sides[-1:] == self._shape[-1:] and axes[-1:] == [len(self._shape) - 1]
        if is_row and all(side == 1 for side in sides[:-1]):
            return "row", _index(self.rows, operand)
        return None


def _index(values: list[Any], value: Any) -> int:
    if value not in values:
        values.append(value)
    return values.index(value)


def _is_float(value: Any) -> bool:
    return str(value.type.element_type) == "f32"


def _direction(comparison: Any) -> str:
    return str(comparison.attributes["comparison_direction"]).rstrip(">").split()[-1]


def describe(term: Term) -> str:
    """A name of a term, for the kernel that computes it."""
    name, *operands = term
    if name in ("array", "row", "number"):
        return f"{name}{operands[0]}".replace("-", "m").replace("+", "p")
    word = {">": "gt", ">=": "ge", "<": "lt", "<=": "le"}.get(name, name)
    return f"{word}({','.join(map(describe, operands))})"


def emit_term(
    emit: Emitter, term: Term, arrays: Sequence[llvm_ir.Value], rows: Sequence[llvm_ir.Value]
) -> llvm_ir.Value:
    """Emit the computation of a vector, given those of the arrays and rows."""
    name, *operands = term
    builder = emit.builder
    if name in ("array", "row"):
        return (arrays if name == "array" else rows)[operands[0]]
    if name == "number":
        return constant(FLOAT, operands[0], (arrays or rows)[0].type.count)
    values = [emit_term(emit, operand, arrays, rows) for operand in operands]
    if name in _DIRECTIONS.values():
        return builder.fcmp_ordered(name, *values)
    if name == "square":
        return builder.fmul(values[0], values[0])
    if name in ("maximum", "minimum"):  # of a number that is no NaN; that of a NaN is one
        comparison = builder.fcmp_unordered(">" if name == "maximum" else "<", *values)
        return builder.select(comparison, *values)
    methods = {
        "add": builder.fadd,
        "subtract": builder.fsub,
        "multiply": builder.fmul,
        "negate": builder.fneg,
        "select": builder.select,
    }
    return methods[name](*values)
