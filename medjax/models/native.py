"""Loops compiled by LLVM and called from XLA's programs on a CPU: no compiler needs to be installed.

A kernel is the code of one function that fills in a share of its results. What stands around it is here: the handler
that XLA calls (https://docs.jax.dev/en/latest/ffi.html), and the sharing out over XLA's own threads. How many shares
there are does not depend on the number of cores, so results do not either.
"""

import contextlib
import ctypes
import functools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import llvmlite.binding as llvm
from llvmlite import ir

# Enough for the cores of a laptop, few enough that adding up what each share gives costs little.
_MOST_SHARES = 16
_LEAST_IMAGES = 4

BYTE, INT, FLOAT = ir.IntType(8), ir.IntType(64), ir.FloatType()
_POINTER = ir.PointerType()
_KINDS = {"float32": FLOAT, "int8": BYTE}

Index: TypeAlias = ir.Value | int


class Buffer(NamedTuple):
    """An array that a kernel reads or fills in, row by row in memory."""

    pointer: ir.Value
    shape: tuple[int, ...]
    kind: ir.Type


Kernel = Callable[["Emitter", Sequence[Buffer], ir.Value, ir.Value, ir.Value], None]


def images_a_share(num_images: int) -> int:
    """How many images one call of a kernel works on; the last share may have fewer."""
    return max(_LEAST_IMAGES, -(-num_images // _MOST_SHARES))


def num_shares(num_images: int) -> int:
    """How many shares so many images make."""
    return -(-num_images // images_a_share(num_images))


def run(
    kernel: Kernel,
    results: Sequence[jax.ShapeDtypeStruct],
    shared_out: Sequence[jax.Array],
    whole: Sequence[jax.Array] = (),
) -> Sequence[jax.Array]:
    """Arrays of the shapes `results`, filled in by a kernel, for a program that is lowered for a CPU.

    The first axis of `shared_out` is the images', and of results that or the shares'; `whole` is there for all shares.
    `kernel` writes the code, which may depend on all other sides. It is given all arrays in this order, results last,
    the first image of a share and the one to stop before, and the share's number. Each share must write all of its
    results, and nothing of another's.
    """
    arrays = [*map(jax.typeof, shared_out), *map(jax.typeof, whole), *results]
    are_whole = range(len(shared_out), len(shared_out) + len(whole))
    shapes = [each.shape if index in are_whole else (0, *each.shape[1:]) for index, each in enumerate(arrays)]
    target = "_".join(["medjax", kernel.__name__, *("x".join(map(str, shape)) for shape in shapes)])
    with _lock:
        if target not in _engines:
            kinds = [_KINDS[jnp.dtype(each.dtype).name] for each in arrays]
            _engines[target] = _compile(kernel, shapes, kinds, num_results=len(results))
            _register(target, _engines[target])
    return jax.ffi.ffi_call(target, list(results), vmap_method="sequential")(*shared_out, *whole)


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
            _POINTER  # so that vectors can be stored there: llvmlite keeps to one type for such a place
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


_lock = threading.Lock()
_engines: dict[str, Any] = {}  # compiled code is there as long as its engine


def _compile(
    kernel: Kernel, shapes: Sequence[tuple[int, ...]], kinds: Sequence[ir.Type], num_results: int
) -> Any:
    """An engine with the function `handler`."""
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_POINTER, INT, INT, INT]), "kernel")
    builder = ir.IRBuilder(function.append_basic_block())
    table, *share = function.args
    buffers = []
    for index, (shape, kind) in enumerate(zip(shapes, kinds, strict=True)):
        entry = builder.gep(table, [INT(index)], source_etype=_POINTER)
        buffers.append(Buffer(builder.load(entry, typ=_POINTER), shape, kind))
    kernel(Emitter(builder), buffers, *share)
    builder.ret_void()
    handler = _write_handler(len(shapes) - num_results, num_results)
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    compiled = llvm.parse_assembly(f"{module}\n{handler}")
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(compiled, passes)
    engine = llvm.create_mcjit_compiler(compiled, machine)
    engine.finalize_object()
    return engine


def _register(target: str, engine: Any) -> None:
    make_capsule = ctypes.pythonapi.PyCapsule_New
    make_capsule.restype = ctypes.py_object
    make_capsule.argtypes = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
    address = engine.get_function_address("handler")
    jax.ffi.register_ffi_target(target, make_capsule(address, None, None), platform="cpu")


def _write_handler(num_arguments: int, num_results: int) -> str:
    """The function that XLA calls with a frame that holds the addresses of all arrays.

    It makes a job of it, asks XLA's pool of threads to help, and claims shares beside them until none is left. A helper may
    come late, when all is done: whoever leaves last frees the job. Nobody waits for a helper that has not begun, so
    a pool whose threads are all busy cannot lock it.
    """
    copies = []
    for index in range(num_arguments + num_results):
        source, place = ("arguments", index) if index < num_arguments else ("results", index - num_arguments)
        copies.append(f"""\
  %entry.{index} = getelementptr ptr, ptr %{source}, i64 {place}
  %buffer.{index} = load ptr, ptr %entry.{index}
  %data.at.{index} = getelementptr i8, ptr %buffer.{index}, i64 24
  %data.{index} = load ptr, ptr %data.at.{index}
  %array.{index} = getelementptr %Job, ptr %job, i32 0, i32 6, i32 {index}
  store ptr %data.{index}, ptr %array.{index}""")
    return _HANDLER.format(
        num_arrays=num_arguments + num_results,
        most_shares=_MOST_SHARES,
        most_shares_less_one=_MOST_SHARES - 1,
        least_images=_LEAST_IMAGES,
        copy_addresses="\n".join(copies),
    )


# Offsets, in bytes, are of the structures in xla/ffi/api/c_api.h, version 0.3, which grow at their ends only.
_HANDLER = """\
; Shares claimed, shares done, users of the job, images, images a share, shares, arrays.
%Job = type {{ i64, i64, i64, i64, i64, i64, [{num_arrays} x ptr] }}
declare i64 @llvm.smax.i64(i64, i64)
declare i64 @llvm.smin.i64(i64, i64)
declare ptr @malloc(i64)
declare void @free(ptr)

define internal void @leave(ptr %job) {{
  %users.at = getelementptr %Job, ptr %job, i32 0, i32 2
  %users = atomicrmw sub ptr %users.at, i64 1 seq_cst
  %is.last = icmp eq i64 %users, 1
  br i1 %is.last, label %last, label %end
last:
  call void @free(ptr %job)
  br label %end
end:
  ret void
}}

define internal void @work(ptr %job) {{
  %done.at = getelementptr %Job, ptr %job, i32 0, i32 1
  %images.at = getelementptr %Job, ptr %job, i32 0, i32 3
  %images = load i64, ptr %images.at
  %a.share.at = getelementptr %Job, ptr %job, i32 0, i32 4
  %a.share = load i64, ptr %a.share.at
  %shares.at = getelementptr %Job, ptr %job, i32 0, i32 5
  %shares = load i64, ptr %shares.at
  %arrays = getelementptr %Job, ptr %job, i32 0, i32 6
  br label %claim
claim:
  %share = atomicrmw add ptr %job, i64 1 seq_cst
  %is.left = icmp slt i64 %share, %shares
  br i1 %is.left, label %run, label %end
run:
  %first = mul i64 %share, %a.share
  %next = add i64 %first, %a.share
  %stop = call i64 @llvm.smin.i64(i64 %next, i64 %images)
  call void @kernel(ptr %arrays, i64 %first, i64 %stop, i64 %share)
  %done = atomicrmw add ptr %done.at, i64 1 seq_cst
  br label %claim
end:
  call void @leave(ptr %job)
  ret void
}}

define ptr @handler(ptr %frame) {{
  %threads = alloca i64
  %count.arguments = alloca {{ i64, ptr, ptr, ptr }}
  %schedule.arguments = alloca {{ i64, ptr, ptr, ptr, ptr }}
  %extension.at = getelementptr i8, ptr %frame, i64 8
  %extension = load ptr, ptr %extension.at
  %api.at = getelementptr i8, ptr %frame, i64 16
  %api = load ptr, ptr %api.at
  %is.call = icmp eq ptr %extension, null
  br i1 %is.call, label %begin, label %describe

describe:  ; asked which version of the interface this was made for: the one at hand, as its beginning never changes
  %metadata.at = getelementptr i8, ptr %extension, i64 24
  %metadata = load ptr, ptr %metadata.at
  %api.version.at = getelementptr i8, ptr %api, i64 32
  %api.version = load i64, ptr %api.version.at
  %version.at = getelementptr i8, ptr %metadata, i64 24
  store i64 %api.version, ptr %version.at
  %traits.at = getelementptr i8, ptr %metadata, i64 32
  store i32 0, ptr %traits.at
  ret ptr null

begin:
  %size = ptrtoint ptr getelementptr (%Job, ptr null, i32 1) to i64
  %job = call ptr @malloc(i64 %size)
  %done.at = getelementptr %Job, ptr %job, i32 0, i32 1
  %users.at = getelementptr %Job, ptr %job, i32 0, i32 2
  store i64 0, ptr %job
  store i64 0, ptr %done.at
  %arguments.at = getelementptr i8, ptr %frame, i64 72
  %arguments = load ptr, ptr %arguments.at
  %results.at = getelementptr i8, ptr %frame, i64 112
  %results = load ptr, ptr %results.at
{copy_addresses}
  %sides.at = getelementptr i8, ptr %buffer.0, i64 40
  %sides = load ptr, ptr %sides.at
  %images = load i64, ptr %sides
  %images.padded = add i64 %images, {most_shares_less_one}
  %images.divided = sdiv i64 %images.padded, {most_shares}
  %a.share = call i64 @llvm.smax.i64(i64 %images.divided, i64 {least_images})
  %shares.last = sub i64 %a.share, 1
  %shares.padded = add i64 %images, %shares.last
  %shares = sdiv i64 %shares.padded, %a.share
  %images.at = getelementptr %Job, ptr %job, i32 0, i32 3
  store i64 %images, ptr %images.at
  %a.share.at = getelementptr %Job, ptr %job, i32 0, i32 4
  store i64 %a.share, ptr %a.share.at
  %shares.at = getelementptr %Job, ptr %job, i32 0, i32 5
  store i64 %shares, ptr %shares.at
  %context.at = getelementptr i8, ptr %frame, i64 24
  %context = load ptr, ptr %context.at
  store i64 1, ptr %threads  ; what stays there if there is no pool
  %count.0 = insertvalue {{ i64, ptr, ptr, ptr }} {{ i64 32, ptr null, ptr null, ptr null }}, ptr %context, 2
  %count.1 = insertvalue {{ i64, ptr, ptr, ptr }} %count.0, ptr %threads, 3
  store {{ i64, ptr, ptr, ptr }} %count.1, ptr %count.arguments
  %count.at = getelementptr i8, ptr %api, i64 144
  %count = load ptr, ptr %count.at
  %count.error = call ptr %count(ptr %count.arguments)
  %num.threads = load i64, ptr %threads
  %workers = call i64 @llvm.smin.i64(i64 %num.threads, i64 %shares)
  %users = add i64 %workers, 1  ; all workers, of whom this thread is one, and this thread again while it waits
  store i64 %users, ptr %users.at
  %schedule.0 = insertvalue {{ i64, ptr, ptr, ptr, ptr }} {{ i64 40, ptr null, ptr null, ptr @work, ptr null }}, ptr %context, 2
  %schedule.1 = insertvalue {{ i64, ptr, ptr, ptr, ptr }} %schedule.0, ptr %job, 4
  store {{ i64, ptr, ptr, ptr, ptr }} %schedule.1, ptr %schedule.arguments
  %schedule.at = getelementptr i8, ptr %api, i64 136
  %schedule = load ptr, ptr %schedule.at
  br label %more

more:
  %asked = phi i64 [ 1, %begin ], [ %asked.next, %ask ], [ %asked.next, %refused ]
  %asked.next = add i64 %asked, 1
  %needs.more = icmp slt i64 %asked, %workers
  br i1 %needs.more, label %ask, label %help
ask:
  %error = call ptr %schedule(ptr %schedule.arguments)
  %is.asked = icmp eq ptr %error, null
  br i1 %is.asked, label %more, label %refused
refused:
  call void @leave(ptr %job)
  br label %more

help:
  call void @work(ptr %job)
  br label %wait
wait:
  %done = load atomic volatile i64, ptr %done.at seq_cst, align 8
  %is.done = icmp eq i64 %done, %shares
  br i1 %is.done, label %end, label %wait
end:
  call void @leave(ptr %job)
  ret ptr null
}}
"""
