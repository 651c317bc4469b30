"""The process of the command line: what its streams take, which signals end it, and with which status."""

import atexit
import contextlib
import gc
import io
import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from medjax.csv_text import write_csv
from medjax.errors import printable, refuse

REFUSED, DIVERGED = 2, 3
"""Exit statuses."""
# 128 and the number of the signal, as a shell says it. Windows has no SIGHUP.
_ENDS = {
    128 + getattr(signal, name): word
    for name, word in (("SIGINT", "interrupted"), ("SIGTERM", "terminated"), ("SIGHUP", "hung up"))
    if hasattr(signal, name)
}


def begin() -> None:
    """Prepare streams and signals; RefusedError where stdout is closed, as no result could be given."""
    _collect_seldom()
    for number in range(3):
        _occupy(number)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if not isinstance(sys.stderr, _Messages):
        sys.stderr = _Messages(sys.stderr)
    warnings.showwarning = _warn
    _watch_dropped_errors()
    for name in ("absl", "asyncio"):  # of Orbax, whose errors reach us as exceptions
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for status in _ENDS:
        # What was to be ignored from the start, as `nohup` asks for, stays ignored.
        if signal.getsignal(status - 128) != signal.SIG_IGN:
            signal.signal(status - 128, _stop)
    if sys.stdout is None:
        raise refuse("standard output", "is closed", "redirect it: > FILE, or > /dev/null")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def show(*lines: str) -> None:
    """Print lines on stdout; what would command a terminal is escaped."""
    _write("".join(f"{printable(line)}\n" for line in lines))


def show_text(text: str) -> None:
    """Print a text of our own, of many lines, on stdout."""
    _write(text)


def show_json(value: Any) -> None:
    """Print a JSON object as one line of ASCII on stdout."""
    _write(json.dumps(value).replace("\x7f", "\\u007f") + "\n")


def show_csv(rows: Iterable[Sequence[object]]) -> None:
    """Print rows on stdout: in UTF-8 and exact (see `csv_text`); on a terminal, what would command it is escaped."""
    if sys.stdout.isatty():
        rows = [[printable(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    _write(write_csv(rows))


def fail(status: int, lines: Sequence[str]) -> NoReturn:
    """Exit after a line for each problem."""
    for line in lines:
        print(f"medjax: error: {printable(line)}", file=sys.stderr)
    sys.exit(status)


def end_if_stopped(status: object) -> None:
    """Exit at once if this is the status of a signal.

    Without the interpreter's cleanup: threads of XLA may still be computing and would crash after it. All that must be
    kept is saved by then.
    """
    if not isinstance(status, int) or status not in _ENDS:
        return
    print(f"medjax: error: {_ENDS[status]}", file=sys.stderr)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _write(text: str) -> None:
    """Write on stdout, flushed, so that a failure is met here. A reader that has left, as `head` does, is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
        sys.exit(0)
    except OSError as error:
        _discard(sys.stdout)
        reason = f"cannot be written ({error.strerror or error})"
        raise refuse("standard output", reason, "redirect it to a file on a disk with room") from error


class _Messages:
    """A stream whose writing never fails: messages are not what a command is for."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # full, gone with its terminal, or closed
            _discard(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            _discard(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _occupy(number: int) -> None:
    """Open a standard descriptor that is closed, or the next file that is opened would have its number and its output."""
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _discard(stream: Any) -> None:
    """Let what a stream still holds, and all that follows, go nowhere: the flush at exit would fail again."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def _stop(number: int, frame: object) -> NoReturn:
    # No further signal, such as a second Ctrl-C, interrupts saving.
    for status in _ENDS:
        signal.signal(status - 128, signal.SIG_IGN)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def _stop_soon(number: int) -> None:
    """As `_stop`, a moment later: out of a callback, of a search for cycles of references say, no exception comes."""
    signal.signal(number, _stop)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    print(f"medjax: warning: {printable(str(message))}", file=sys.stderr)


def _collect_seldom() -> None:
    """Search for reference cycles thirty times less often, and not at exit.

    With JAX and Matplotlib loaded a full search takes 0.2 s and finds next to nothing; a command made eight, and several
    more when it ended. Arrays are freed by their counts of references all the same.
    """
    gc.set_threshold(20_000, 20, 20)
    # Registered first, so called last: what the hooks of others leave is not searched either.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


def _watch_dropped_errors() -> None:
    """Of exceptions that cannot be raised where they happen, raise those of signals again, and hush those of other threads.

    On a full disk, Orbax tells us by an exception of its own.
    """
    shown = sys.unraisablehook
    if getattr(shown, "is_watched", False):
        return

    def watch(unraisable: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        error = unraisable.exc_value
        status = 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else getattr(error, "code", None)
        if isinstance(status, int) and status in _ENDS:
            _stop_soon(status - 128)
        else:
            shown(unraisable)

    watch.is_watched = True  # type: ignore[attr-defined]
    sys.unraisablehook = watch
