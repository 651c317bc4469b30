"""A cache of compiled programs on disk, for a quicker next start; off unless asked for."""

import os
import stat
from pathlib import Path

import jax

from medjax.data.cache import cache_folder
from medjax.errors import RefusedError, refuse
from medjax.files import Folder, open_folder

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_ENTER = stat.S_IXGRP | stat.S_IXOTH
_ROOT = 0
_CHOOSE = "set MEDJAX_CACHE_DIR to a folder of your own"
_DELETE = f"delete it, as what lies there may be anybody's, or {_CHOOSE}"


def use_compilation_cache(folder: str | Path | None = None) -> Path:
    """Read and write compiled programs in `folder`, and return its path.

    To be called before anything is compiled. Without `folder` it is `compiled` in the cache folder of decoded images
    (MEDJAX_CACHE_DIR, or the user's own). Results are the same bits: JAX takes a program only where program,
    options, versions and processor are those it was compiled for. Some machines take none
    (https://github.com/jax-ml/jax/issues/38445) and gain nothing.

    What lies there is run as machine code, so new folders are made private. RefusedError if the folder, what lies in it,
    or a folder above it belongs to another user than this one or root, or can be written by others. Above it, a folder
    like /tmp may be: its sticky bit lets nobody replace what another owns.

    References:
        JAX authors: Persistent compilation cache. JAX documentation, 2026.
        https://docs.jax.dev/en/latest/persistent_compilation_cache.html
    """
    folder = cache_folder() / "compiled" if folder is None else Path(folder)
    # JAX opens it by this path later. It is looked at from the top down, each folder opened in the one before it, so
    # nobody else can change what the path leads to after that.
    resolved = Path(os.path.realpath(folder))
    try:
        with (
            open_folder(
                resolved.parent, root=resolved.anchor, create=True, mode=0o700, check=_require_trusted
            ),
            open_folder(resolved, root=resolved.parent, create=True, mode=0o700) as opened,
        ):
            _require_private(opened)
    except RefusedError:
        raise
    except OSError as error:
        reason = f"cannot be made a cache ({error.strerror})"
        raise refuse(folder, reason, "set MEDJAX_CACHE_DIR, or leave out --compilation-cache") from error
    jax.config.update("jax_compilation_cache_dir", str(resolved))
    # Quick programs too: a dozen of them are compiled before the first step.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def _require_trusted(folder: Folder) -> None:
    """Raise RefusedError where another user could replace what this user keeps in a folder."""
    if os.name != "posix":
        return
    status = folder.own_status()
    if status.st_uid not in (os.geteuid(), _ROOT):
        raise refuse(
            folder.path, "belongs to another user, who could put other programs in the cache", _CHOOSE
        )
    if status.st_mode & _OTHERS_WRITE and not status.st_mode & stat.S_ISVTX:
        mode = f"mode {stat.S_IMODE(status.st_mode):o}"
        raise refuse(
            folder.path,
            f"can be written by others ({mode}), who could put other programs in the cache",
            f"chmod go-w it if it is yours, or {_CHOOSE}",
        )


def _require_private(folder: Folder) -> None:
    """Raise RefusedError where another user could have written into the cache itself, or could do so now."""
    if os.name != "posix":
        return
    own = folder.own_status()
    if own.st_uid != os.geteuid():
        raise refuse(folder.path, "belongs to another user, whose programs would be run", _DELETE)
    if own.st_mode & _OTHERS_WRITE:
        mode = f"mode {stat.S_IMODE(own.st_mode):o}"
        raise refuse(folder.path, f"can be written by others ({mode})", _DELETE)
    for name in folder.names():
        status = folder.status(name)
        if status is None:  # another process has just renamed it
            continue
        is_plain = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        can_be_written = status.st_mode & _OTHERS_WRITE and own.st_mode & _OTHERS_ENTER
        if not is_plain or status.st_uid not in (os.geteuid(), _ROOT) or can_be_written:
            raise refuse(folder.path / name, "is a link, or can be written by others", "delete it")
