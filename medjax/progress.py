"""Progress on stderr: bars on a terminal; in a pipe or file only the printed lines."""

import sys
import time
import warnings
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from medjax.errors import printable


class Display:
    """Context manager that shows progress; with `is_quiet` only warnings."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        # The stream is named, so that its encoding is known: the bar of an ASCII terminal is of ASCII.
        self._console = Console(file=sys.stderr, stderr=True, quiet=is_quiet, highlight=False)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
            disable=is_quiet or not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._unit = "images"
        self._last = (0, time.monotonic())

    def __enter__(self) -> "Display":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one; what would command a terminal is escaped."""
        self._console.print(printable(line), markup=False, emoji=False, soft_wrap=True)

    def warn(self, line: str) -> None:
        """Issue a warning, even if the display is quiet."""
        warnings.warn(line, stacklevel=3)

    def start(self, description: str, unit: str = "images") -> None:
        """Replace the bar by a new one that counts in `unit`."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(description, total=None, note="")
        self._last = (0, time.monotonic())
        self._unit = unit

    def advance(self, done: int, total: int | None, note: str = "") -> None:
        """Move the bar to `done` of `total` units; beside it stand `note` and the speed since the last call in units/s."""
        if self._task is None:
            return
        last_done, last_time = self._last
        now = time.monotonic()
        if done > last_done:
            note = f"{note} {(done - last_done) / max(now - last_time, 1e-9):,.0f} {self._unit}/s".strip()
            self._last = (done, now)
        self._bars.update(self._task, completed=done, total=total, note=note)
