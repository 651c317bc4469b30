"""Images a second that networks other than medjax's own train on and answer, beside PyTorch.

    python -m benchmarks.networks [--turns 5] [--only resnet18-28 …] [--task inference] [--seed 0] [--no-peers] [--no-compiled] [--json]

Each network is one tree of layers, from which stock Linen layers are called here and PyTorch's in a process of its
own: those of `benchmarks.architectures`, and ten that are drawn at random from the seed. Random images lie in memory.
Training is by Adam in steps of the same batch: medjax by the program that `fit` runs, PyTorch channels-last, eagerly and
by torch.compile, of which the faster counts. Inference is every image's probabilities on the host, by `predict` and under
`torch.inference_mode`. The cases take turns of about a second each, after steps that compile and warm them; the median
turn counts. `compile-time` is how long the training program of ResNet-18 takes to compile. Each line is printed as soon
as it is measured. Ctrl-C ends the benchmark early: the last line of stdout, one JSON object, has what was measured.

Beside other programs that compute, PyTorch is up to ten times slower, as its threads spin while they wait for each other:
the ratios then mean little. With OMP_WAIT_POLICY=passive in the environment they mean more.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import tyro

from benchmarks import compile_time
from benchmarks.architectures import Architecture, make_architectures
from benchmarks.layers import trace
from benchmarks.measuring import finish, medians, take_turns
from benchmarks.medjax_network import MAX_STEPS, MedjaxNetwork
from benchmarks.peers.client import Peer
from benchmarks.peers.network_client import load_network, make_data
from benchmarks.random_networks import draw_architectures

SECONDS_A_TURN = 1.0
NUM_DRAWN = 10
COMPILE_TIME = "compile-time"


class Way(NamedTuple):
    """One way to do a task."""

    run: Callable[[int], float]  # seconds of so many steps
    images: int  # a step


def main(
    turns: int = 5,
    only: tuple[str, ...] = (),
    task: Literal["training", "inference"] | None = None,
    seed: int = 0,
    peers: bool = True,
    compiled: bool = True,
    json: bool = False,
) -> None:
    """Measure and print.

    Args:
        turns: Turns of each case; the median counts.
        only: Measure these networks, or compile-time, and no others.
        task: Measure this alone of the networks; by default both.
        seed: Random networks are drawn from it.
        peers: Measure PyTorch too.
        compiled: Measure PyTorch by torch.compile too, which takes minutes to compile a large network.
        json: Print the JSON line alone on stdout, the others on stderr.
    """
    architectures = make_architectures() | draw_architectures(seed, NUM_DRAWN)
    names = (*architectures, COMPILE_TIME)
    if unknown := set(only) - set(names):
        raise SystemExit(f"no network is called {min(unknown)}: choose from {', '.join(names)}")
    warn_of_load()
    figures: dict[str, Any] = {"turns": turns, "seed": seed}
    with contextlib.suppress(KeyboardInterrupt):
        for number, name in enumerate(only or names, start=1):
            print(f"{number}/{len(only or names)} {name}", file=sys.stderr, flush=True)
            if name == COMPILE_TIME:
                rows = compile_time.measure(min(turns, 3), peers=peers and compiled)
                found: Iterable[tuple[str, dict[str, Any]]] = (("compile_time", row) for row in rows)
            else:
                found = measure(name, architectures[name], turns, task=task, peers=peers, compiled=compiled)
            for table, row in found:
                figures.setdefault(table, []).append(row)
                print(in_line(table, row), file=sys.stderr if json else sys.stdout, flush=True)
    if peers:
        with Peer("networks") as peer:
            figures["pytorch"] = peer.call("describe")
    finish("networks", figures, [], json=True)


def warn_of_load() -> None:
    """Say on stderr where other programs seem to compute too."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores / 2:
        print(
            f"warning: a load of {load:.1f} on {cores} cores: beside other programs that compute, PyTorch is up to ten "
            "times slower, and less so with OMP_WAIT_POLICY=passive",
            file=sys.stderr,
            flush=True,
        )


def in_line(table: str, row: dict[str, Any]) -> str:
    """A row for people."""
    if table == "compile_time":
        return f"compile time  {row['program']:22} cold {row['cold_seconds']:7.1f} s   cached {row['cached_seconds']:6.1f} s"
    line = f"{table:12}  {row['network']:22} medjax {row['medjax']:8,} images/s"
    if "pytorch" in row:
        line += f"   PyTorch {row['pytorch']:8,} ({row['way']})"
        line += f"   ratio {row['ratio']:.2f}, asked for {row['asked_for']}"
    return line


def measure(
    name: str, architecture: Architecture, turns: int, *, task: str | None, peers: bool, compiled: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The table and the row of each task, or of this one."""
    images, labels = make_data(architecture)
    batch_size = architecture.batch_size
    shape = (architecture.side, architecture.side, architecture.channels)
    about = {"network": name, "MMAC": round(trace(architecture.tree, shape).multiplications / 1e6)}
    ours = MedjaxNetwork(architecture.tree, images, labels, batch_size)
    with contextlib.ExitStack() as stack:
        if peers:
            peer = stack.enter_context(Peer("networks"))
            load_network(peer, architecture, images, labels)
        tasks = {
            "training": (Way(ours.train, batch_size), architecture.goal),
            "inference": (Way(ours.predict, ours.evaluation_batch), 1.0),
        }
        for each in tasks if task is None else [task]:
            way, goal = tasks[each]
            ways = {"medjax": way}
            if peers:
                ways |= make_peer_ways(peer, each, batch_size, compiled=compiled)
            yield each, {**about, **compare(measure_rates(ways, turns)), "asked_for": goal}


def make_peer_ways(peer: Peer, task: str, batch_size: int, *, compiled: bool) -> dict[str, Way]:
    """PyTorch's ways to do the task."""
    ways = {"eager": Way(lambda steps: peer.call(task, compiled=False, steps=steps), batch_size)}
    if compiled:
        failure = peer.call("try_compiled", task=task)
        if failure is None:
            ways["compiled"] = Way(lambda steps: peer.call(task, compiled=True, steps=steps), batch_size)
        else:
            print(f"PyTorch eager only, as torch.compile failed: {failure}", file=sys.stderr, flush=True)
    return ways


def measure_rates(ways: dict[str, Way], turns: int) -> dict[str, float]:
    """Images a second of each way, in turns."""
    steps = {name: choose_steps(way) for name, way in ways.items()}
    cases = {name: functools.partial(way.run, steps[name]) for name, way in ways.items()}
    seconds = medians(take_turns(cases, turns))
    return {name: steps[name] * way.images / seconds[name] for name, way in ways.items()}


def choose_steps(way: Way) -> int:
    """As many steps as take about a turn, two at least; the first compiles and does not count."""
    way.run(1)
    return min(MAX_STEPS, max(2, round(SECONDS_A_TURN / way.run(1))))


def compare(rates: dict[str, float]) -> dict[str, Any]:
    """medjax, the better of PyTorch's ways, and their ratio."""
    peers = {way: rate for way, rate in rates.items() if way != "medjax"}
    found: dict[str, Any] = {"medjax": round(rates["medjax"])}
    if peers:
        way = max(peers, key=lambda way: peers[way])
        found |= {"pytorch": round(peers[way]), "way": way, "ratio": round(rates["medjax"] / peers[way], 2)}
    return found


if __name__ == "__main__":
    tyro.cli(main)
