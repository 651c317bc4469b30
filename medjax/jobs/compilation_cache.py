"""A cache of compiled programs on disk, for a quicker next start; off unless asked for."""

import os
import stat
from pathlib import Path

import jax

from medjax.data.cache import cache_folder
from medjax.errors import refuse

_REMEDY = "delete it, as what lies there may be anybody's, or set MEDJAX_CACHE_DIR to a folder of your own"


def use_compilation_cache(folder: str | Path | None = None) -> Path:
    """Read and write compiled programs in `folder`, and return its path.

    To be called before anything is compiled. Without `folder` it is `compiled` in the cache folder of decoded images
    (MEDJAX_CACHE_DIR, or the user's own). Results are the same bits: JAX takes a program only where program,
    options, versions and processor are those it was compiled for. Some machines take none
    (https://github.com/jax-ml/jax/issues/38445) and gain nothing.

    What lies there is run as machine code, so a new folder is made private, and one that is another user's, or that
    others can write to or replace, raises RefusedError.

    References:
        JAX authors: Persistent compilation cache. JAX documentation, 2026.
        https://docs.jax.dev/en/latest/persistent_compilation_cache.html
    """
    if folder is None:
        # Made separately: `parents=True` would give it the permissions of the umask.
        _make_private(cache_folder())
        folder = cache_folder() / "compiled"
    folder = Path(folder)
    _make_private(folder)
    _require_private(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder.resolve()))
    # Quick programs too: a dozen of them are compiled before the first step.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = f"cannot be made a cache ({error.strerror})"
        raise refuse(folder, reason, "set MEDJAX_CACHE_DIR, or leave out --compilation-cache") from error


def _require_private(folder: Path) -> None:
    """Raise RefusedError where another user could have written into a folder, or could do so now."""
    if os.name != "posix":
        return
    resolved = folder.resolve()
    status = resolved.stat()
    if status.st_uid != os.geteuid():
        raise refuse(folder, "belongs to another user, whose programs would be run", _REMEDY)
    if status.st_mode & 0o022:
        raise refuse(folder, f"can be written by others (mode {stat.S_IMODE(status.st_mode):o})", _REMEDY)
    for parent in resolved.parents:
        mode = parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise refuse(folder, f"lies in {parent}, where anybody can put another in its place", _REMEDY)
