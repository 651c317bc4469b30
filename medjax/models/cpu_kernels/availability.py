"""Whether kernels are to be compiled in this process. Where they are wanted but fail, one warning says why."""

import ctypes
import functools
import mmap
import os
import platform
import sys
import warnings

from medjax.errors import refuse

VARIABLE = "MEDJAX_CPU_KERNELS"

_failure: str | None = None  # why the first kernel that failed did so


class KernelError(RuntimeError):
    """A kernel could not be compiled, or XLA did not accept it."""


def is_wanted() -> bool:
    """Whether to use kernels: the environment variable MEDJAX_CPU_KERNELS says 1 or 0.

    Unset or empty, it means 1 on Linux on x86-64, where the kernels are tested, and 0 elsewhere. It is read whenever a
    program is compiled. Raises RefusedError for other values.
    """
    setting = os.environ.get(VARIABLE, "")
    if setting not in ("", "0", "1"):
        raise refuse(
            f"environment variable {VARIABLE}", f"it is {setting!r}", "set it to 0 or 1, or unset it"
        )
    return setting == "1" or (not setting and sys.platform == "linux" and platform.machine() == "x86_64")


def missing() -> str | None:
    """Why kernels cannot be used in this process; None if nothing is known to be missing."""
    return _failure or _missing_for_llvm()


def give_up(reason: str) -> None:
    """Use no more kernels in this process, and warn."""
    global _failure
    _failure = reason
    warn_once(reason)


@functools.cache
def _missing_for_llvm() -> str | None:
    try:
        import llvmlite.binding

        llvmlite.binding.get_default_triple()  # loads the shared library, which the import leaves for later
    except (ImportError, OSError) as error:
        return f"llvmlite cannot be loaded ({error})"
    return None if _can_execute_memory() else "this process may not make memory executable"


def _can_execute_memory() -> bool:
    """Whether the system lets us write code into memory and run it: LLVM would end the process if not."""
    if os.name != "posix":
        return True
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    address = ctypes.c_char.from_buffer(page)
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    is_allowed = protect(ctypes.addressof(address), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC) == 0
    del address
    page.close()
    return is_allowed


@functools.cache
def warn_once(reason: str) -> None:
    """Warn that XLA's convolutions run instead of kernels; the same reason is given once per process."""
    warnings.warn(
        f"{reason}: XLA's convolutions run instead of medjax's CPU kernels, with the same results "
        f"up to rounding, but slower to train ({VARIABLE}=0 silences this)",
        RuntimeWarning,
        stacklevel=2,
    )
