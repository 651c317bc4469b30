"""Runs a kernel with vectors of a given width, which LLVM splits where the CPU's registers are narrower."""

import jax

from medjax.models.cpu_kernels import emitter
from medjax.models.cpu_kernels.ffi_call import call_kernel

LANES = [4, 8, 16]


def with_lanes(monkeypatch, lanes, kernel, results, batches, shared=()):
    """What `kernel` computes, compiled for so many lanes under a name of its own."""
    emitted = []

    def renamed(*arguments):
        emitted.append(emitter.vector_lanes(64))
        kernel(*arguments)

    renamed.__name__ = f"{kernel.__name__}_{lanes}_lanes"
    renamed.__module__ = kernel.__module__
    monkeypatch.setattr(emitter, "register_lanes", lambda: lanes)
    jax.config.update("jax_enable_compilation_cache", False)  # so that the code is emitted here
    try:
        arrays = jax.jit(lambda *batches: call_kernel(renamed, results, batches, shared))(*batches)
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert emitted == [lanes]
    return arrays
