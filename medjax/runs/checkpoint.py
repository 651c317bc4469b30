"""Checkpoints by Orbax with a sha256 manifest, because Orbax has no checksum on array data.

A checkpoint is a directory and, beside it, a manifest `<directory>.sha256` in the format of the `sha256sum`
command. The manifest is written last, after the saved arrays were read back and compared: without one there is no
checkpoint. Arrays are saved as host arrays, so that they load on any device, and uncompressed, each in a file of its own:
what a stranger's file claims can then be checked before anything is allocated (`medjax.runs.stored_arrays`).
"""

import errno
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from medjax.errors import RefusedError, refuse
from medjax.files import Folder, open_bounded, open_folder, read_bounded, write_whole
from medjax.runs.manifest import (
    DAMAGED,
    list_files,
    manifest_path,
    read_manifest,
    require_files,
    write_manifest,
)
from medjax.runs.stored_arrays import count_bytes, require_arrays

FACTS = "facts.json"
"""File of a checkpoint: what of run.json the arrays are worth nothing without, such as the class names."""
_MARGIN = 2**20  # bytes for what Orbax writes beside the arrays
_MAX_FACTS_BYTES = 16 * 2**20
_SMALL = 2**16
_FOREIGN = "it was written by another version, or for another model"


def save_checkpoint(
    directory: str | Path,
    items: dict[str, PyTree],
    facts: Mapping[str, Any] | None = None,
    *,
    root: str | Path | None = None,
) -> None:
    """Save named trees of arrays in a new directory, with a manifest; an existing directory raises RefusedError.

    Items are named apart so that `load_checkpoint` can read one without the others, say parameters without the
    optimizer. `facts` are JSON values that are saved with them, for `require_facts`. Folders between `root` and the
    directory are made where they are missing; RefusedError where one of them is a link. An OSError (a full disk, say)
    leaves no manifest.
    """
    directory = Path(directory)
    root = directory.parent if root is None else root
    host = jax.tree.map(lambda leaf: np.array(leaf), items)
    with open_folder(directory.parent, root=root, create=True) as folder:
        if folder.status(directory.name) is not None:
            raise refuse(str(directory), "exists already", "checkpoints are never overwritten")
        _require_room(directory, host)
        _save_and_compare(folder, directory, host)
    if facts is not None:
        _write_facts(directory, facts, root)
    write_manifest(directory, root)


def _save_and_compare(folder: Folder, directory: Path, host: dict[str, PyTree]) -> None:
    """Save in an open folder, read back, and raise OSError where it differs or cannot be written."""
    path = folder.as_path() / directory.name
    try:
        orbax = _orbax()
        with _plain_arrays(orbax):
            orbax.save_checkpointables(path, host)
        saved = orbax.load_checkpointables(path, host)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error)[:200], str(directory)) from error
    # The library that writes the arrays raises ValueError on a full disk.
    except Exception as error:
        raise OSError(errno.EIO, str(error)[:200], str(directory)) from error
    if not jax.tree.all(jax.tree.map(_is_same, host, saved)):
        raise OSError(f"{directory}: what was read back differs from what was saved")


def copy_checkpoint(source: Path, target: Path, facts: Mapping[str, Any], *, root: Path) -> None:
    """Copy a checkpoint, once its files were checked against its manifest, to a new directory, under other facts.

    `root` is that of `save_checkpoint`. RefusedError, naming the file, for a damaged one; OSError as `write_whole` does.
    """
    verify_checkpoint(source)
    for name, size in list_files(source).items():
        if name == FACTS:
            continue
        with open_folder((target / name).parent, root=root, create=True):
            pass
        with (
            open_bounded(source / name, size) as original,
            write_whole(target / name, root=root, sync=True) as copy,
        ):
            shutil.copyfileobj(original, copy)
    _write_facts(target, facts, root)
    write_manifest(target, root)


def _write_facts(directory: Path, facts: Mapping[str, Any], root: str | Path) -> None:
    with write_whole(directory / FACTS, root=root, sync=True) as file:
        file.write(json.dumps(facts, ensure_ascii=False, allow_nan=False).encode())


def load_checkpoint(directory: str | Path, name: str, like: PyTree | None = None) -> PyTree[np.ndarray]:
    """Load one named tree of a checkpoint, after its files were checked against the manifest.

    `like` gives the structure (arrays or shapes), which the stored arrays must have; without it the tree comes back as
    dicts of arrays. A missing, damaged or foreign file raises RefusedError with the file's name, before anything is
    allocated.
    """
    directory = Path(directory)
    files = list_files(directory, None if like is None else largest_checkpoint(like))
    expected = read_manifest(directory)
    # What the small files claim is checked before the large ones are read, which may be of any size.
    small = {path for path, size in files.items() if size <= _SMALL}
    require_files(directory, expected, files, small)
    inside = {
        path.removeprefix(f"{name}/"): size for path, size in files.items() if path.startswith(f"{name}/")
    }
    if not inside:
        raise refuse(str(directory), f"cannot be read as {name!r}: it holds none", _FOREIGN)
    require_arrays(directory / name, inside, like)
    require_files(directory, expected, files, files.keys() - small)
    # NumPy leaves make Orbax return NumPy arrays, whatever devices there are.
    structure = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
    try:
        tree = _orbax().load_checkpointables(directory.absolute(), {name: structure})[name]
    # Orbax raises many types on unreadable files, none of its own.
    except Exception as error:
        reason = f"cannot be read as {name!r} ({type(error).__name__}: {str(error)[:200]})"
        raise refuse(str(directory), reason, _FOREIGN) from error
    if like is not None and not _is_alike(tree, structure):
        raise refuse(str(directory), f"cannot be read as {name!r}: its arrays are others", _FOREIGN)
    return tree


def verify_checkpoint(directory: Path, max_bytes: int | None = None) -> None:
    """Raise RefusedError, naming the file, unless every file of a checkpoint matches its SHA-256 in the manifest.

    One that has more than `max_bytes` is refused unread.
    """
    files = list_files(directory, max_bytes)
    require_files(directory, read_manifest(directory), files, files)


def largest_checkpoint(like: PyTree) -> int:
    """The most bytes that a checkpoint with these arrays, or with more of the same network, may have."""
    # An optimizer's moments and the best parameters are a few times the parameters.
    return 32 * count_bytes(like) + 64 * 2**20


def require_facts(directory: Path, facts: Mapping[str, Any], source: str | Path) -> None:
    """Raise RefusedError, naming the first field, unless a verified checkpoint was saved with these facts.

    `source` is the file that the facts are from.
    """
    path = directory / FACTS
    try:
        saved = json.loads(read_bounded(path, _MAX_FACTS_BYTES))
    except RefusedError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise refuse(path, f"cannot be read ({type(error).__name__})", DAMAGED) from error
    if not isinstance(saved, dict):
        raise refuse(path, "does not hold a JSON object", DAMAGED)
    for name in sorted(saved.keys() | facts.keys()):
        if saved.get(name) != facts.get(name):
            raise refuse(source, f"{name} is not what {directory} was saved with", DAMAGED)


def list_checkpoints(parent: Path) -> list[Path]:
    """The finished checkpoints under a directory, oldest first (their names sort by age)."""
    return sorted(path.with_suffix("") for path in parent.glob("epoch_[0-9][0-9][0-9][0-9].sha256"))


def delete_checkpoint(directory: Path, *, root: Path | None = None) -> None:
    """Delete a checkpoint, complete or not; the manifest first, so that a partial one never looks complete.

    RefusedError where a folder between `root` and the directory is a link.
    """
    with open_folder(directory.parent, root=root) as folder:
        folder.remove(manifest_path(directory).name)
        folder.remove(directory.name)


def _orbax() -> Any:
    """Orbax, imported at the first save or load: it takes a third of a second."""
    from orbax.checkpoint import v1

    logging.getLogger("absl").addFilter(_is_news)
    return v1


def _is_news(record: logging.LogRecord) -> bool:
    """Orbax warns at each save that arrays in files of their own need no merging."""
    return "Skipping merge of OCDBT" not in str(record.msg)


def _plain_arrays(orbax: Any) -> Any:
    """The context in which Orbax writes each array as it is, in a file of its own."""
    context = orbax.Context()
    context.array.saving.use_ocdbt = False
    context.array.saving.use_compression = False
    context.array.saving.enable_write_sharding_file = False
    context.array.saving.array_metadata_store = None
    return context


def _require_room(directory: Path, items: PyTree) -> None:
    """Raise OSError if the disk is too full. Checked first, because Orbax would fail in many threads at once."""
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(items)) + _MARGIN
    if shutil.disk_usage(directory.parent).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))


def _is_alike(first: PyTree, second: PyTree) -> bool:
    """Whether two trees have the same structure, shapes and types."""
    leaves, structure = jax.tree.flatten(first)
    others, other_structure = jax.tree.flatten(second)
    if str(structure) != str(other_structure):
        return False
    pairs = zip(leaves, others, strict=True)
    return all(
        isinstance(one, np.ndarray) and (one.shape, one.dtype) == (two.shape, two.dtype) for one, two in pairs
    )


def _is_same(first: Any, second: Any) -> bool:
    # Bytes, because NaN is not equal to itself, and np.array_equal knows no NaN of bfloat16.
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()
