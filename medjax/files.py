"""Write a file whole, then rename it: other processes see the old file or the new one, never part of one."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedRandom
from pathlib import Path

from medjax.errors import refuse

PARTIAL = ".partial"
"""Suffix of temporary files. A killed process leaves one behind; whoever owns the folder may remove it."""


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
