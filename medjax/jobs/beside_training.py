"""What a run needs to know of its images and nothing of its training: found in a thread of its own while that runs."""

import contextvars
import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from medjax.jobs.baselines import Baselines, first_repeat, fit_baselines
from medjax.jobs.draw_report import Examples, import_drawing, make_examples
from medjax.jobs.from_config import Config, training_of
from medjax.jobs.run_record import describe_leakage
from medjax.progress import Display
from medjax.records import Dataset, Split

# As `nice` counts: a tenth of the share of a thread that trains, where both want a core.
_NICENESS = 10


class Found(NamedTuple):
    """What was found."""

    leakage: dict[str, Any]  # see `describe_leakage`
    examples: Examples


class BesideTraining:
    """Finds it, and fits the baselines, from `start` on; leaving the context does not wait for the end.

    On Linux the thread gives way to training's, and takes what those leave idle.
    """

    def __init__(self, config: Config, dataset: Dataset, splits: Sequence[Split]) -> None:
        self._arguments = config, dataset, splits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="beside_training", initializer=_give_way)
        self._found: Future[Found] | None = None
        self._baselines: Future[Baselines] | None = None
        self._is_left = False
        self._display: Display | None = None

    def __enter__(self) -> "BesideTraining":
        return self

    def __exit__(self, *_: object) -> None:
        self._is_left = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def start(self) -> None:
        """Begin, unless it was begun before."""
        if self._found is None:
            # In this context, so that the thread shares what runs of several seeds have in common.
            context = contextvars.copy_context()
            self._found = self._thread.submit(lambda: context.run(_find, *self._arguments))
            if training_of(self._arguments[0]).baselines:
                self._baselines = self._thread.submit(
                    fit_baselines, *self._arguments, first_repeat(self._arguments[0]), self._tell
                )

    def result(self) -> Found:
        """Wait until all but the baselines is found; raises what went wrong."""
        self.start()
        assert self._found is not None
        return self._found.result()

    def baselines(self, repeat: int, display: Display) -> Baselines:
        """Wait for the baselines, if there are to be any, of one repeat, showing how far they are."""
        self.start()
        if repeat != first_repeat(self._arguments[0]) or self._baselines is None:
            return fit_baselines(*self._arguments, repeat, display.advance)
        self._display = display
        return self._baselines.result()

    def _tell(self, done: int, total: int, note: str) -> None:
        if self._is_left:
            raise _LeftError
        if self._display is not None:
            self._display.advance(done, total, note)


class _LeftError(Exception):
    """Nobody waits for the baselines any more."""


def _give_way() -> None:
    if sys.platform == "linux":  # elsewhere threads have no priority of their own that could be lowered so
        thread = os.PRIO_PROCESS, threading.get_native_id()
        os.setpriority(*thread, max(_NICENESS, os.getpriority(*thread)))  # a lower one would need a privilege


def _find(config: Config, dataset: Dataset, splits: Sequence[Split]) -> Found:
    found = Found(describe_leakage(config, dataset, splits), make_examples(config, dataset, splits))
    import_drawing()
    return found
