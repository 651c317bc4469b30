"""Keep a C library from writing to stderr: libtiff says there itself what it thinks of a file, and Pillow lets it."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_STDERR = 2
# Of two threads the second would take the silence of the first for the real stderr, and restore that.
_lock = threading.Lock()


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Discard what any code of this process writes to its stderr; one thread at a time."""
    with _lock:
        saved = None
        with suppress(OSError):  # there is none
            saved = os.dup(_STDERR)
        if saved is None:
            yield
            return
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, _STDERR)
        os.close(null)
        try:
            yield
        finally:
            os.dup2(saved, _STDERR)
            os.close(saved)
