"""Open, write and remove files: whole or not at all, never through a link, never waiting for a pipe.

A stranger's file is read only if it is a regular one, of a size that is known beforehand.
"""

import errno
import os
import secrets
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import NamedTuple

from medjax.errors import RefusedError, refuse

ZIP_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    struct.error,
    OverflowError,
)
"""What `zipfile` raises for damaged and unsupported archives."""

PARTIAL = ".partial"
"""Suffix of temporary files. A killed process leaves one behind; whoever owns the folder may remove it."""
RANDOM_DIGITS = 16
"""Hexadecimal digits before the suffix of a temporary file: `<name>.<digits>.partial`."""

# Not on Windows: there, names are joined to the folder's path, and a link is looked for before each use.
_HAS_DESCRIPTORS = shutil.rmtree.avoids_symlink_attacks
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _NO_FOLLOW
_NONBLOCKING = getattr(os, "O_NONBLOCK", 0)
_NO_LINK = "put a copy of what it points to in its place"
_RESTORE = "restore it from a copy"


class Folder(NamedTuple):
    """A folder that is held open: a link that takes its place, or that of a folder above, is not followed."""

    path: Path  # for people
    descriptor: int | None  # for `dir_fd`; None where the system has none for folders

    def at(self, name: str) -> str:
        """What functions that take `dir_fd=folder.descriptor` are to call a file of the folder."""
        return str(self.path / name) if self.descriptor is None else name

    def as_path(self) -> Path:
        """A path for libraries that take no `dir_fd`; where the system can, it leads to this very folder."""
        by_number = Path(f"/proc/self/fd/{self.descriptor}")
        return by_number if self.descriptor is not None and by_number.is_dir() else self.path.absolute()

    def names(self) -> list[str]:
        """The names of all files and folders in it, sorted."""
        return sorted(os.listdir(self.path if self.descriptor is None else self.descriptor))

    def own_status(self) -> os.stat_result:
        """The status of the folder itself."""
        return os.stat(self.path if self.descriptor is None else self.descriptor)

    def status(self, name: str) -> os.stat_result | None:
        """The status of a file of the folder, of a link itself; None where there is none."""
        try:
            return os.stat(self.at(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """Remove a file, a link itself, or a folder with all in it; nothing if it is not there."""
        status = self.status(name)
        if status is None:
            return
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(self.at(name), dir_fd=self.descriptor)
        else:
            os.unlink(self.at(name), dir_fd=self.descriptor)


@contextmanager
def open_folder(
    path: str | os.PathLike,
    *,
    root: str | os.PathLike | None = None,
    create: bool = False,
    mode: int = 0o777,
    check: Callable[[Folder], None] = lambda folder: None,
) -> Iterator[Folder]:
    """Hold a folder open.

    Links in `root` (default: `path` itself), which a user named, are followed; a link below it raises RefusedError.
    `create` makes the folders below `root` that are missing, with this `mode` (the umask applies). `check` is called with
    `root` and each folder below it, before anything in it is made or opened. Raises OSError as `os.open` does.
    """
    root = Path(path if root is None else root)
    folder = Folder(root, _open_folder(str(root), None, _FOLDER & ~_NO_FOLLOW))
    try:
        check(folder)
        for name in Path(path).relative_to(root).parts:
            if create:
                with suppress(FileExistsError), _named(folder.path / name):
                    os.mkdir(folder.at(name), mode, dir_fd=folder.descriptor)
            outer, folder = folder, _enter(folder, name)
            _close(outer)
            check(folder)
        yield folder
    finally:
        _close(folder)


def _enter(folder: Folder, name: str) -> Folder:
    path = folder.path / name
    status = folder.status(name)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise _not_plain(path, status)
    with _named(path):
        return Folder(path, _open_folder(folder.at(name), folder.descriptor, _FOLDER))


def _open_folder(path: str, dir_fd: int | None, flags: int) -> int | None:
    if _HAS_DESCRIPTORS:
        return os.open(path, flags, dir_fd=dir_fd)
    os.stat(path)  # raises the same errors
    return None


def _close(folder: Folder) -> None:
    if folder.descriptor is not None:
        os.close(folder.descriptor)


def _not_plain(path: Path, status: os.stat_result) -> RefusedError:
    if stat.S_ISLNK(status.st_mode):
        return refuse(path, "is a symbolic link, and files are not written through links", "remove the link")
    return refuse(path, "is not a folder", "move it away")


@contextmanager
def write_whole(
    path: str | os.PathLike,
    *,
    root: str | os.PathLike | None = None,
    mode: int = 0o666,
    sync: bool = False,
) -> Iterator[BufferedRandom]:
    """A new binary file, open for writing and reading, that replaces `path` when the block ends without error.

    Until then it is called `<name>.<random>.partial` in the same folder, and an error removes it. The umask applies to
    `mode`. `sync` flushes the content to the disk before the rename; the rename itself may still be lost with the power.
    Raises RefusedError if `path`, or a folder between `root` and it, is a symbolic link (without `root`, links to its
    folder are followed), OSError as `open` and `os.replace` do.
    """
    path = Path(path)
    with (
        open_folder(path.parent, root=root) as folder,
        write_in(folder, path.name, mode=mode, sync=sync) as file,
    ):
        yield file


@contextmanager
def write_in(folder: Folder, name: str, *, mode: int = 0o666, sync: bool = False) -> Iterator[BufferedRandom]:
    """`write_whole` of a file in an open folder."""
    path = folder.path / name
    status = folder.status(name)
    if status is not None and stat.S_ISLNK(status.st_mode):
        raise _not_plain(path, status)
    temporary = f"{name}.{secrets.token_hex(RANDOM_DIGITS // 2)}{PARTIAL}"
    try:
        with _named(path):
            opener = partial(os.open, mode=mode, dir_fd=folder.descriptor)
            file = open(folder.at(temporary), "x+b", opener=opener)  # noqa: SIM115 (closed by the next block)
        with file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        with _named(path):
            folders = {"src_dir_fd": folder.descriptor, "dst_dir_fd": folder.descriptor}
            os.replace(folder.at(temporary), folder.at(name), **folders)
    finally:
        folder.remove(temporary)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let an OSError name the whole path, where the call had only the name in an open folder."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def is_partial(name: str) -> bool:
    """Whether a file's name is one that `write_whole` gives to temporary files."""
    stem, _, digits = name.removesuffix(PARTIAL).rpartition(".")
    is_random = len(digits) == RANDOM_DIGITS and not digits.strip("0123456789abcdef")
    return name.endswith(PARTIAL) and bool(stem) and is_random


def open_regular(
    path: str | os.PathLike, buffering: int = -1, *, dir_fd: int | None = None
) -> BufferedReader:
    """A regular file, open for reading; OSError for anything else that was put in its place.

    To open a pipe would wait for a writer for ever, so this neither waits nor reads before it has looked.
    """

    def open_at_once(name: str, flags: int) -> int:
        return os.open(name, flags | _NONBLOCKING, dir_fd=dir_fd)

    file = open(path, "rb", buffering, opener=open_at_once)  # noqa: SIM115 (the caller closes it)
    assert isinstance(file, BufferedReader)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))


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
    return os.open(path, flags | _NO_FOLLOW | _NONBLOCKING, mode)


def _require_regular(path: str | os.PathLike, status: os.stat_result, max_bytes: int) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise refuse(path, "is a symbolic link", _NO_LINK)
    if not stat.S_ISREG(status.st_mode):
        raise refuse(path, "is not a regular file", _RESTORE)
    if status.st_size > max_bytes:
        raise refuse(path, *_oversize(status.st_size, max_bytes))


def _oversize(found: int, limit: int) -> tuple[str, str]:
    return f"has {found:,} bytes, more than the {limit:,} that it may need", _RESTORE
