"""Training images a second of networks that are not medjax's own, beside PyTorch.

    python -m benchmarks.networks [--turns 5] [--only resnet18-28 …] [--no-peers] [--no-compiled] [--json]

Each network is one tree of layers, from which stock Linen layers are called here and PyTorch's in a process of its
own. Both train by Adam on the same random images, which lie in memory, in steps of the same batch: medjax by the program
that `fit` runs, PyTorch channels-last, eagerly and by torch.compile, of which the faster counts. The cases of a network
take turns of about a second each, after as many steps as compile and warm them; the median turn counts. A network's line
is printed as soon as it is measured. The last line of stdout is one JSON object.
"""

import contextlib
import functools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.architectures import NUM_CLASSES, Architecture, make_architectures
from benchmarks.layers import as_json
from benchmarks.linen_network import LinenNetwork
from benchmarks.measuring import finish, medians, take_turns
from benchmarks.peers.client import Peer
from medjax.metrics import zero_sums
from medjax.records import Split
from medjax.training.compilation import compile_program
from medjax.training.fold_plan import make_plan
from medjax.training.folds import Controls, init_fold, run_steps
from medjax.training.learner import make_learner
from medjax.training.optimizers import make_adam

SECONDS_A_TURN = 1.0
MAX_STEPS = 1024  # a turn
BATCHES = 4  # of different images

Steps = Callable[[int], float]  # seconds of so many steps


def main(
    turns: int = 5,
    only: tuple[str, ...] = (),
    peers: bool = True,
    compiled: bool = True,
    json: bool = False,
) -> None:
    """Measure and print.

    Args:
        turns: Turns of each case; the median counts.
        only: Measure these networks and no others.
        peers: Measure PyTorch too.
        compiled: Try torch.compile too, which takes a minute for a large network.
        json: Print the JSON line alone on stdout, the others on stderr.
    """
    architectures = make_architectures()
    if unknown := set(only) - architectures.keys():
        raise SystemExit(f"no network is called {min(unknown)}: choose from {', '.join(architectures)}")
    table: list[dict[str, Any]] = []
    for name in only or architectures:
        row = measure(name, architectures[name], turns, peers=peers, compiled=compiled)
        table.append(row)
        print(in_line(row), file=sys.stderr if json else sys.stdout, flush=True)
    finish("networks", {"training": table, "turns": turns}, [], json=True)


def in_line(row: dict[str, Any]) -> str:
    """A network's figures for people."""
    line = f"{row['network']:22} medjax {row['medjax']:8,} images/s"
    if "pytorch" in row:
        line += f"   PyTorch {row['pytorch']:8,} ({row['way']})   ratio {row['ratio']:.2f}, asked for {row['asked_for']}"
    return line


def measure(
    name: str, architecture: Architecture, turns: int, *, peers: bool, compiled: bool
) -> dict[str, Any]:
    """The network's row of the table."""
    batch_size = architecture.batch_size
    images, labels = make_data(architecture)
    with contextlib.ExitStack() as stack:
        ways: dict[str, Steps] = {"medjax": make_training(architecture, images, labels)}
        if peers:
            peer = stack.enter_context(Peer("networks"))
            load_peer(peer, architecture, images, labels)
            ways["eager"] = functools.partial(_call, peer, "train", False)
            if compiled and can_compile(peer, "train"):
                ways["compiled"] = functools.partial(_call, peer, "train", True)
        steps = {way: choose_steps(run) for way, run in ways.items()}
        cases = {way: functools.partial(run, steps[way]) for way, run in ways.items()}
        seconds = medians(take_turns(cases, turns))
    rates = {way: steps[way] * batch_size / each for way, each in seconds.items()}
    return {"network": name, "batch_size": batch_size, **compare(rates), "asked_for": architecture.goal}


def compare(rates: dict[str, float]) -> dict[str, Any]:
    """medjax, the better of PyTorch's ways, and their ratio."""
    ours = rates.pop("medjax")
    if not rates:
        return {"medjax": round(ours)}
    way = max(rates, key=lambda way: rates[way])
    ratio = round(ours / rates[way], 2)
    return {"medjax": round(ours), "pytorch": round(rates[way]), "way": way, "ratio": ratio}


def make_data(architecture: Architecture) -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels, a few batches of them."""
    generator = np.random.default_rng(0)
    count, side = BATCHES * architecture.batch_size, architecture.side
    images = generator.integers(0, 256, (count, side, side, architecture.channels), np.uint8)
    return images, generator.integers(0, NUM_CLASSES, count, np.int32)


def make_training(architecture: Architecture, images: np.ndarray, labels: np.ndarray) -> Steps:
    """Training steps by the program that `fit` runs; each call goes on where the last one ended."""
    learner = make_learner(LinenNetwork(architecture.tree), make_adam(1e-3))
    batch_size = architecture.batch_size
    none = np.zeros(0, int)
    order = np.arange(MAX_STEPS * batch_size) % len(images)
    plan = make_plan([Split(order, none, none)], seed=0, batch_size=batch_size)
    plan = jax.tree.map(lambda leaf: leaf[0], plan)
    init = functools.partial(init_fold, learner=learner, controls=Controls(), image_shape=images.shape)
    arrays = jnp.asarray(images), jnp.asarray(labels)
    program = compile_program(functools.partial(run_steps, learner, batch_size), donate=(5,))
    state = jax.block_until_ready(compile_program(init, effort=0)(plan.key))

    def run(steps: int) -> float:
        nonlocal state
        started = time.perf_counter()
        state, _ = jax.block_until_ready(program(*arrays, 0, steps, plan, state, zero_sums(NUM_CLASSES)))
        seconds = time.perf_counter() - started
        if state.diverged:
            raise SystemExit("the network diverged: steps that are left out count for nothing")
        return seconds

    return run


def load_peer(peer: Peer, architecture: Architecture, images: np.ndarray, labels: np.ndarray) -> int:
    """Hand network and data to PyTorch's process; its number of parameters."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, images=images, labels=labels)
        tree = as_json(architecture.tree)
        return peer.call("build", tree=tree, path=str(path), batch_size=architecture.batch_size)


def can_compile(peer: Peer, function: str) -> bool:
    """Compile a function of the peer's by torch.compile; where that fails, say why."""
    failure = peer.call("try_compiled", function=function)
    if failure is not None:
        print(f"PyTorch eager only: torch.compile failed with {failure}", file=sys.stderr, flush=True)
    return failure is None


def choose_steps(run: Steps) -> int:
    """As many steps as take about a turn, two at least, after one that compiles."""
    run(1)
    return min(MAX_STEPS, max(2, round(SECONDS_A_TURN / run(1))))


def _call(peer: Peer, function: str, compiled: bool, steps: int) -> float:
    return peer.call(function, compiled=compiled, steps=steps)


if __name__ == "__main__":
    tyro.cli(main)
