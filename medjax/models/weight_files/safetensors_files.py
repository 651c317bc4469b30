"""Files of the format safetensors: a header in JSON, then the numbers. https://github.com/huggingface/safetensors

The package checks that the tensors fill the file without gaps or overlaps. Checked here first: that the header is of a
size that weights need, says nothing twice, and nests no deeper than it should.
"""

import json
from typing import Any

import safetensors

from medjax.models.weight_files.tensors import (
    FLOATS,
    WHOLE,
    Kind,
    UnfitError,
    Weights,
    as_float32,
    finish,
    require_shape,
)

_MAX_HEADER = 4 * 2**20
_SIZE_BYTES = 8
_KINDS: dict[str, Kind] = {
    "F64": FLOATS["float64"],
    "F32": FLOATS["float32"],
    "F16": FLOATS["float16"],
    "BF16": FLOATS["bfloat16"],
    "I64": WHOLE["int64"],
    "I32": WHOLE["int32"],
    "I16": WHOLE["int16"],
    "I8": WHOLE["int8"],
    "U8": WHOLE["uint8"],
    "BOOL": WHOLE["bool"],
}


def read_safetensors(content: bytes) -> Weights:
    """The weights in a .safetensors file; UnfitError for a damaged one."""
    _require_header(content)
    try:
        tensors = safetensors.deserialize(content)
    except (safetensors.SafetensorError, ValueError) as error:
        raise UnfitError(f"is damaged: {error}") from None
    weights = {}
    for name, tensor in tensors:
        kind = _KINDS.get(tensor["dtype"])
        if kind is None:
            raise UnfitError(f"has numbers of type {tensor['dtype']}, which is none of {', '.join(_KINDS)}")
        if kind.is_float:
            shape = require_shape("a tensor", tensor["shape"])
            weights[name] = as_float32(tensor["data"], kind).reshape(shape)
    return finish(weights)


def _require_header(content: bytes) -> None:
    size = int.from_bytes(content[:_SIZE_BYTES], "little")
    if len(content) < _SIZE_BYTES or size > len(content) - _SIZE_BYTES:
        raise UnfitError("is cut off, or no safetensors file")
    if size > _MAX_HEADER:
        raise UnfitError(f"has a header of {size:,} bytes, more than {_MAX_HEADER:,}")
    try:
        header = json.loads(content[_SIZE_BYTES : _SIZE_BYTES + size], object_pairs_hook=_without_repetition)
    except UnfitError:
        raise
    except (ValueError, RecursionError):
        raise UnfitError("has a header that is no JSON") from None
    if not isinstance(header, dict):
        raise UnfitError("has a header that is no JSON object")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise UnfitError("has a header that says something twice")
    return names
