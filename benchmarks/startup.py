"""Seconds from the start of a process to the end of its first training step, compiled anew and from the cache.

    python -m benchmarks.startup [--data ZIP] [--turns 5] [--no-peers] [--json]

Each turn is a fresh process that runs the command `medjax train DATA --preset report` and is over when training first reports a step
that was taken; the clock runs from before the process is made. Cases take turns; the first turn, which fills the
caches of decoded images and of compiled programs, does not count, and the median of the others does. `imports` is a
process that only imports what the command imports. The peers build, compile and train the same network on one batch of
random images of the same shape, so that they read no data. The last line of stdout is one JSON object.
"""

import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from benchmarks.measuring import Case, finish, medians, take_turns
from benchmarks.peers.client import PYTHON as PEERS_PYTHON

ROOT = Path(__file__).parents[1]
STEPPED = "first step"
PEERS = ("keras", "pytorch")


def main(data: str = "phantom", turns: int = 5, peers: bool = True, json: bool = False) -> None:
    """Measure and print.

    Args:
        data: Folder or archive to train on, or the word phantom.
        turns: Turns of each case; the median counts.
        peers: Also start Keras and PyTorch, where they are installed (make peers).
        json: Print the JSON line alone.
    """
    with tempfile.TemporaryDirectory(prefix="medjax-startup-") as folder:
        cases = make_cases(data, Path(folder), with_peers=peers and PEERS_PYTHON.exists())
        seconds = take_turns(cases, turns)
    figures: dict[str, Any] = {f"{name}_seconds": round(each, 2) for name, each in medians(seconds).items()}
    lines = [f"{name:8} {min(each):6.2f} to {max(each):6.2f} s" for name, each in seconds.items()]
    finish("startup", {"data": Path(data).name, "turns": turns, **figures}, lines, json=json)


def make_cases(data: str, folder: Path, *, with_peers: bool) -> dict[str, Case]:
    """Turns of each case, which leave their runs, decoded images and compiled programs in `folder`."""
    child = [sys.executable, "-m", "benchmarks.startup", "--child", str(folder), data]
    commands = {
        "cold": child,
        "cached": [*child, "--compilation-cache"],
        "imports": [sys.executable, "-c", f"import medjax.jobs; print({STEPPED!r})"],
    }
    if with_peers:
        for name in PEERS:
            commands[name] = [str(PEERS_PYTHON), "-m", "benchmarks.peers.first_step", name]
    return {name: functools.partial(seconds_until_step, line, folder) for name, line in commands.items()}


def seconds_until_step(command: Sequence[str], folder: Path) -> float:
    """Seconds until a new process says that it has taken a step."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment["MEDJAX_CACHE_DIR"] = str(folder / "cache")
    with (folder / "stderr").open("w+") as words:
        started = time.perf_counter()
        with subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=words, text=True
        ) as process:
            assert process.stdout is not None
            said = process.stdout.readline().strip()
            seconds = time.perf_counter() - started
        words.seek(0)
        if said != STEPPED:
            raise SystemExit(f"{' '.join(command)} ended without a step:\n{words.read()}")
    return seconds


def train_one_step(folder: str, arguments: Sequence[str]) -> None:
    """The command `medjax train`, ended when it reports a step that was taken."""
    from medjax import cli
    from medjax.jobs import train_folds as training

    fit = training.fit_folds

    def fit_until_step(*positional: Any, on_progress: Any, **options: Any) -> Any:
        def watch(progress: Any) -> None:
            on_progress(progress)
            if progress.step > 0:
                print(STEPPED, flush=True)
                os._exit(0)  # what is still under way is no part of the start

        return fit(*positional, on_progress=watch, **options)

    training.fit_folds = fit_until_step
    cli.main(["train", *arguments, "--preset", "report", "--run", tempfile.mkdtemp(dir=folder)])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        train_one_step(sys.argv[2], sys.argv[3:])
    else:
        tyro.cli(main)
