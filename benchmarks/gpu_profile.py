"""What takes the time of a compiled program: its kernels, copies and idle time, by JAX's own profiler.

The profiler makes each launch take longer, so a program of short kernels is idle for less time without it.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

TOP = 12  # kernels that are named
# Of a GPU each stream is a line; of a CPU each thread that runs operations.
_LINES = {"/device:GPU": "Stream", "/host:CPU": "tf_XLA"}
_NO_WORK = ("end: ", "ThreadpoolListener", "Threadpool", "Thunk")  # what a CPU's lines hold beside operations
# What a compiled program calls, one by one. Of the others most become part of a fusion or are no work at all.
_CALLED = ("fusion", "custom-call", "while", "conditional", "copy", "sort", "convolution", "dot", "call")


class Event(NamedTuple):
    """A kernel or a copy; times in nanoseconds."""

    name: str
    start: float
    duration: float


def profile(run: Callable[[], Any], steps: int) -> dict[str, Any]:
    """Run once under the profiler, and say what took the time, for each of `steps`."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # else Python's own calls fill the trace
    with tempfile.TemporaryDirectory(prefix="medjax-profile-") as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            run()
        [path] = Path(folder).rglob("*.xplane.pb")
        return summarize(_read_events(path), steps)


def _read_events(path: Path) -> Iterator[Event]:
    for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
        start = next((_LINES[name] for name in _LINES if plane.name.startswith(name)), None)
        if start is None or (plane.name.startswith("/host") and jax.default_backend() != "cpu"):
            continue
        for line in plane.lines:
            if line.name.startswith(start):
                for event in line.events:
                    if event.duration_ns > 0 and not event.name.startswith(_NO_WORK):
                        yield Event(event.name, event.start_ns, event.duration_ns)


def summarize(events: Iterable[Event], steps: int) -> dict[str, Any]:
    """Kernels and copies a step, microseconds a step, the share of the time in which nothing ran, and the longest kernels.

    Names that differ in a trailing number alone count as one.
    """
    ordered = sorted(events, key=lambda event: event.start)
    if not ordered:
        raise RuntimeError("the profiler saw no kernel")
    span = max(event.start + event.duration for event in ordered) - ordered[0].start
    seconds: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for event in ordered:
        name = re.sub(r"([._]\d+)+$", "", event.name)
        seconds[name] += event.duration
        counts[name] += 1
    total = sum(seconds.values())
    copies = {name: count for name, count in counts.items() if is_copy(name)}
    return {
        "kernels_a_step": round((len(ordered) - sum(copies.values())) / steps, 1),
        "copies_a_step": {name: round(count / steps, 2) for name, count in copies.items()},
        "copies": copies,
        "microseconds_a_step": round(span / steps / 1e3, 1),
        "idle": round(1 - _busy(ordered) / span, 3),
        "longest": [
            {
                "name": name[:80],
                "share": round(each / total, 3),
                "microseconds_a_step": round(each / steps / 1e3, 2),
                "a_step": round(counts[name] / steps, 2),
            }
            for name, each in seconds.most_common(TOP)
        ],
    }


def is_copy(name: str) -> bool:
    """Whether an event of this name moves or fills memory; between host and device it is called MemcpyD2H or MemcpyH2D."""
    return name.lower().startswith(("memcpy", "memset"))


def _busy(ordered: list[Event]) -> float:
    """Nanoseconds in which at least one of the events ran."""
    busy, until = 0.0, ordered[0].start
    for event in ordered:
        end = event.start + event.duration
        busy += max(0.0, end - max(event.start, until))
        until = max(until, end)
    return busy


def count_operations(program: str) -> dict[str, int]:
    """What a compiled program calls, by kind, from its text; that of a loop counts once."""
    # Operations inside a fusion are listed in computations of their own, which the text names so.
    bodies = re.split(r"\n\n", program)
    called = [body for body in bodies if not re.match(r"\s*%?(fused|wrapped)", body)]
    found = Counter(re.findall(r" = .*? ([a-z][a-z-]*)\(", "\n".join(called)))
    return {name: found[name] for name in _CALLED if found[name]}
