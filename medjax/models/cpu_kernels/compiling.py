"""Compiles kernels in a thread of their own, beside the lowering of the program that calls them."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

# One thread, as llvmlite compiles one module at a time; meanwhile other threads run Python.
_thread = ThreadPoolExecutor(1, thread_name_prefix="kernels")
# Kernels that nobody has waited for; None where each is waited for at once.
_pending: contextvars.ContextVar[list[Future[Any]] | None] = contextvars.ContextVar("pending", default=None)


@contextlib.contextmanager
def compile_beside() -> Iterator[None]:
    """Within the context `require` does not wait; the end of the context does, and raises what a job has raised.

    XLA may compile a program only when its kernels are.
    """
    pending: list[Future[Any]] = []
    token = _pending.set(pending)
    try:
        yield
    finally:
        _pending.reset(token)
    for job in pending:
        job.result()


def start(job: Callable[[], Any]) -> Future[Any]:
    """Do a job in the thread, after those before it."""
    return _thread.submit(job)


def require(job: Future[Any]) -> None:
    """Wait until a job is done, at once or at the end of the context; raise what it raises."""
    pending = _pending.get()
    if pending is None:
        job.result()
    else:
        pending.append(job)
