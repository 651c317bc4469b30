"""Seconds to compile the training program of ResNet-18, without and with its cache, beside stock JAX and PyTorch.

    python -m benchmarks.networks --only compile-time

Each turn is a process of its own: `cold` with an empty cache, `cached` with the cache that it filled. medjax and stock
JAX trace, lower and compile the same program, the one with fast convolutions and the other without. Of PyTorch it is
the first step by torch.compile less the second. Imports do not count.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import medjax
from benchmarks.architectures import make_architectures
from benchmarks.medjax_network import describe_arguments, make_program
from benchmarks.peers.client import Peer
from benchmarks.peers.network_client import load_network, make_data

NETWORK = "resnet18-28"
PROGRAMS = ("medjax", "stock JAX")
ASKED_FOR = 2.0  # medjax over stock JAX at most, without the cache


def measure(turns: int, *, peers: bool) -> list[dict[str, Any]]:
    """A row for each program; the median counts."""
    compilers: dict[str, Callable[[str, str], float]] = dict.fromkeys(PROGRAMS, compile_in_process)
    if peers:
        compilers["PyTorch"] = compile_pytorch
    seconds: dict[str, dict[str, list[float]]] = {name: {"cold": [], "cached": []} for name in compilers}
    for _ in range(turns):
        for name, run in compilers.items():
            with tempfile.TemporaryDirectory(prefix="medjax-compile-") as folder:
                for each in seconds[name].values():
                    each.append(run(name, folder))
    medians = {
        name: {kind: statistics.median(each) for kind, each in kinds.items()}
        for name, kinds in seconds.items()
    }
    return [
        {
            "program": name,
            **{f"{kind}_seconds": round(each, 2) for kind, each in kinds.items()},
            "times_stock_jax": round(kinds["cold"] / medians["stock JAX"]["cold"], 2),
            "asked_for": f"at most {ASKED_FOR}" if name == "medjax" else None,
        }
        for name, kinds in medians.items()
    ]


def compile_in_process(name: str, folder: str) -> float:
    """Seconds of `compile_program`, in a new process."""
    command = [sys.executable, "-m", "benchmarks.compile_time", name, folder]
    ended = subprocess.run(
        command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(ended.stdout)


def compile_program(name: str, folder: str) -> float:
    """Seconds to trace, lower and compile, with the cache in `folder`."""
    medjax.use_compilation_cache(folder)
    architecture = make_architectures()[NETWORK]
    images, _ = make_data(architecture)
    learner, arguments = describe_arguments(architecture.tree, images.shape, architecture.batch_size)
    program = make_program(learner, architecture.batch_size, stock=name == "stock JAX")
    started = time.perf_counter()
    program.lower(*arguments).compile()
    return time.perf_counter() - started


def compile_pytorch(_: str, folder: str) -> float:
    """Seconds that the first step takes longer than the second, in a new process."""
    architecture = make_architectures()[NETWORK]
    with Peer("networks", TORCHINDUCTOR_CACHE_DIR=folder) as peer:
        load_network(peer, architecture, *make_data(architecture))
        first, second = (peer.call("training", compiled=True, steps=1) for _ in range(2))
    return first - second


if __name__ == "__main__":
    print(compile_program(*sys.argv[1:]))
