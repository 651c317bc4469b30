"""How many threads XLA computes with on a CPU: the last bits of a sum may depend on it."""

import os

from medjax.training.strategies import count_cores

VARIABLE = "PJRT_NPROC"
"""Environment variable that sets the size of XLA's pool of threads, read when a process first computes."""
_VARIABLES = (VARIABLE, "NPROC")  # XLA reads the first that is a whole number


def count_threads() -> int:
    """Threads of XLA's pool in this process: one a core that it may use, unless the environment says otherwise.

    As XLA itself counts them (`DefaultThreadPoolSize` in xla/pjrt/utils.cc).
    """
    given = [os.environ.get(name, "") for name in _VARIABLES]
    return next((int(text) for text in given if text.isdecimal()), count_cores())
