"""What a source holds, before any image of it is decoded; and the limits that keep a hostile one small.

A source is a `Listing`: its entries, and a function that reads the wanted ones in the source's own order.
Folders, zips and tars each make one; everything after that is common to the three.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from medjax.errors import Problem

# A 64-megapixel RGB image is 192 MiB before compression, and PNG never makes that much larger.
MAX_FILE_BYTES = 256 * 2**20
# Images hardly compress a second time: what unpacks to much more is a bomb. A small archive may do as it likes.
MAX_UNPACKED_TIMES = 20
ALWAYS_UNPACKED_BYTES = 32 * 2**20

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz")

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.() -]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.() -]*)*/?")

Key = str | int


class Fault(NamedTuple):
    """What is wrong with one file, by whatever name it is shown."""

    reason: str
    remedy: str


class UnfitError(Exception):
    """Raised inside this package for a file that cannot be used; its `fault` becomes a `Problem`."""

    @property
    def fault(self) -> Fault:
        """What it was raised with: the reason and the remedy."""
        return Fault(*self.args)


class Entry(NamedTuple):
    """One file or folder of a source."""

    name: str  # relative to the source, "/" between the parts, Unicode NFC
    key: Key  # finds it again: a path in a folder, a position in an archive
    is_folder: bool = False
    fault: Fault | None = None  # why it is never opened, whatever it holds


class Listing(NamedTuple):
    """The entries of a source and the way to their bytes."""

    entries: list[Entry]
    read: Callable[[Iterable[Key]], Iterator[tuple[Key, bytes | Fault]]]
    stamp: str = ""  # changes when a folder's names, sizes or times do; empty for archives


def problem_of(name: str, fault: Fault, *, can_ignore: bool = True) -> Problem:
    """`fault` as a line about `name`, with the option that leaves the file out."""
    quoted = "'" + name.replace("'", "'\"'\"'") + "'"
    return Problem(name, fault.reason, fault.remedy + (f", or --ignore {quoted}" if can_ignore else ""))


def tidy_name(raw: str) -> tuple[str, Fault | None]:
    """A member's or file's own name as an id, and what is wrong with it if something is.

    `.` and empty parts are dropped, so that `tar -C folder .` gives the ids that the folder itself gives.
    """
    if _PLAIN_NAME.fullmatch(raw):  # nearly always, and there may be a million names
        return raw.rstrip("/"), None
    if any("\ud800" <= character <= "\udfff" for character in raw):
        return raw, Fault("has a name that is not UTF-8", "rename it")
    name = unicodedata.normalize("NFC", "/".join(part for part in raw.split("/") if part not in ("", ".")))
    if raw.startswith("/") or re.match("[A-Za-z]:", raw):
        return raw, Fault("has an absolute name", "pack it with names relative to the data")
    if ".." in raw.split("/"):
        return raw, Fault("has a name with '..', which leads out of the archive", "pack it with plain names")
    if "\\" in raw or "\0" in raw:
        return raw, Fault("has a backslash or a NUL in its name", "rename it")
    if not name:
        return raw, Fault("has no name", "pack the archive again")
    return name, None


def max_unpacked_bytes(path: Path, times: int = MAX_UNPACKED_TIMES) -> int:
    """How many bytes may come out of the archive at `path`, `times` its own size, before it is taken for a bomb."""
    return ALWAYS_UNPACKED_BYTES + times * path.stat().st_size


def bomb_fault(limit: int) -> Fault:
    """The refusal of an archive that unpacks to more than `limit` bytes."""
    return Fault(
        f"unpacks to more than {limit / 2**20:,.0f} MiB, many times its own size",
        "looks like a decompression bomb; unpack it yourself and give the folder",
    )


def oversize_fault(size: int) -> Fault:
    """The refusal of a file of `size` bytes."""
    return Fault(f"is {size / 2**20:,.0f} MiB", f"at most {MAX_FILE_BYTES / 2**20:,.0f} MiB a file")
