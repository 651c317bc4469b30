"""Emits the LLVM IR of a kernel with llvmlite: loops, loads and stores, vector arithmetic."""

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
    """An array in memory, in row-major order."""

    pointer: ir.Value
    shape: tuple[int, ...]
    element_type: ir.Type


def vector_lanes(length: int) -> int:
    """Number of elements of a vector that divides a row of `length` elements, at most those of a register."""
    lanes = register_lanes()
    while length % lanes:
        lanes //= 2
    return lanes


@functools.cache
def register_lanes() -> int:
    """Float32 numbers in a vector register. Where registers hold fewer than 8, LLVM uses two for one vector."""
    return 16 if llvm.get_host_cpu_features().get("avx512f") else 8


class Emitter:
    """Emits the instructions of a kernel. An index is an int, known while emitting, or a value of the compiled code."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    @contextlib.contextmanager
    def for_range(self, start: Index, stop: Index) -> Iterator[ir.Value]:
        """Emit a loop over range(start, stop); the `with` block emits its body."""
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

    @contextlib.contextmanager
    def when(self, condition: ir.Value) -> Iterator[None]:
        """Emit code that runs where the condition holds."""
        with self.builder.if_then(condition):
            yield

    def sum(self, *terms: Index | tuple[Index, int]) -> ir.Value:
        """The sum of indices; a pair counts as its product."""
        known, total = 0, None
        for term in terms:
            factor, times = term if isinstance(term, tuple) else (term, 1)
            if isinstance(factor, int):
                known += factor * times
                continue
            product = factor if times == 1 else self.builder.mul(factor, INT(times))
            total = product if total is None else self.builder.add(total, product)
        if total is None:
            return INT(known)
        return self.builder.add(total, INT(known)) if known else total

    def minimum(self, first: Index, second: Index) -> ir.Value:
        """The smaller of two indices."""
        is_less = self.builder.icmp_signed("<", _integer(first), _integer(second))
        return self.builder.select(is_less, _integer(first), _integer(second))

    def load(self, buffer: Buffer, *indices: Index, lanes: int | None = None) -> ir.Value:
        """Load an element, or a vector of `lanes` adjacent ones; indices that are left out are 0."""
        element_type = buffer.element_type
        result_type = element_type if lanes is None else ir.VectorType(element_type, lanes)
        return self.builder.load(self._address(buffer, indices), align=_size(element_type), typ=result_type)

    def store(self, value: ir.Value, buffer: Buffer, *indices: Index) -> None:
        """Store an element, or a vector to adjacent ones."""
        self.builder.store(value, self._address(buffer, indices), align=_size(buffer.element_type))

    def load_within(self, buffer: Buffer, *indices: Index, lanes: int) -> ir.Value:
        """As `load`, of a vector that may reach over the end of a row: what lies behind is 0."""
        if buffer.shape[-1] % lanes == 0:
            return self.load(buffer, *indices, lanes=lanes)
        vector = ir.VectorType(FLOAT, lanes)
        mask = self._inside(buffer, indices[-1], lanes)
        return self._call_masked(
            "load", vector, vector, self._address(buffer, indices), mask, constant(FLOAT, 0.0, lanes)
        )

    def store_within(self, value: ir.Value, buffer: Buffer, *indices: Index) -> None:
        """As `store`, of a vector that may reach over the end of a row: that part is not stored."""
        if buffer.shape[-1] % value.type.count == 0:
            self.store(value, buffer, *indices)
            return
        mask = self._inside(buffer, indices[-1], value.type.count)
        self._call_masked("store", value.type, ir.VoidType(), value, self._address(buffer, indices), mask)

    def _inside(self, buffer: Buffer, start: Index, lanes: int) -> ir.Value:
        """Which lanes of a vector that begins at `start` lie in a row."""
        left = self.broadcast(self.builder.sub(INT(buffer.shape[-1]), _integer(start)), lanes)
        return self.builder.icmp_signed("<", ir.Constant(left.type, list(range(lanes))), left)

    def _call_masked(self, name: str, vector: ir.Type, result: ir.Type, *arguments: ir.Value) -> ir.Value:
        *before, mask = arguments[:-1] if name == "load" else arguments
        after = arguments[-1:] if name == "load" else ()
        alignment = ir.IntType(32)(_size(FLOAT))
        given = [*before, alignment, mask, *after]
        kind = ir.FunctionType(result, [each.type for each in given])
        symbol = f"llvm.masked.{name}.v{vector.count}f32.p0"
        module = self.builder.module
        function = module.globals.get(symbol) or ir.Function(module, kind, symbol)
        return self.builder.call(function, given)

    def variable(self, start: ir.Value) -> ir.Value:
        """A variable with the value `start`; LLVM keeps it in a register where it can."""
        with self.builder.goto_entry_block():
            variable = self.builder.alloca(start.type)
        self.builder.store(start, variable)
        return variable

    def read(self, variable: ir.Value) -> ir.Value:
        """The value of a variable."""
        return self.builder.load(variable, typ=variable.allocated_type)

    def write(self, value: ir.Value, variable: ir.Value) -> None:
        """Assign a value to a variable."""
        self.builder.store(value, variable)

    def part(self, buffer: Buffer, *indices: Index, shape: tuple[int, ...] | None = None) -> Buffer:
        """A buffer from an element on: the axes from the last index on, or a buffer of another shape."""
        kept = buffer.shape[len(indices) - 1 :] if shape is None else shape
        return Buffer(self._address(buffer, indices), kept, buffer.element_type)

    def scratch(self, element_type: ir.Type, shape: tuple[int, ...]) -> Buffer:
        """A small buffer on the stack, for one task alone; it is not initialized."""
        with self.builder.goto_entry_block():
            pointer = self.builder.alloca(element_type, math.prod(shape))
        # An opaque pointer, so that vectors can be stored too: llvmlite ties an alloca to its element type.
        pointer.type = POINTER
        return Buffer(pointer, shape, element_type)

    def constants(self, numbers: Sequence[int]) -> Buffer:
        """A read-only buffer of `numbers`."""
        module = self.builder.module
        table_type = ir.ArrayType(INT, len(numbers))
        table = ir.GlobalVariable(module, table_type, module.get_unique_name("constants"))
        table.global_constant, table.linkage = True, "internal"
        table.initializer = ir.Constant(table_type, list(numbers))
        return Buffer(table, (len(numbers),), INT)

    def broadcast(self, scalar: ir.Value, lanes: int) -> ir.Value:
        """A vector with `scalar` in every lane."""
        undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.IntType(32)(0))
        return self.builder.shuffle_vector(first, undefined, constant(ir.IntType(32), 0, lanes))

    def add_product(self, total: ir.Value, first: ir.Value, second: ir.Value) -> ir.Value:
        """total + first · second, by a fused multiply-add (rounded once) where the CPU has it."""
        product = self.builder.fmul(first, second, flags=("contract",))
        return self.builder.fadd(total, product, flags=("contract",))

    def add_lanes(self, vector: ir.Value) -> ir.Value:
        """The sum of a vector's elements."""
        while vector.type.count > 1:
            half = vector.type.count // 2
            parts = [
                self.builder.shuffle_vector(
                    vector,
                    vector,
                    ir.Constant(ir.VectorType(ir.IntType(32), half), list(range(start, start + half))),
                )
                for start in (0, half)
            ]
            vector = self.builder.fadd(*parts)
        return self.builder.extract_element(vector, ir.IntType(32)(0))

    def _address(self, buffer: Buffer, indices: Sequence[Index]) -> ir.Value:
        strides = [1]
        for side in reversed(buffer.shape[1:]):
            strides.insert(0, strides[0] * side)
        offset = self.sum(*zip(indices, strides, strict=False))
        return self.builder.gep(buffer.pointer, [offset], source_etype=buffer.element_type)


def constant(element_type: ir.Type, number: float | int, lanes: int) -> ir.Value:
    """A constant vector with `number` in every lane."""
    return ir.Constant(ir.VectorType(element_type, lanes), [number] * lanes)


def _integer(index: Index) -> ir.Value:
    return INT(index) if isinstance(index, int) else index


def _size(element_type: ir.Type) -> int:
    return {FLOAT: 4, BYTE: 1, INT: 8}[element_type]
