"""Kernels called from XLA's programs on a CPU, through XLA's interface for foreign functions.

A kernel is the code of one function that computes one task, some images of a batch: `emitter` writes it, `ffi_handler`
is what XLA calls, `machine_code` compiles both. The number of tasks does not depend on the number of cores, so results
do not either.
"""

import ctypes
import functools
import hashlib
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import jax
import jax.numpy as jnp
from llvmlite import ir

from medjax.models.cpu_kernels import compiling, ffi_handler, machine_code
from medjax.models.cpu_kernels.availability import KernelError
from medjax.models.cpu_kernels.emitter import BYTE, FLOAT, INT, POINTER, Buffer, Emitter

_ELEMENT_TYPES = {"float32": FLOAT, "int8": BYTE}

Kernel = Callable[[Emitter, Sequence[Buffer], ir.Value, ir.Value, ir.Value], None]

_lock = threading.Lock()
# By target name. Keeping the results keeps their code in memory.
_loaded: dict[str, Future[machine_code.MachineCode]] = {}


def call_kernel(
    kernel: Kernel,
    results: Sequence[jax.ShapeDtypeStruct],
    batches: Sequence[jax.Array],
    shared: Sequence[jax.Array] = (),
    *,
    min_images_per_task: int = ffi_handler.MIN_IMAGES_PER_TASK,
    is_thorough: bool = False,
) -> Sequence[jax.Array]:
    """Compile a kernel and call it with `batches` and `shared`; returns arrays like `results`. For CPU programs only.

    The first axis of `batches` is the image; that of a result is the image or the task. Every task sees all of `shared`.
    `kernel` emits the code, which may depend on the kernel's name and on all sides but the first of `batches` and
    `results`. Its arguments are the emitter, all arrays in this order, results last, the first image of a task, the
    image to stop before, and the index of the task. Each task must write all of its own results, and nothing else.

    With `is_thorough` LLVM optimizes as much as it can, which a few kernels are the faster for.

    Raises KernelError where LLVM does not compile it, or XLA does not support our version of its interface.
    """
    arrays = [*map(jax.typeof, batches), *map(jax.typeof, shared), *results]
    are_shared = range(len(batches), len(batches) + len(shared))
    shapes = [
        array.shape if index in are_shared else (0, *array.shape[1:]) for index, array in enumerate(arrays)
    ]
    name = kernel.__name__
    if min_images_per_task != ffi_handler.MIN_IMAGES_PER_TASK:
        name += f"_by_{min_images_per_task}"
    target = "_".join(["medjax", name, *("x".join(map(str, shape)) for shape in shapes)])

    def write() -> str:
        element_types = [_ELEMENT_TYPES[jnp.dtype(array.dtype).name] for array in arrays]
        entry = ffi_handler.write_handler(len(shapes) - len(results), len(results), min_images_per_task)
        return f"{_write_kernel(kernel, shapes, element_types)}\n{entry}"

    with _lock:
        if target not in _loaded:
            _loaded[target] = compiling.start(
                functools.partial(_load, target, kernel.__module__, write, is_thorough)
            )
    compiling.require(_loaded[target])
    return jax.ffi.ffi_call(target, list(results), vmap_method="sequential")(*batches, *shared)


def _load(target: str, module: str, write: Callable[[], str], is_thorough: bool) -> machine_code.MachineCode:
    try:
        _load_runner()
        code = machine_code.load(write, [target, _sources(module)], is_thorough=is_thorough)
        _register(target, code.address("handler"))
    except RuntimeError as error:
        raise KernelError(f"the CPU kernel {target} cannot be used ({error})") from error
    return code


@functools.cache
def _load_runner() -> machine_code.MachineCode:
    """Make the function that handlers call known to LLVM; its code stays in memory with the result."""
    code = machine_code.load(ffi_handler.write_runner, [ffi_handler.RUNNER, _sources(ffi_handler.__name__)])
    machine_code.add_symbol(ffi_handler.RUNNER, code.address(ffi_handler.RUNNER))
    return code


@functools.cache
def _sources(module: str) -> str:
    """Digest of the source code that a kernel's machine code depends on: its own module and all of this folder."""
    paths = [Path(str(sys.modules[module].__file__)), *sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def _write_kernel(
    kernel: Kernel, shapes: Sequence[tuple[int, ...]], element_types: Sequence[ir.Type]
) -> ir.Module:
    """LLVM IR of `kernel(addresses of the arrays, first image, image to stop before, index of the task)`."""
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, INT, INT, INT]), "kernel")
    builder = ir.IRBuilder(function.append_basic_block())
    addresses, *task = function.args
    buffers = []
    for index, (shape, element_type) in enumerate(zip(shapes, element_types, strict=True)):
        address = builder.gep(addresses, [INT(index)], source_etype=POINTER)
        buffers.append(Buffer(builder.load(address, typ=POINTER), shape, element_type))
    kernel(Emitter(builder), buffers, *task)
    builder.ret_void()
    return module


def _register(target: str, address: int) -> None:
    make_capsule = ctypes.pythonapi.PyCapsule_New
    make_capsule.restype = ctypes.py_object
    make_capsule.argtypes = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
    jax.ffi.register_ffi_target(target, make_capsule(address, None, None), platform="cpu")
