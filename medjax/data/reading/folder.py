"""List and read a folder on disk; only regular files are ever opened."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from medjax.data.reading.listing import (
    MAX_FILE_BYTES,
    Entry,
    Fault,
    Key,
    Listing,
    UnfitError,
    oversize_fault,
)
from medjax.data.reading.names import tidy_name
from medjax.files import open_regular

MAX_ENTRIES = 10_000_000
"""A walk that finds more is refused: a whole disk was named, not a data set."""
_OTHER_FILE_SYSTEM = Fault("is on another file system", "give it by itself, or copy it")
_KINDS = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISBLK, "a device"))


def list_folder(path: Path, *, follow_links: bool = False) -> Listing:
    """All files and folders below `path`, at any depth, sorted by name.

    A link is a fault unless `follow_links` is set and it points to a regular file, or to a folder below `path` that is
    not around the link and to which no other link has led: so a walk always ends. Nor does it leave the file system of
    `path`. Raises UnfitError if `path` itself cannot be read.
    """
    entries: dict[str, Entry] = {}
    stamps: list[str] = []
    links = _LinkedFolders(path)
    waiting = [("", False)]  # names, and whether links lead there
    device = None
    while waiting:
        folder, is_linked = waiting.pop()
        try:
            here = os.stat(path / folder).st_dev
            device = here if device is None else device
            if here != device:
                entries[folder] = entries[folder]._replace(fault=_OTHER_FILE_SYSTEM)
                continue
            with os.scandir(path / folder) as found:
                items = list(found)
        except OSError as error:
            if not folder:
                raise UnfitError(*_unreadable(error)) from None
            entries[folder] = entries[folder]._replace(fault=_unreadable(error))
            continue
        for item in items:
            relative = f"{folder}/{item.name}" if folder else item.name
            entry, stamp = _entry(item, relative, follow_links)
            if entry.is_folder and entry.fault is None:
                is_through_link = is_linked or item.is_symlink()
                entry = entry._replace(fault=links.fault_of(item) if is_through_link else None)
                if entry.fault is None:
                    waiting.append((relative, is_through_link))
            entries[relative] = entry
            stamps.append(stamp)
        if len(entries) > MAX_ENTRIES:
            raise UnfitError(f"holds more than {MAX_ENTRIES:,} files and folders", "name a smaller folder")
    everything = "\n".join([os.path.realpath(path), *sorted(stamps)])
    stamp = hashlib.sha256(everything.encode(errors="surrogatepass")).hexdigest()
    return Listing(sorted(entries.values()), lambda keys: _read(path, keys), stamp)


class _LinkedFolders:
    """Decides which folders are listed through links: those inside the root, each once, so that a walk stays small."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._listed: set[str] = set()

    def fault_of(self, folder: os.DirEntry) -> Fault | None:
        """Why the folder, a link or below one, is not listed; None if it is, and not another time."""
        target, place = os.path.realpath(folder.path), os.path.realpath(os.path.dirname(folder.path))
        if os.path.commonpath([self._root, target]) != self._root:
            return Fault("is a symbolic link to a folder outside the data", "copy the target")
        if os.path.commonpath([place, target]) == target:
            return Fault("is a symbolic link to a folder around it", "remove it")
        if target in self._listed:
            return Fault("is a symbolic link to a folder that another link leads to", "remove one of them")
        self._listed.add(target)
        return None


def _entry(item: os.DirEntry, relative: str, follow_links: bool) -> tuple[Entry, str]:
    """One entry, and a text that changes when the file does."""
    name, fault = tidy_name(relative)
    try:
        status = item.stat(follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode) and follow_links:
            status = item.stat()
            is_fit = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
            fault = fault or (None if is_fit else _link_fault(follow_links))
    except OSError as error:
        return Entry(name, relative, fault=fault or _unreadable(error)), relative
    fault = fault or _fault_of(status)
    # ctime, unlike mtime, cannot be set back.
    stamp = f"{relative}\0{status.st_mode} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
    return Entry(name, relative, stat.S_ISDIR(status.st_mode), fault), stamp


def _fault_of(status: os.stat_result) -> Fault | None:
    if stat.S_ISREG(status.st_mode):
        return oversize_fault(status.st_size) if status.st_size > MAX_FILE_BYTES else None
    if stat.S_ISDIR(status.st_mode):
        return None
    if stat.S_ISLNK(status.st_mode):
        return _link_fault(follow_links=False)
    kind = next((kind for is_kind, kind in _KINDS if is_kind(status.st_mode)), "a device")
    return Fault(f"is {kind}, not a regular file", "remove it")


def _link_fault(follow_links: bool) -> Fault:
    if follow_links:
        return Fault("is a symbolic link that leads to no regular file or folder", "copy the target")
    return Fault(
        "is a symbolic link", "copy the target, or --follow-links for links to files and into the data"
    )


def _unreadable(error: OSError) -> Fault:
    return Fault(f"cannot be read: {error.strerror or error}", "check its permissions")


def _read(root: Path, keys: Iterable[Key]) -> Iterator[tuple[Key, bytes | Fault]]:
    for key in keys:
        yield key, read_file(f"{root}/{key}")


def read_file(path: str | Path) -> bytes | Fault:
    """The bytes of a regular file, at most the limit: it may have grown, or become a pipe, since it was listed."""
    try:
        with open_regular(path) as handle:
            data = handle.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return _unreadable(error)
    return oversize_fault(len(data)) if len(data) > MAX_FILE_BYTES else data
