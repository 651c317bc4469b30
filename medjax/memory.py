"""How much memory there is for images, asked before they are decoded.

Linux promises more memory than there is, and ends a process that takes it; so nothing else would say what is too much.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from medjax.errors import refuse

# Of both versions of control groups: where they are, the files of limit and use, and what of the use can be freed.
_CONTROL_GROUPS = {
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": (
        "sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
}
_ALIGNMENT = 64
"""Bytes: XLA's `MinAlign` on a CPU."""
_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def require_memory(count: int, sides: tuple[int, int], bytes_per_pixel: int) -> None:
    """Raise RefusedError unless `count` images of this height and width fit into the memory that is available."""
    height, width = sides
    needed, free = count * height * width * bytes_per_pixel, available_memory()
    if free is None or needed <= free:
        return
    fitting = [max(1, int(side * (free / needed) ** 0.5)) for side in dict.fromkeys(sides)]
    raise refuse(
        f"{count:,} images of {width} by {height} pixels",
        f"need {in_words(needed)} of memory, and {in_words(free)} are available",
        f"give fewer images, or train with --image-size {' '.join(map(str, fitting))} or less",
    )


def empty_for_device(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An array without values that `jax.device_put` shares on a CPU rather than copies.

    XLA takes memory of the host as its own from addresses that are multiples of 64. NumPy's large arrays begin 16 bytes
    after one, so they were copied: all images of a data set were in memory twice.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still take: of the machine, or of its control group if that has less; None if unknown."""
    return min(
        (each for each in (_of_machine(root), *_of_control_groups(root)) if each is not None), default=None
    )


def in_words(size: int) -> str:
    """A number of bytes: "1.5 GiB"."""
    unit, name = next((each for each in _UNITS if size >= each[0]), (1, "bytes"))
    return f"{size / unit:,.1f} {name}" if unit > 1 else f"{size} {name}"


def _of_machine(root: Path) -> int | None:
    found = _fields(root / "proc/meminfo").get("MemAvailable:")
    if found is not None:
        return found * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on every system
        return None


def _of_control_groups(root: Path) -> Iterator[int]:
    """What the control group of this process, and each one around it, has left under its limit."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "memory" not in controllers.split(","):
            continue
        mount, limit, use, freeable = _CONTROL_GROUPS["memory" if controllers else ""]
        group = Path(path.lstrip("/"))
        for folder in (root / mount / each for each in (group, *group.parents)):
            most, used = (_number(_read(folder / name)) for name in (limit, use))
            if most is not None and used is not None:
                yield max(0, most - used + _fields(folder / "memory.stat").get(freeable, 0))


def _fields(path: Path) -> dict[str, int]:
    """The numbers in a file of lines such as `name 12`."""
    rows = (line.split() for line in _read(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
