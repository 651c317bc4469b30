"""What all benchmarks share: cases that take turns, the machine's own limit, and one JSON object as the last line."""

import statistics
import time
from collections.abc import Callable, Mapping
from json import dumps
from typing import Any

import jax
import jax.numpy as jnp

from medjax.jobs.run_record import describe_environment

Case = Callable[[], Any]  # one turn of work; may return the seconds it took where it keeps the time itself


def take_turns(cases: Mapping[str, Case], turns: int) -> dict[str, list[float]]:
    """Seconds of each case, in turns taken one after the other, after one turn that does not count.

    A case that returns a float says itself how long its turn took, as a peer in a process of its own does.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(turns + 1):
        for name, case in cases.items():
            started = time.perf_counter()
            returned = case()
            elapsed = time.perf_counter() - started
            if turn > 0:
                seconds[name].append(returned if isinstance(returned, float) else elapsed)
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """The median turn of each case."""
    return {name: statistics.median(each) for name, each in seconds.items()}


MATMUL_FLOP = 2 * 2048**3


def make_matmul() -> Case:
    """A turn of `MATMUL_FLOP`: the product of two f32 matrices of 2048 by 2048, the limit of what training can reach."""
    matrix = jnp.ones((2048, 2048))
    product = jax.jit(jnp.matmul)
    return lambda: jax.block_until_ready(product(matrix, matrix))


def finish(name: str, figures: Mapping[str, Any], lines: list[str], *, json: bool) -> None:
    """Print `lines` for people (unless `json`), then `figures` with machine and versions as one JSON object."""
    if not json:
        print(*lines, sep="\n")
    print(dumps({"benchmark": name, **figures, "environment": describe_environment()}))
