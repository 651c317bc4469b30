"""Fits in processes on this machine.

Each worker is a process that takes one description after the other (see `medjax.scale.worker`), so that it reads the images
and compiles the programs once. A worker that dies costs the fit that it was at; another takes its place.
"""

import collections
import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from medjax.scale.engine import Engine, Workers

SECONDS_TO_SAVE = 60.0
"""That workers have to save an epoch, when they are stopped."""


class Local(Engine):
    """As many workers at a time as `count`; what they say is in `<log>_0.log` and so on."""

    def __init__(self, count: int, workers: Workers, log: str = "worker") -> None:
        self._count, self._workers, self._log = count, workers, log
        self._waiting: collections.deque[Path] = collections.deque()
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._starting = threading.Lock()
        self._is_stopped = False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        processes = self._processes.values()
        if kind is None:
            for process in processes:
                _close(process.stdin)  # a worker without a fit ends by itself
            wait_or_kill(processes)
        else:
            stop(processes)
        for process in processes:
            _close(process.stdin, process.stdout)

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
            stop(self._processes.values())  # or the threads would wait for one that hangs
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
                if process is not None:
                    _close(process.stdin, process.stdout)
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


def stop(processes: Collection["subprocess.Popen[Any]"]) -> None:
    """Tell processes to stop; return when they have ended, killed if they take too long to save."""
    for process in processes:
        process.terminate()
    wait_or_kill(processes)


def wait_or_kill(processes: Collection["subprocess.Popen[Any]"]) -> None:
    """Return when processes have ended; those that have not after a minute, together, are killed."""
    last = time.monotonic() + SECONDS_TO_SAVE
    for process in processes:
        try:
            process.wait(max(0.0, last - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _hand_over(process: "subprocess.Popen[str]", fit: Path) -> bool:
    """Whether a worker has taken a description, and said that its fit is over."""
    try:
        print(fit, file=_stream(process.stdin), flush=True)
    except OSError:  # it has died meanwhile
        return False
    return bool(_stream(process.stdout).readline())


def _close(*streams: Any) -> None:
    for stream in streams:
        with contextlib.suppress(OSError):  # the worker has died, and what it was to read is lost
            stream.close()


def _stream(stream: Any) -> Any:
    assert stream is not None  # they are pipes
    return stream
