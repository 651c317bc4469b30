"""Threads for work in NumPy, which leaves the interpreter's lock to others while it computes."""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def worker_threads() -> Iterator[Executor]:
    """One thread for each core, in each of which a matrix product takes one: on narrow matrices, two took 2 to 10 times
    as long as one."""
    # Imported here: they take a fifth of a second. SciPy has a library of its own, and only what is loaded is limited.
    import scipy.linalg  # noqa: F401
    from joblib import cpu_count  # respects container limits
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        workers = ThreadPoolExecutor(cpu_count())
        try:
            yield workers
        finally:
            workers.shutdown(cancel_futures=True)


def blocks(num_rows: int, most: int) -> list[slice]:
    """Slices of at most `most` rows, of nearly one length; their number is a power of 2, to share among the threads."""
    count = 1
    while count * most < num_rows:
        count *= 2
    return [slice(num_rows * i // count, num_rows * (i + 1) // count) for i in range(count)]
