"""PyTorch's files of weights, .pth and .pt, both formats: a zip archive since PyTorch 1.6, before that a row of pickles.

Sources: "Serialization semantics", https://docs.pytorch.org/docs/stable/notes/serialization.html; of the older format,
`_legacy_save` in torch/serialization.py.
"""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32

from medjax.models.weight_files.archive import Archive
from medjax.models.weight_files.pickled import Storage, Tensor, read_pickle
from medjax.models.weight_files.tensors import UnfitError, Weights, as_float32, count, finish

_ZIP = b"PK"
_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a pickle of PyTorch's magic number
_PROTOCOL = 1001
_WRAPPERS = ("state_dict", "model")  # what training scripts keep their weights under
_SIZE = struct.Struct("<q")

_Read = Callable[[Storage], Float32[np.ndarray, "n"]]


def read_torch(content: bytes) -> Weights:
    """The weights in a .pth or .pt file; UnfitError for one that holds more than plain values and tensors."""
    value, read = _open_zip(content) if content.startswith(_ZIP) else _open_pickles(content)
    for name in _WRAPPERS:
        if isinstance(value, dict) and isinstance(value.get(name), dict):
            value = value[name]
    if not isinstance(value, dict):
        raise UnfitError("holds no tensors by name")
    found = {
        name: each
        for name, each in value.items()
        if not isinstance(each, Tensor) or each.storage.kind.is_float
    }
    tensors = [each for each in found.values() if isinstance(each, Tensor)]
    _require_bounded(tensors)
    numbers = {storage: read(storage) for storage in dict.fromkeys(each.storage for each in tensors)}
    return finish(
        {
            name: _array(each, numbers[each.storage]) if isinstance(each, Tensor) else each
            for name, each in found.items()
        }
    )


def _open_zip(content: bytes) -> tuple[Any, _Read]:
    archive = Archive(content)
    pickles = [name for name in archive.members if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise UnfitError("is an archive without the one data.pkl that torch.save writes")
    if not all(map(archive.is_stored, archive.members)):
        raise UnfitError("is an archive with compressed members, of which torch.save writes none")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.members and archive.read(f"{folder}byteorder") != b"little":
        raise UnfitError("was written on a machine of another byte order")

    def read(storage: Storage) -> Float32[np.ndarray, "n"]:
        name, needed = f"{folder}data/{storage.key}", storage.size * storage.kind.size
        if name not in archive.members or archive.members[name].file_size != needed:
            raise UnfitError("a storage is missing, or has another size than it claims")
        return as_float32(archive.read(name), storage.kind)

    return read_pickle(archive.read(pickles[0])).value, read


def _open_pickles(content: bytes) -> tuple[Any, _Read]:
    if not content.startswith(_MAGIC):
        raise UnfitError("is no file of torch.save")
    protocol = read_pickle(content, len(_MAGIC))
    system = read_pickle(content, protocol.end)
    is_little = type(system.value) is dict and system.value.get("little_endian") is True
    if type(protocol.value) is not int or protocol.value != _PROTOCOL or not is_little:
        raise UnfitError("was written by another protocol, or on a machine of another byte order")
    pickled = read_pickle(content, system.end)
    keys = read_pickle(content, pickled.end)
    is_list = type(keys.value) is list and all(type(key) is str for key in keys.value)
    if not is_list or sorted(keys.value) != sorted(pickled.storages):
        raise UnfitError("its list of storages is not that of its tensors")
    rows = _locate(content, keys.end, [pickled.storages[key] for key in keys.value])
    return pickled.value, lambda storage: as_float32(rows[storage], storage.kind)


def _locate(content: bytes, position: int, storages: list[Storage]) -> dict[Storage, memoryview]:
    """The bytes of storages that follow one another to the end of the file, each after its number of numbers."""
    rows = {}
    for storage in storages:
        start = position + _SIZE.size
        position = start + storage.size * storage.kind.size
        if position > len(content) or _SIZE.unpack_from(content, start - _SIZE.size)[0] != storage.size:
            raise UnfitError("is cut off, or a storage has another size than it claims")
        rows[storage] = memoryview(content)[start:position]
    if position != len(content):
        raise UnfitError(f"has {len(content) - position:,} bytes after its last storage")
    return rows


def _require_bounded(tensors: list[Tensor]) -> None:
    """UnfitError where many tensors share a storage, so that they would take far more memory than the file has."""
    claimed = sum(count(tensor.shape) for tensor in tensors)
    stored = sum(storage.size for storage in {tensor.storage for tensor in tensors})
    if claimed > 2 * stored:  # shared weights, such as those of an embedding and a head, are in there
        raise UnfitError(f"its tensors claim {claimed:,} numbers, and there are {stored:,}")


def _array(tensor: Tensor, numbers: Float32[np.ndarray, "n"]) -> Float32[np.ndarray, "..."]:
    """A tensor; `pickled` has checked that it lies within its storage."""
    if count(tensor.shape) == 0:
        return np.zeros(tensor.shape, np.float32)
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    strided = np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :], tensor.shape, strides, writeable=False
    )
    return np.ascontiguousarray(strided)
