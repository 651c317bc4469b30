"""Checkpoints by Orbax with a sha256 manifest, because Orbax has no checksum on array data.

A checkpoint is a directory and, beside it, a manifest `<directory>.sha256` in the format of the `sha256sum`
command. The manifest is written last, after the saved arrays were read back and compared: without one there is no
checkpoint. Arrays are saved as host arrays, so that they load on any device.
"""

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from medjax.errors import refuse
from medjax.files import Folder, open_folder, write_whole

_MARGIN = 2**20  # bytes for what Orbax writes beside the arrays
_DAMAGED = "restore the file from a copy, or train again"


def save_checkpoint(
    directory: str | Path, items: dict[str, PyTree], *, root: str | Path | None = None
) -> None:
    """Save named trees of arrays in a new directory, with a manifest; an existing directory raises RefusedError.

    Items are named apart so that `load_checkpoint` can read one without the others, say parameters without the
    optimizer. Folders between `root` and the directory are made where they are missing; RefusedError where one of them
    is a link. An OSError (a full disk, say) leaves no manifest.
    """
    directory = Path(directory)
    root = directory.parent if root is None else root
    host = jax.tree.map(lambda leaf: np.array(leaf), items)
    with open_folder(directory.parent, root=root, create=True) as folder:
        if folder.status(directory.name) is not None:
            raise refuse(str(directory), "exists already", "checkpoints are never overwritten")
        _require_room(directory, host)
        _save_and_compare(folder, directory, host)
    lines = [f"{digest}  {directory.name}/{name}\n" for name, digest in _digest_files(directory).items()]
    with write_whole(_manifest_path(directory), root=root, sync=True) as file:
        file.write("".join(lines).encode())


def _save_and_compare(folder: Folder, directory: Path, host: dict[str, PyTree]) -> None:
    """Save in an open folder, read back, and raise OSError where it differs or cannot be written."""
    path = folder.as_path() / directory.name
    try:
        orbax = _orbax()
        orbax.save_checkpointables(path, host)
        saved = orbax.load_checkpointables(path, host)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error)[:200], str(directory)) from error
    # The library that writes the arrays raises ValueError on a full disk.
    except Exception as error:
        raise OSError(errno.EIO, str(error)[:200], str(directory)) from error
    if not jax.tree.all(jax.tree.map(_is_same, host, saved)):
        raise OSError(f"{directory}: what was read back differs from what was saved")


def load_checkpoint(directory: str | Path, name: str, like: PyTree | None = None) -> PyTree[np.ndarray]:
    """Load one named tree of a checkpoint, after its files were checked against the manifest.

    `like` gives the structure (arrays or shapes); without it the tree comes back as dicts of arrays. A missing,
    damaged or foreign file raises RefusedError with the file's name.
    """
    directory = Path(directory)
    verify_checkpoint(directory)
    # NumPy leaves make Orbax return NumPy arrays, whatever devices there are.
    structure = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
    try:
        return _orbax().load_checkpointables(directory.absolute(), {name: structure})[name]
    # Orbax raises many types on unreadable files, none of its own.
    except Exception as error:
        reason = f"cannot be read as {name!r} ({type(error).__name__}: {str(error)[:200]})"
        raise refuse(
            str(directory), reason, "it was written by another version, or for another model"
        ) from error


def verify_checkpoint(directory: Path) -> None:
    """Raise RefusedError, naming the file, unless every file of a checkpoint matches its SHA-256 in the manifest."""
    manifest = _manifest_path(directory)
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise refuse(
            str(manifest), "the manifest cannot be read, so nothing vouches for the checkpoint", _DAMAGED
        ) from error
    expected = {}
    for line in lines:
        digest, _, name = line.partition(f"  {directory.name}/")
        expected[name] = digest
    found = _digest_files(directory)
    for name in sorted(expected.keys() | found.keys()):
        path = str(directory / name)
        if name not in found:
            raise refuse(path, "is missing from the checkpoint", _DAMAGED)
        if name not in expected:
            raise refuse(path, "is not in the checkpoint's manifest", "move it out of the checkpoint")
        if found[name] != expected[name]:
            raise refuse(path, "is damaged: its sha256 differs from the manifest's", _DAMAGED)


def list_checkpoints(parent: Path) -> list[Path]:
    """The finished checkpoints under a directory, oldest first (their names sort by age)."""
    return sorted(path.with_suffix("") for path in parent.glob("epoch_[0-9][0-9][0-9][0-9].sha256"))


def delete_checkpoint(directory: Path, *, root: Path | None = None) -> None:
    """Delete a checkpoint, complete or not; the manifest first, so that a partial one never looks complete.

    RefusedError where a folder between `root` and the directory is a link.
    """
    with open_folder(directory.parent, root=root) as folder:
        folder.remove(_manifest_path(directory).name)
        folder.remove(directory.name)


def _orbax() -> Any:
    """Orbax, imported at the first save or load: it takes a third of a second."""
    from orbax.checkpoint import v1

    return v1


def _manifest_path(directory: Path) -> Path:
    return directory.with_name(directory.name + ".sha256")


def _digest_files(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): _digest_file(path) for path in files}


def _require_room(directory: Path, items: PyTree) -> None:
    """Raise OSError if the disk is too full. Checked first, because Orbax would fail in many threads at once."""
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(items)) + _MARGIN
    if shutil.disk_usage(directory.parent).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))


def _digest_file(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise refuse(str(path), f"cannot be read ({error.strerror})", _DAMAGED) from error


def _is_same(first: Any, second: Any) -> bool:
    # Bytes, because NaN is not equal to itself, and np.array_equal knows no NaN of bfloat16.
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()
