"""A GPU's use: medjax's programs beside PyTorch's best, and both beside what the card can do.

    python -m benchmarks.gpu [--data FILE.npz] [--seconds N] [--only TEXT …] [--no-peers] [--small] [--json] [--output FILE]

In this order: the card's matrix products, copies and loops; training images a second of the report's network and of
ResNet-18 on random images, augmented, by the program that `fit` runs, with and without deterministic operations, beside
PyTorch (see `benchmarks.peers.gpu_peer`); seconds to accuracy from decoded arrays; five folds, looped and stacked; a
profile of a step and of an epoch; inference; then other batches and arithmetics. Ways take turns, the median turn counts;
a share is of the matrix products measured in the same arithmetic. What is compiled is compiled for the first time.

The arithmetic is that of `--compute`. "medjax" is what a user gets, "medjax free" has --no-deterministic. What medjax has no
setting for is tried too (see `benchmarks.gpu_network`): "medjax autotuned" is deterministic but with timed algorithms, "medjax
large" scores 1,024 images at a time, "vmap by products" stacks folds without grouped convolutions.

Each line is printed as soon as it is measured. What --seconds leaves no time for is skipped, the least important first, and
listed. A failure ends no more than its own measurement. The last line of stdout is one JSON object, after Ctrl-C too.

It needs jax with CUDA, flax and optax with what they depend on, and of other packages jaxtyping and pillow alone; torch with
triton for PyTorch's half, in the same Python or in .venv-peers. Orbax, llvmlite, scikit-learn, simplejpeg, tyro and all others
may be missing; medjax need not be installed. What a machine without a network lacks is carried there as wheels:

    pip download --no-deps --only-binary=:all: --dest .whl NAME …        (here, for the Python there)
    pip install --no-index --no-deps --target site .whl/*.whl; export PYTHONPATH=site        (there)

The status is 1 where anything failed. With --small everything is tiny and runs on a CPU within two minutes; the figures then mean nothing.
"""

import argparse  # not tyro, which a minimal installation may lack
import os
import signal
import sys
import threading
import time
from json import dumps
from pathlib import Path
from types import FrameType
from typing import Any

# JAX would take three quarters of the card's memory at its first call, and leave PyTorch none.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

from benchmarks.gpu_items import Item, list_items
from benchmarks.gpu_peer_side import GpuPeer
from benchmarks.gpu_tools import Sizes, Tools
from benchmarks.peers.client import find_torch
from medjax.jobs.run_record import describe_environment
from medjax.runs.directory import write_json

GRACE = 45.0  # seconds after the time is over until a measurement that hangs is given up


class Report:
    """What was measured: printed, kept, and told as JSON once."""

    def __init__(self, seconds: float, *, is_small: bool, only_json: bool, output: Path | None) -> None:
        """There are `seconds` in all; `output` is a file that holds the JSON so far."""
        self.figures: dict[str, Any] = {"skipped": [], "failed": []}
        self._about = {"benchmark": "gpu", "is_small": is_small}
        self._environment = describe_environment()
        self._seconds, self._output = seconds, output
        self._stream = sys.stderr if only_json else sys.stdout
        self._started = time.perf_counter()
        self._lock = threading.Lock()
        self._is_told = False

    @property
    def left(self) -> float:
        """Seconds until the time is over."""
        return self._seconds - (time.perf_counter() - self._started)

    def say(self, line: str) -> None:
        """Print a line for people."""
        print(f"{self._seconds - self.left:6.1f} s  {line}", file=self._stream, flush=True)

    def add(self, table: str, row: Any) -> None:
        """Keep a row, and print it."""
        self.figures.setdefault(table, []).append(row)
        self.say(f"{table}: {in_line(row)}")
        if self._output is not None:
            write_json(self._output, self._record())

    @property
    def has_failures(self) -> bool:
        """Whether an item, or a way of one, failed."""
        rows = [row for rows in self.figures.values() for row in rows if isinstance(row, dict)]
        return bool(self.figures["failed"]) or any("failures" in row for row in rows)

    def tell(self) -> None:
        """Print the JSON line, unless that was done."""
        with self._lock:
            if not self._is_told:
                self._is_told = True
                print(dumps(self._record()), flush=True)

    def _record(self) -> dict[str, Any]:
        seconds = round(self._seconds - self.left, 1)
        return {**self._about, **self.figures, "seconds": seconds, "environment": self._environment}


def in_line(value: Any) -> str:
    """A row for people: names and values, one after the other."""
    if isinstance(value, dict):
        inner = (f"{name} {in_line(each)}" for name, each in value.items())
        return "  ".join(f"({each})" if isinstance(value, list) else each for each in inner)
    if isinstance(value, list):
        return " | ".join(in_line(each) for each in value)
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def run_items(items: list[Item], tools: Tools, report: Report, only: tuple[str, ...]) -> None:
    """Measure one after the other what the time allows."""
    longest: dict[str, float] = {}  # seconds of the items of a kind so far
    for item in items:
        if only and not any(text in item.name for text in only):
            continue
        expected = longest.get(item.kind, item.seconds)
        if report.left < expected:
            report.figures["skipped"].append(item.name)
            report.say(f"skipped: {item.name} ({expected:.0f} s, {max(report.left, 0):.0f} s are left)")
            continue
        started = time.perf_counter()
        try:
            for table, row in item.measure(tools):
                report.add(table, row)
        except Exception as error:  # whatever it is, the others are measured
            lines = str(error).strip().splitlines() or [""]
            failure = {"item": item.name, "error": f"{type(error).__name__}: {lines[0][:300]}"}
            report.figures["failed"].append(failure)
            report.say(f"failed: {in_line(failure)}")
        longest[item.kind] = max(longest.get(item.kind, 0.0), time.perf_counter() - started)


def main(
    data: str = "phantom",
    seconds: float | None = None,
    only: tuple[str, ...] = (),
    peers: bool = True,
    small: bool = False,
    json: bool = False,
    output: Path | None = None,
) -> int:
    """Measure and print; the status.

    Args:
        data: Data set of the seconds to accuracy, or the word phantom.
        seconds: Begin nothing that would not end by then: 330 by default, or 100 with `small`.
        only: Measure only what has one of these texts in its name.
        peers: Measure PyTorch too.
        small: Tiny sizes, for a CPU.
        json: Print the JSON line alone on stdout, the others on stderr.
        output: Also write the JSON here after each measurement.
    """
    if seconds is None:
        seconds = 100.0 if small else 330.0
    report = Report(seconds, is_small=small, only_json=json, output=output)
    python = find_torch() if peers else None
    if python is None:
        report.say("without PyTorch: " + ("it is not installed here" if peers else "as asked for"))
    peer = None if python is None else GpuPeer(python)
    if peer is not None:
        peer.start()  # imports while the card is measured
    sizes = Sizes.small() if small else Sizes()
    tools = Tools(sizes, data, peer, lambda: report.left, report.figures, kept={})

    def give_up() -> None:
        report.figures["failed"].append({"item": "the last one", "error": "took too long"})
        report.tell()
        if peer is not None:
            peer.close()
        os._exit(1)

    watch = threading.Timer(seconds + GRACE, give_up)
    watch.daemon = True
    watch.start()
    try:
        run_items(list_items(tools), tools, report, only)
        if peer is not None and peer.is_running:
            report.add("pytorch", peer.call("describe", GRACE / 2))
    except (KeyboardInterrupt, RuntimeError, TimeoutError) as error:
        report.say(f"ended early: {str(error) or 'interrupted'}")
    finally:
        watch.cancel()
        report.tell()
        if peer is not None:
            peer.close()
    return int(report.has_failures)


def parse(arguments: list[str]) -> dict[str, Any]:
    """The arguments of `main`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=main.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data", default="phantom")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--only", nargs="+", default=())
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--output", type=Path)
    return vars(parser.parse_args(arguments))


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C, so that what was measured is told
    sys.exit(main(**parse(sys.argv[1:])))
