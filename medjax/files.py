"""Write a file whole, then rename it: other processes see the old file or the new one, never part of one.

And read a stranger's file: only a regular one, of a size that is known beforehand.
"""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedRandom, BufferedReader
from pathlib import Path

from medjax.errors import refuse

PARTIAL = ".partial"
"""Suffix of temporary files. A killed process leaves one behind; whoever owns the folder may remove it."""
_NO_LINK = "put a copy of what it points to in its place"
_RESTORE = "restore it from a copy"


@contextmanager
def write_whole(
    path: str | os.PathLike, *, mode: int = 0o666, sync: bool = False
) -> Iterator[BufferedRandom]:
    """A new binary file, open for writing and reading, that replaces `path` when the block ends without error.

    Until then it is called `<name>.<random>.partial` in the same folder, and an error removes it. The umask applies to
    `mode`. `sync` flushes the content to the disk before the rename; the rename itself may still be lost with the power.
    Raises RefusedError if `path` is a symbolic link, OSError as `open` and `os.replace` do.
    """
    path = Path(path)
    if path.is_symlink():
        raise refuse(path, "is a symbolic link, and files are not written through links", "remove the link")
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PARTIAL}")
    try:
        with open(temporary, "x+b", opener=partial(os.open, mode=mode)) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def open_bounded(path: str | os.PathLike, max_bytes: int) -> Iterator[BufferedReader]:
    """A regular file of at most `max_bytes`, open for reading; it may be a stranger's.

    Nothing else is opened: a link could lead anywhere, a named pipe would block, a device could answer. Raises
    RefusedError for these and for a larger file, OSError as `open` does.
    """
    _require_regular(path, os.lstat(path), max_bytes)
    with open(path, "rb", opener=partial(_open_without_following, mode=0)) as file:
        _require_regular(path, os.fstat(file.fileno()), max_bytes)  # it may have been replaced since
        yield file


def read_bounded(path: str | os.PathLike, max_bytes: int) -> bytes:
    """The content of a file that `open_bounded` opens; RefusedError if it grows beyond the limit meanwhile."""
    with open_bounded(path, max_bytes) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise refuse(path, *_oversize(len(content), max_bytes))
    return content


def require_folder(path: str | os.PathLike) -> None:
    """RefusedError if `path` is a link or no folder; OSError if there is none."""
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        raise refuse(path, "is a symbolic link", _NO_LINK)
    if not stat.S_ISDIR(mode):
        raise refuse(path, "is not a folder", _RESTORE)


def _open_without_following(path: str, flags: int, mode: int) -> int:
    # Windows has neither flag.
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), mode)


def _require_regular(path: str | os.PathLike, status: os.stat_result, max_bytes: int) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise refuse(path, "is a symbolic link", _NO_LINK)
    if not stat.S_ISREG(status.st_mode):
        raise refuse(path, "is not a regular file", _RESTORE)
    if status.st_size > max_bytes:
        raise refuse(path, *_oversize(status.st_size, max_bytes))


def _oversize(found: int, limit: int) -> tuple[str, str]:
    return f"has {found:,} bytes, more than the {limit:,} that it may need", _RESTORE
