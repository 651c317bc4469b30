"""The common form of folders, zips and tars: a `Listing` of entries, with a function that reads their bytes.

The limits here keep a hostile source from using much memory or disk.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from medjax.errors import Problem

# A 64-megapixel RGB image is 192 MiB before compression, and PNG never makes that much larger.
MAX_FILE_BYTES = 256 * 2**20
# Images hardly compress a second time: an archive that expands much more is a decompression bomb, unless it is small.
MAX_UNPACKED_TIMES = 20
ALWAYS_UNPACKED_BYTES = 32 * 2**20
BOMB_REMEDY = "looks like a decompression bomb; unpack it yourself and give the folder"

# Remedy and reason of several formats.
COPY_AGAIN = "copy or export it again"
DAMAGED_DICOM = "is a DICOM file that is damaged or truncated"

Key = str | int


class Fault(NamedTuple):
    """What is wrong with a file, without the file's name."""

    reason: str
    remedy: str


class UnfitError(Exception):
    """A file that cannot be used, raised with reason and remedy; inside `medjax.data` only."""

    @property
    def fault(self) -> Fault:
        """Reason and remedy."""
        return Fault(*self.args)


class Entry(NamedTuple):
    """A file or folder of a source."""

    name: str  # relative to the source, separated by "/", Unicode NFC
    key: Key  # for reading it: path in a folder, index in an archive
    is_folder: bool = False
    fault: Fault | None = None  # if set, the file is never opened


class Listing(NamedTuple):
    """The entries of a source and a function that reads some of them, in the source's own order."""

    entries: list[Entry]
    read: Callable[[Iterable[Key]], Iterator[tuple[Key, bytes | Fault]]]
    stamp: str = ""  # of folders: changes when a name, size or time in it does
    guessed: frozenset[Key] = frozenset()  # entries whose names are in an encoding that is not known


def problem_of(name: str, fault: Fault, *, can_ignore: bool = True) -> Problem:
    """The problem of the file `name`; its remedy mentions --ignore unless the file cannot be left out."""
    return Problem(name, fault.reason, fault.remedy + (f", or --ignore {quoted(name)}" if can_ignore else ""))


def quoted(pattern: str) -> str:
    """The pattern in single quotes, as a shell takes it literally."""
    return "'" + pattern.replace("'", "'\"'\"'") + "'"


def max_unpacked_bytes(path: Path, times: int = MAX_UNPACKED_TIMES) -> int:
    """The most bytes that the archive at `path` may unpack to: `times` its own size, and a constant."""
    return ALWAYS_UNPACKED_BYTES + times * path.stat().st_size


def bomb_fault(limit: int) -> Fault:
    """The fault of an archive that unpacks to more than `limit` bytes."""
    return Fault(
        f"unpacks to more than {limit / 2**20:,.0f} MiB, many times its own size",
        BOMB_REMEDY,
    )


def oversize_fault(size: int) -> Fault:
    """The fault of a file of `size` bytes, too many."""
    remedy = (
        f"at most {MAX_FILE_BYTES / 2**20:,.0f} MiB per file; of a whole slide give tiles, of a volume slices"
    )
    return Fault(f"is {size / 2**20:,.0f} MiB", remedy)
