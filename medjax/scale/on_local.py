"""Fits in processes on this machine.

Each worker is a process that takes one description after the other (see `medjax.scale.worker`), so that it reads the images
and compiles the programs once. A worker that dies costs the fit that it was at; another takes its place.
"""

import collections
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from medjax.scale.engine import Workers

_SECONDS_TO_SAVE = 60.0  # an epoch, when stopped


class Local:
    """As many workers at a time as `count`; what they say is in `<log>_0.log` and so on."""

    def __init__(self, count: int, workers: Workers, log: str = "worker") -> None:
        self._count, self._workers, self._log = count, workers, log
        self._waiting: collections.deque[Path] = collections.deque()
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._starting = threading.Lock()
        self._is_stopped = False

    def __enter__(self) -> "Local":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes.values():
            if kind is None:
                _stream(process.stdin).close()  # a worker without a fit ends by itself
            else:
                process.terminate()
        for process in self._processes.values():
            try:
                process.wait(_SECONDS_TO_SAVE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _stream(process.stdout).close()

    def run(self, fits: Sequence[Path], tell: Callable[[Path], None]) -> None:
        """Have each description worked on once."""
        self._waiting.extend(fits)
        threads = ThreadPoolExecutor(self._count, thread_name_prefix="worker")
        serving = [threads.submit(self._serve, slot, tell) for slot in range(self._count)]
        try:
            for each in serving:
                each.result()
        except BaseException:
            self._waiting.clear()
            with self._starting:
                self._is_stopped = True
            for process in self._processes.values():
                process.terminate()
            raise
        finally:
            threads.shutdown()

    def _serve(self, slot: int, tell: Callable[[Path], None]) -> None:
        """Hand one description after the other to the worker of a slot, a new one if the last has died."""
        while True:
            try:
                fit = self._waiting.popleft()
            except IndexError:
                return
            process = self._processes.get(slot)
            if process is None or process.poll() is not None:
                with self._starting:
                    if self._is_stopped:
                        return
                    process = self._processes[slot] = self._start(slot)
            if not _hand_over(process, fit):
                process.wait()
            tell(fit)

    def _start(self, slot: int) -> subprocess.Popen[str]:
        with open(self._workers.folder / f"{self._log}_{slot}.log", "a", encoding="utf-8") as log:
            return subprocess.Popen(
                self._workers.words,
                env=self._workers.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # Ctrl-C in a terminal reaches us, and we tell the workers.
                start_new_session=True,
            )


def _hand_over(process: "subprocess.Popen[str]", fit: Path) -> bool:
    """Whether a worker has taken a description, and said that its fit is over."""
    try:
        print(fit, file=_stream(process.stdin), flush=True)
    except OSError:  # it has died meanwhile
        return False
    return bool(_stream(process.stdout).readline())


def _stream(stream: Any) -> Any:
    assert stream is not None  # they are pipes
    return stream
