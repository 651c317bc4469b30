"""What the readers of weight files share: numbers of any type as float32 arrays, and the words of a refusal."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

Weights = dict[str, Float32[np.ndarray, "..."]]

MAX_BYTES = 2**31
"""No weight file is larger. The largest of torchvision's vgg16 has 528 MiB."""
BFLOAT16 = "bfloat16"
"""The upper half of a float32, which NumPy has no type for."""


class UnfitError(ValueError):
    """A weight file that is not read; its text is the reason."""


class Kind(NamedTuple):
    """A type of numbers in a file."""

    name: str  # of NumPy, or BFLOAT16
    size: int  # bytes of one number

    @property
    def is_float(self) -> bool:
        """Whether parameters can be of it; whole numbers, such as counters of batches, are left out."""
        return "float" in self.name


FLOATS = {name: Kind(name, size) for name, size in (("float64", 8), ("float32", 4), ("float16", 2))} | {
    BFLOAT16: Kind(BFLOAT16, 2)
}
WHOLE = {
    name: Kind(name, size)
    for name, size in (("int64", 8), ("int32", 4), ("int16", 2), ("int8", 1), ("uint8", 1), ("bool", 1))
}


def as_float32(numbers: Any, kind: Kind) -> Float32[np.ndarray, "n"]:
    """The float32 numbers in bytes of little-endian floats of a kind; of float32 without a copy."""
    if kind.name == BFLOAT16:
        halves = np.frombuffer(numbers, "<u2").astype(np.uint32)
        return (halves << 16).view(np.float32)
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as not finite
        return np.frombuffer(numbers, np.dtype(kind.name).newbyteorder("<")).astype(np.float32, copy=False)


def count(shape: Any) -> int:
    """The number of elements of an array of a shape."""
    return math.prod(shape)


def require_shape(name: str, shape: Any) -> tuple[int, ...]:
    """A shape that NumPy can make; UnfitError for anything else."""
    is_sound = isinstance(shape, list | tuple) and len(shape) <= 8
    if not is_sound or not all(type(side) is int and 0 <= side < 2**40 for side in shape):
        raise UnfitError(f"the shape of {name} is none")
    return tuple(shape)


def finish(tensors: dict[Any, Any]) -> Weights:
    """The weights under the names that a network has: without the prefix "module." of data-parallel training.

    Raises UnfitError where there is none, for names that are no text, and for numbers that are not finite.
    """
    if not tensors:
        raise UnfitError("holds no tensors")
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise UnfitError("a tensor has a number for a name")
        if not isinstance(tensor, np.ndarray):
            raise UnfitError(f"{_short(name)} is no tensor")
        if not np.isfinite(tensor).all():
            raise UnfitError(f"{_short(name)} holds numbers that are not finite")
    is_parallel = all(name.startswith("module.") for name in tensors)
    return {name.removeprefix("module.") if is_parallel else name: each for name, each in tensors.items()}


def _short(name: str) -> str:
    return name if len(name) <= 100 else f"{name[:100]}…"
