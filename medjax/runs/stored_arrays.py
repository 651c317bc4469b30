"""Check a stranger's stored arrays before a library opens them.

Arrays of a checkpoint are stored by Zarr 3, uncompressed, each in one file beside a `zarr.json` that claims its shape. A
claim of forty terabytes would end the process, a compressed file may unpack to any size, and a file of another format may
name other files: so the claims, the sizes on disk and the expected arrays must agree, and nothing else may be there.

Reference: Zarr core specification, version 3, https://zarr-specs.readthedocs.io/en/latest/v3/core/
"""

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from medjax.errors import RefusedError, refuse
from medjax.files import read_bounded
from medjax.runs.schema import RESTORE, fields, items, require, text, whole

METADATA = "zarr.json"
TREE = "_METADATA"
"""File of an item that names its arrays."""
_MAX_METADATA_BYTES = 2**16
_TREE_BYTES = 8192  # of the description of one array in the tree
_INDEX_BYTES = 4096  # of what Zarr writes into a file beside the array
_FOREIGN = "it was written by another version, or for another model"
_CLAIM = fields(
    {
        "zarr_format": whole(3, 3),
        "node_type": text(choices=("array",)),
        "shape": items(whole(1), at_most=32),
        "data_type": text(at_most=100),
        "chunk_grid": fields({"configuration": fields({"chunk_shape": items(whole(1), at_most=32)})}),
        "chunk_key_encoding": fields({"name": text(choices=("default",))}),
    }
)
_MEMBERS = {"chunk_grid", "chunk_key_encoding", "codecs", "data_type", "fill_value", "node_type", "shape"}
_MEMBERS |= {"zarr_format", "attributes", "dimension_names"}


def require_arrays(directory: Path, files: Mapping[str, int], like: PyTree | None) -> None:
    """Raise RefusedError unless the `files` of a directory, with their sizes, are one tree of arrays, plainly stored.

    `like` gives the arrays that are expected; without it each need only be what it claims to be.
    """
    found = {name.removesuffix(f"/{METADATA}") for name in files if name.endswith(f"/{METADATA}")}
    expected = None if like is None else _names(like)
    if expected is not None and expected.keys() != found:
        name = min(expected.keys() ^ found)
        reason = "is not an array of this network" if name in found else "is missing from the checkpoint"
        raise refuse(directory / name, reason, _FOREIGN)
    known = {TREE}
    for name in sorted(found):
        shape, kind = _read_claim(directory / name / METADATA)
        wanted = (shape, kind) if expected is None else expected[name]
        if (shape, kind) != wanted:
            reason = f"has shape {list(shape)} of {kind}, not {list(wanted[0])} of {wanted[1]}"
            raise refuse(directory / name, reason, _FOREIGN)
        data = f"{name}/c{'/0' * len(shape)}"
        _require_size(directory / data, files.get(data), shape, kind)
        known |= {f"{name}/{METADATA}", data}
    if files.get(TREE, 0) > _TREE_BYTES * (len(found) + 16):
        raise refuse(directory / TREE, f"has {files[TREE]:,} bytes for {len(found)} arrays", RESTORE)
    for name in sorted(files.keys() - known):
        raise refuse(directory / name, "is no part of an array", _FOREIGN)


def count_bytes(tree: PyTree) -> int:
    """Bytes that the arrays of a tree, or their shapes, take."""
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))


def _names(like: PyTree) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of each array, by the name of its folder."""
    leaves = jax.tree_util.tree_leaves_with_path(like)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): (tuple(leaf.shape), np.dtype(leaf.dtype).name)
        for path, leaf in leaves
    }


def _read_claim(path: Path) -> tuple[tuple[int, ...], str]:
    """The shape and type that a `zarr.json` claims; RefusedError for anything but an array in one uncompressed file."""
    try:
        claim = json.loads(read_bounded(path, _MAX_METADATA_BYTES))
    except RefusedError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise refuse(path, f"cannot be read ({type(error).__name__})", RESTORE) from error
    require(_CLAIM, claim, path)
    shape = claim["shape"]
    is_whole = claim["chunk_grid"]["configuration"]["chunk_shape"] == shape
    if not is_whole or claim.keys() - _MEMBERS or not _is_plain(claim.get("codecs"), shape):
        raise refuse(path, "does not describe an uncompressed array in one file", _FOREIGN)
    return tuple(shape), claim["data_type"]


def _is_plain(codecs: Any, shape: Collection[int]) -> bool:
    """Whether these steps from an array to a file keep its size, but for an index."""
    if not isinstance(codecs, list) or not all(isinstance(codec, dict) for codec in codecs):
        return False
    for codec in codecs:
        if codec.get("name") == "sharding_indexed":
            settings = codec.get("configuration")
            if not isinstance(settings, dict) or settings.get("chunk_shape") != shape:
                return False
            if not all(_is_plain(settings.get(steps), shape) for steps in ("codecs", "index_codecs")):
                return False
        elif codec.get("name") not in ("bytes", "crc32c"):
            return False
    return True


def _require_size(path: Path, size: int | None, shape: tuple[int, ...], kind: str) -> None:
    try:
        needed = math.prod(shape) * np.dtype(kind).itemsize
    except TypeError:
        raise refuse(path.parent, f"has values of the type {kind}", _FOREIGN) from None
    if size is None:
        raise refuse(path, "is missing from the checkpoint", RESTORE)
    if not needed <= size <= needed + _INDEX_BYTES:
        raise refuse(path, f"has {size:,} bytes for an array of {needed:,}", RESTORE)
