"""What a device can do at most: matrix products, copies, and the least that a step of a compiled loop costs."""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from medjax.training.compilation import compiler_options

_PRECISIONS = {"f32": "float32", "tf32": "tensorfloat32", "bf16": "float32"}
_TURNS = 5
_CALLS = 4  # a turn
_ITERATIONS = 2000
# The vendor's library alone, as it takes long to time the many kernels that XLA would make of so large a product.
_LIBRARY = {"xla_gpu_enable_triton_gemm": False}


def measure_products(side: int) -> dict[str, float]:
    """TFLOP/s of the product of two random square matrices, by arithmetic."""
    first, second = (jax.random.normal(jax.random.key(seed), (side, side)) for seed in (0, 1))
    found = {}
    for mode, precision in _PRECISIONS.items():
        factors = [each.astype(jnp.bfloat16) if mode == "bf16" else each for each in (first, second)]
        with jax.default_matmul_precision(precision):
            product = jax.jit(jnp.matmul, compiler_options=_LIBRARY)
            found[mode] = round(2 * side**3 / _time(lambda: product(*factors)) / 1e12, 2)  # noqa: B023
    return found


def measure_copies(bytes_copied: int) -> float:
    """GB/s, of bytes read and bytes written."""
    array = jax.random.normal(jax.random.key(0), (bytes_copied // 4,))
    change = jax.jit(lambda array: array + 1)
    return round(2 * bytes_copied / _time(lambda: change(array)) / 1e9, 1)


def measure_loops() -> dict[str, float]:
    """Microseconds an iteration of a loop of unknown length that computes next to nothing, alone and with a condition inside."""
    state = jnp.zeros(128)

    def add(_: Any, state: jax.Array) -> jax.Array:
        return state + 1

    def add_if_finite(_: Any, state: jax.Array) -> jax.Array:
        return lax.cond(jnp.isfinite(state[0]), lambda state: state + 1, lambda state: state, state)

    found = {}
    for name, body in (("loop", add), ("loop with a condition", add_if_finite)):
        run = jax.jit(
            functools.partial(lambda body, stop, state: lax.fori_loop(0, stop, body, state), body),
            compiler_options=compiler_options(),
        )
        found[name] = round(_time(lambda: run(_ITERATIONS, state)) / _ITERATIONS * 1e6, 2)  # noqa: B023
    return found


def _time(call: Callable[[], Any]) -> float:
    """Seconds of a call, of several that are queued."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(_TURNS):
        started = time.perf_counter()
        jax.block_until_ready([call() for _ in range(_CALLS)])
        seconds.append((time.perf_counter() - started) / _CALLS)
    return statistics.median(seconds)
