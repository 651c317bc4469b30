"""What works on fits: the part that engines share, and how --on names them."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, runtime_checkable

from medjax.training.threads import VARIABLE


class Workers(NamedTuple):
    """How to start a worker, on whatever machine."""

    folder: Path  # of the descriptions and logs
    threads: int  # of XLA, in each
    model: str | None  # network of the user's own that it may import
    has_cache: bool  # whether it keeps compiled programs on disk

    @property
    def words(self) -> list[str]:
        """The command line, to which paths of descriptions may be added."""
        own = [] if self.model is None else ["--model", self.model]
        cache = ["--compilation-cache"] if self.has_cache else []
        return [sys.executable, "-m", "medjax.scale.worker", *own, *cache]

    @property
    def variables(self) -> dict[str, str]:
        """The environment that it needs beside that of this process."""
        return {VARIABLE: str(self.threads)}

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of one on this machine."""
        return {**os.environ, **self.variables}


@runtime_checkable
class Engine(Protocol):
    """Has workers work on fits. Leaving the context ends the workers; by an exception, as by Ctrl-C, it stops them."""

    def __enter__(self) -> "Engine":
        """Get ready; RefusedError where the engine is not to be had."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the workers; by default there are none that outlive `run`."""

    def run(self, fits: Sequence[Path], tell: Callable[[Path], None]) -> None:
        """Have each description worked on once; return when all are over, however they ended.

        `tell` is called with each as it ends, from any thread.
        """
        ...
