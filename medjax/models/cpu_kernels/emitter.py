"""The code of a kernel, written instruction by instruction with llvmlite."""

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import llvmlite.binding as llvm
from llvmlite import ir

BYTE, INT, FLOAT, POINTER = ir.IntType(8), ir.IntType(64), ir.FloatType(), ir.PointerType()

Index: TypeAlias = ir.Value | int


class Buffer(NamedTuple):
    """An array that a kernel reads or fills in, row by row in memory."""

    pointer: ir.Value
    shape: tuple[int, ...]
    kind: ir.Type


def lanes(length: int) -> int:
    """How many numbers to work on at once, of `length` in a row: a vector register's, if they divide it."""
    widest = _vector_lanes()
    while length % widest:
        widest //= 2
    return widest


@functools.cache
def _vector_lanes() -> int:
    # Where registers are narrower than 8 float32, LLVM takes two in place of one.
    return 16 if llvm.get_host_cpu_features().get("avx512f") else 8


class Emitter:
    """Writes the code of a kernel. Indices are numbers known while writing, or values of the compiled code."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    @contextlib.contextmanager
    def each(self, start: Index, stop: Index) -> Iterator[ir.Value]:
        """What is written within runs for each whole number from `start` on, before `stop`."""
        builder = self.builder
        before = builder.block
        body, after = builder.append_basic_block(), builder.append_basic_block()
        builder.cbranch(builder.icmp_signed("<", _integer(start), _integer(stop)), body, after)
        builder.position_at_end(body)
        index = builder.phi(INT)
        index.add_incoming(_integer(start), before)
        yield index
        following = builder.add(index, INT(1))
        index.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, _integer(stop)), body, after)
        builder.position_at_end(after)

    def sum(self, *terms: Index | tuple[Index, int]) -> ir.Value:
        """The sum of indices; a pair counts as its product."""
        total = INT(0)
        for term in terms:
            factor, times = term if isinstance(term, tuple) else (term, 1)
            total = self.builder.add(total, self.builder.mul(_integer(factor), INT(times)))
        return total

    def load(self, buffer: Buffer, *indices: Index, lanes: int | None = None) -> ir.Value:
        """An element, or as many side by side as `lanes`; indices that are not given are zero."""
        kind = buffer.kind if lanes is None else ir.VectorType(buffer.kind, lanes)
        return self.builder.load(self._address(buffer, indices), align=_size(buffer.kind), typ=kind)

    def store(self, value: ir.Value, buffer: Buffer, *indices: Index) -> None:
        """Write one element, or as many side by side as `value` has."""
        self.builder.store(value, self._address(buffer, indices), align=_size(buffer.kind))

    def variable(self, start: ir.Value) -> ir.Value:
        """A place for a value that changes, `start` at first; in the end a register."""
        with self.builder.goto_entry_block():
            place = self.builder.alloca(start.type)
        self.builder.store(start, place)
        return place

    def least(self, first: Index, second: Index) -> ir.Value:
        """The smaller of two indices."""
        is_less = self.builder.icmp_signed("<", _integer(first), _integer(second))
        return self.builder.select(is_less, _integer(first), _integer(second))

    def scratch(self, kind: ir.Type, shape: tuple[int, ...]) -> Buffer:
        """A buffer of a share's own, on the stack of its thread: for little."""
        with self.builder.goto_entry_block():
            place = self.builder.alloca(kind, math.prod(shape))
        place.type = (
            POINTER  # so that vectors can be stored there: llvmlite keeps to one type for such a place
        )
        return Buffer(place, shape, kind)

    def constants(self, numbers: Sequence[int]) -> Buffer:
        """A buffer that holds `numbers`."""
        module = self.builder.module
        kind = ir.ArrayType(INT, len(numbers))
        table = ir.GlobalVariable(module, kind, module.get_unique_name("constants"))
        table.global_constant, table.linkage = True, "internal"
        table.initializer = ir.Constant(kind, list(numbers))
        return Buffer(table, (len(numbers),), INT)

    def read(self, variable: ir.Value) -> ir.Value:
        """What a variable holds."""
        return self.builder.load(variable, typ=variable.allocated_type)

    def write(self, value: ir.Value, variable: ir.Value) -> None:
        """Let a variable hold `value`."""
        self.builder.store(value, variable)

    def spread(self, scalar: ir.Value, lanes: int) -> ir.Value:
        """A vector of `lanes` times the same number."""
        nothing = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
        first = self.builder.insert_element(nothing, scalar, ir.IntType(32)(0))
        return self.builder.shuffle_vector(first, nothing, constant(ir.IntType(32), 0, lanes))

    def add_product(self, total: ir.Value, first: ir.Value, second: ir.Value) -> ir.Value:
        """Total + first · second: one instruction, rounded once, where the CPU has it."""
        product = self.builder.fmul(first, second, flags=("contract",))
        return self.builder.fadd(total, product, flags=("contract",))

    def _address(self, buffer: Buffer, indices: Sequence[Index]) -> ir.Value:
        strides = [1]
        for side in reversed(buffer.shape[1:]):
            strides.insert(0, strides[0] * side)
        place = self.sum(*zip(indices, strides, strict=False))
        return self.builder.gep(buffer.pointer, [place], source_etype=buffer.kind)


def constant(kind: ir.Type, number: float | int, lanes: int) -> ir.Value:
    """A vector of `lanes` times a number that is known while writing."""
    return ir.Constant(ir.VectorType(kind, lanes), [number] * lanes)


def _integer(index: Index) -> ir.Value:
    return INT(index) if isinstance(index, int) else index


def _size(kind: ir.Type) -> int:
    return {FLOAT: 4, BYTE: 1, INT: 8}[kind]
