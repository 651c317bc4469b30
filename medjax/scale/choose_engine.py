"""What --on names: an engine, how many workers it has, and how many threads each of them computes with."""

import re
from collections.abc import Callable
from typing import NamedTuple

from medjax.errors import refuse
from medjax.scale.description import MOST_THREADS
from medjax.scale.engine import Engine, Workers
from medjax.scale.on_local import Local
from medjax.scale.on_ray import WARNING, OnRay
from medjax.scale.on_slurm import Slurm, SlurmHere
from medjax.training.strategies import count_cores

_FORMS = "local or local:2 (processes), ray or ray:ADDRESS, slurm or slurm:local"
_MOST_WORKERS = 1024


class Choice(NamedTuple):
    """An engine that is to be made, and the threads of each of its workers."""

    make: Callable[[Workers], Engine]
    threads: int
    words: str  # such as "local:2"
    warning: str | None = None


def choose_engine(on: str, threads: int | None) -> Choice:
    """The engine that a text names; RefusedError for any other text, and for a number of threads out of range.

    Without `threads` the cores of this machine are shared out by local:N to N processes; all others have one thread each.
    """
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise refuse("--threads-per-fit", f"{threads} is out of range", f"1 to {MOST_THREADS}")
    name, colon, argument = on.partition(":")
    if name == "local" and (not colon or re.fullmatch("[0-9]{1,6}", argument)):
        return _choose_local(on, int(argument) if colon else None, threads)
    threads = 1 if threads is None else threads
    if name == "ray" and bool(colon) == bool(argument):
        return Choice(lambda workers: OnRay(argument or None, workers), threads, on, WARNING)
    if on == "slurm":
        return Choice(Slurm, threads, on)
    if on == "slurm:local":
        return Choice(SlurmHere, threads, on)
    raise refuse("--on", f"{on} is no engine", _FORMS)


def _choose_local(on: str, count: int | None, threads: int | None) -> Choice:
    if count is not None and not 1 <= count <= _MOST_WORKERS:
        raise refuse("--on", f"{on} is out of range", f"1 to {_MOST_WORKERS} processes")
    if threads is None:
        threads = 1 if count is None else max(1, count_cores() // count)
    processes = max(1, count_cores() // threads) if count is None else count
    return Choice(lambda workers: Local(processes, workers), threads, f"local:{processes}")
