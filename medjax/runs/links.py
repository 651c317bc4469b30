"""Nothing under a run directory is a link: a stranger's would lead what is written or removed there elsewhere."""

import os
import stat
from pathlib import Path

from medjax.errors import Problem, RefusedError, refuse

_LOCK = ".lock"
_MOUNT_POINT = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT


def require_no_links(directory: Path) -> None:
    """Raise RefusedError, naming each, where links, pipes, sockets or devices lie anywhere under a run directory.

    The directory itself may be a link, which its user named. Nothing is opened or followed.
    """
    problems: list[Problem] = []
    waiting = [directory]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode) and not _is_junction(status):
                        waiting.append(Path(entry.path))
                    elif (reason := _fault_of(entry.name, status)) is not None:
                        problems.append(
                            Problem(entry.path, reason, "remove it, or restore the run from a copy")
                        )
        except OSError as error:
            raise refuse(folder, f"cannot be read ({error.strerror})", "check its permissions") from error
    if problems:
        raise RefusedError(sorted(problems))


def _fault_of(name: str, status: os.stat_result) -> str | None:
    if stat.S_ISLNK(status.st_mode) or _is_junction(status):
        return "is a link, and nothing in a run directory may be one"
    if not stat.S_ISREG(status.st_mode):
        return "is a pipe, socket or device, and a run directory holds only files and folders"
    # The lock is opened for writing; all other files are replaced, which leaves their other names alone.
    if name == _LOCK and status.st_nlink > 1:
        return "is another file too (a hard link)"
    return None


def _is_junction(status: os.stat_result) -> bool:
    """Whether it is a link between folders on Windows, which is no symbolic link."""
    return getattr(status, "st_reparse_tag", 0) == _MOUNT_POINT
