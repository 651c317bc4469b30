"""Loops of our own inside XLA's programs on a CPU, where they are called through XLA's foreign functions.

A kernel is the code of one function that fills in a share of its results: `emitter` is what it is written with,
`handler` what XLA calls, `machine_code` what compiles both. How many shares there are does not depend on the number of
cores, so results do not either.
"""

import ctypes
import inspect
import sys
import threading
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from llvmlite import ir

from medjax.models.cpu_kernels import emitter, ffi_layout, machine_code
from medjax.models.cpu_kernels import ffi_handler as handler
from medjax.models.cpu_kernels.emitter import BYTE, FLOAT, INT, POINTER, Buffer, Emitter

_KINDS = {"float32": FLOAT, "int8": BYTE}

Kernel = Callable[[Emitter, Sequence[Buffer], ir.Value, ir.Value, ir.Value], None]

_lock = threading.Lock()
_compiled: dict[str, machine_code.MachineCode] = {}  # code is there as long as what holds it


def run(
    kernel: Kernel,
    results: Sequence[jax.ShapeDtypeStruct],
    shared_out: Sequence[jax.Array],
    whole: Sequence[jax.Array] = (),
) -> Sequence[jax.Array]:
    """Arrays of the shapes `results`, filled in by a kernel, for a program that is lowered for a CPU.

    The first axis of `shared_out` is the images', and of results that or the shares'; `whole` is there for all shares.
    `kernel` writes the code, which may depend on all other sides and, as it is known by its name, on nothing else. It
    is given all arrays in this order, results last, the first image of a share and the one to stop before, and the
    share's number. Each share must write all of its results, and nothing of another's.
    """
    arrays = [*map(jax.typeof, shared_out), *map(jax.typeof, whole), *results]
    are_whole = range(len(shared_out), len(shared_out) + len(whole))
    shapes = [each.shape if index in are_whole else (0, *each.shape[1:]) for index, each in enumerate(arrays)]
    target = "_".join(["medjax", kernel.__name__, *("x".join(map(str, shape)) for shape in shapes)])

    def write() -> str:
        kinds = [_KINDS[jnp.dtype(each.dtype).name] for each in arrays]
        entry = handler.write_handler(len(shapes) - len(results), len(results))
        return f"{_write_kernel(kernel, shapes, kinds)}\n{entry}"

    with _lock:
        if target not in _compiled:
            # All that `write` depends on, so that it need not be called where its code has been kept.
            modules = sys.modules[kernel.__module__], emitter, handler, ffi_layout
            sources = [inspect.getsource(module) for module in modules]
            _compiled[target] = machine_code.load(write, identity=[target, *sources])
            _register(target, _compiled[target].address("handler"))
    return jax.ffi.ffi_call(target, list(results), vmap_method="sequential")(*shared_out, *whole)


def _write_kernel(kernel: Kernel, shapes: Sequence[tuple[int, ...]], kinds: Sequence[ir.Type]) -> ir.Module:
    """The function `kernel`, of a table of addresses and a share."""
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, INT, INT, INT]), "kernel")
    builder = ir.IRBuilder(function.append_basic_block())
    table, *share = function.args
    buffers = []
    for index, (shape, kind) in enumerate(zip(shapes, kinds, strict=True)):
        entry = builder.gep(table, [INT(index)], source_etype=POINTER)
        buffers.append(Buffer(builder.load(entry, typ=POINTER), shape, kind))
    kernel(Emitter(builder), buffers, *share)
    builder.ret_void()
    return module


def _register(target: str, address: int) -> None:
    make_capsule = ctypes.pythonapi.PyCapsule_New
    make_capsule.restype = ctypes.py_object
    make_capsule.argtypes = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
    jax.ffi.register_ffi_target(target, make_capsule(address, None, None), platform="cpu")
