"""What the command line does with streams that are closed, full, of another encoding or a terminal, and with signals."""

import atexit
import gc
import io
import json
import os
import signal
import sys
import threading
import time
import types
import warnings

import pytest

from medjax import process
from medjax.csv_text import read_csv
from medjax.errors import RefusedError


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    """Give back what `begin` takes for the rest of the process."""
    for owner, name in ((sys, "stdout"), (sys, "stderr"), (sys, "unraisablehook"), (warnings, "showwarning")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    threshold = gc.get_threshold()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    gc.set_threshold(*threshold)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def take_stdout(monkeypatch, encoding="ascii", is_terminal=False):
    """A new stdout; its bytes."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding)
    stream.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stdout", stream)
    process.begin()
    return written


def test_cycles_of_references_are_searched_seldom_and_not_at_exit(monkeypatch):
    at_exit = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    process.begin()
    assert gc.get_threshold()[0] > 10_000
    assert at_exit == [gc.freeze]


def test_a_full_stdout_is_refused_in_one_line(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        process.begin()
        with pytest.raises(RefusedError, match=r"^standard output: cannot be written \(No space left"):
            process.show("test: accuracy 1")
    # Closed without an error, as the interpreter does at its end: what was left went nowhere.


def test_a_closed_stdout_is_refused_before_any_work(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(RefusedError, match=r"^standard output: is closed \(redirect it"):
        process.begin()


def test_a_reader_that_has_left_is_no_error(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        process.begin()
        with pytest.raises(SystemExit) as ended:
            process.show("test: accuracy 1")
    assert ended.value.code == 0


@pytest.mark.parametrize("is_closed", [False, True])
def test_messages_that_cannot_be_written_end_nothing(is_closed, monkeypatch):
    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", None if is_closed else full)
        process.begin()
        for _ in range(2):
            print("epoch 1/2", file=sys.stderr, flush=True)
        with pytest.raises(SystemExit) as ended:
            process.fail(2, ["a.png: is bad (mend it)"])
        sys.stderr.close()
    assert ended.value.code == 2


def test_text_that_a_terminal_cannot_show_is_escaped(monkeypatch):
    written = take_stdout(monkeypatch, "cp1252")
    process.show("肺: 1 %", "\x1b[31mred")
    assert written.getvalue() == b"\\u80ba: 1 %\n\\x1b[31mred\n"


def test_json_is_ascii_and_commands_no_terminal(monkeypatch):
    written = take_stdout(monkeypatch)
    process.show_json({"name": "肺\x1b\x7f\x9b"})
    assert written.getvalue().decode("ascii").removesuffix("\n").isprintable()
    assert json.loads(written.getvalue()) == {"name": "肺\x1b\x7f\x9b"}


def test_csv_is_utf8_and_exact_whatever_the_encoding(monkeypatch):
    written = take_stdout(monkeypatch)
    process.show_csv([["id", "p_肺"], ["=a\r\x1b[31m.png", 0.5]])
    rows = list(read_csv(io.StringIO(written.getvalue().decode("utf-8"), newline="")))
    assert rows == [{"id": "=a\r\x1b[31m.png", "p_肺": "0.5"}]


def test_csv_on_a_terminal_commands_nothing(monkeypatch):
    written = take_stdout(monkeypatch, is_terminal=True)
    process.show_csv([["id", "p_肺"], ["a\r\x1b[31m.png", 0.5]])
    assert written.getvalue() == b"id,p_\\u80ba\na\\r\\x1b[31m.png,0.5\n"


@pytest.mark.parametrize(
    ("number", "status", "error"),
    [
        (signal.SIGINT, 130, KeyboardInterrupt),
        (signal.SIGTERM, 143, SystemExit),
        (signal.SIGHUP, 129, SystemExit),
    ],
)
def test_a_signal_is_an_exception_once_and_its_status_ends_at_once(
    number, status, error, monkeypatch, capsys
):
    monkeypatch.setattr(os, "_exit", lambda code: ended.append(code))
    ended = []
    process.begin()
    with pytest.raises(error) as raised:
        signal.raise_signal(number)
    assert error is KeyboardInterrupt or raised.value.code == status
    for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.raise_signal(again)
    process.end_if_stopped(status)
    process.end_if_stopped(2)
    process.end_if_stopped(None)
    assert ended == [status]
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_hangup_that_nohup_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    process.begin()
    signal.raise_signal(signal.SIGHUP)


def test_a_librarys_thread_that_fails_prints_nothing(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)
    process.begin()
    process.begin()
    of_thread, ours = (types.SimpleNamespace(exc_value=OSError()) for _ in range(2))
    thread = threading.Thread(target=sys.unraisablehook, args=[of_thread])
    thread.start()
    thread.join()
    sys.unraisablehook(ours)
    assert shown == [ours]


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_that_a_callback_drops_comes_again(number, error, monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    process.begin()
    signals = [number]
    drop = lambda *_: signals and signal.raise_signal(signals.pop())  # noqa: E731
    gc.callbacks.append(drop)
    try:
        gc.collect()
        with pytest.raises(error):
            time.sleep(20)
    finally:
        gc.callbacks.remove(drop)


def test_a_warning_is_one_line(capsys):
    process.begin()
    warnings.showwarning(UserWarning("of \x1b[31m\nscans"), UserWarning, "file", 1)
    assert capsys.readouterr().err == "medjax: warning: of \\x1b[31m\\nscans\n"
