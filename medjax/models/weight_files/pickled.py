"""What a pickle in one of PyTorch's files says, worked out on a stack of plain values: dicts, texts, numbers, tensors."""

from collections.abc import Callable
from typing import Any, NamedTuple

from medjax.models.weight_files.opcodes import read_opcodes
from medjax.models.weight_files.tensors import FLOATS, WHOLE, Kind, UnfitError, count, require_shape


class Storage(NamedTuple):
    """Numbers in a row, which lie elsewhere in the file."""

    key: str
    kind: Kind
    size: int  # numbers


class Tensor(NamedTuple):
    """A tensor over a storage; it lies within it, and has no more elements."""

    storage: Storage
    offset: int  # these three in numbers, not bytes
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Name(NamedTuple):
    """A module and a name in it, which mean nothing here but what the tables below say."""

    text: str


_MARK = object()
_STORAGES = {
    "torch FloatStorage": FLOATS["float32"],
    "torch DoubleStorage": FLOATS["float64"],
    "torch HalfStorage": FLOATS["float16"],
    "torch BFloat16Storage": FLOATS["bfloat16"],
    "torch LongStorage": WHOLE["int64"],
    "torch IntStorage": WHOLE["int32"],
    "torch ShortStorage": WHOLE["int16"],
    "torch CharStorage": WHOLE["int8"],
    "torch ByteStorage": WHOLE["uint8"],
    "torch BoolStorage": WHOLE["bool"],
}
_CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False}
_TUPLES = {b")": 0, b"\x85": 1, b"\x86": 2, b"\x87": 3}
_VALUES = b"JKMG\x8aXUT"


class Pickled(NamedTuple):
    """What a pickle says."""

    value: Any
    storages: dict[str, Storage]  # all that it names, by their keys
    end: int  # the position after it


def read_pickle(data: bytes, start: int = 0) -> Pickled:
    """What the pickle that begins at `start` says; UnfitError where that is more than plain values and tensors."""
    machine = _Machine()
    for opcode, argument, position in read_opcodes(data, start):
        if opcode == b".":
            return Pickled(machine.pop(), machine.storages, position)
        machine.do(opcode, argument)
    raise AssertionError  # the last opcode is b".", or there was an UnfitError


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self._steps: dict[bytes, Callable[[], None]] = {
            b"a": lambda: self._append([self.pop()]),
            b"e": lambda: self._append(self._pop_to_mark()),
            b"s": lambda: self._set([self.pop(), self.pop()][::-1]),
            b"u": lambda: self._set(self._pop_to_mark()),
            b"t": lambda: self._push(tuple(self._pop_to_mark())),
            b"(": lambda: self._push(_MARK),
            b"]": lambda: self._push([]),
            b"}": lambda: self._push({}),
            b"R": self._call,
            b"b": self._build,
            b"Q": lambda: self._push(self._storage(self.pop())),
        }

    def do(self, opcode: bytes, argument: Any) -> None:
        """One opcode."""
        if opcode in _CONSTANTS:
            self._push(_CONSTANTS[opcode])
        elif opcode in _TUPLES:
            self._push(tuple([self.pop() for _ in range(_TUPLES[opcode])][::-1]))
        elif opcode in _VALUES:
            self._push(argument)
        elif opcode in b"qr":
            self._memo[argument] = self._top()
        elif opcode in b"hj":
            if argument not in self._memo:
                raise UnfitError("its pickle is damaged: it remembers what was never there")
            self._push(self._memo[argument])
        elif opcode == b"c":
            self._push(_known(argument))
        elif opcode == b"\x80":
            if argument != 2:
                raise UnfitError(f"is written in protocol {argument} of pickle, not in PyTorch's 2")
        else:
            self._steps[opcode]()

    def pop(self) -> Any:
        """The last value."""
        value = self._top()
        self._stack.pop()
        return value

    def _top(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise UnfitError("its pickle is damaged: a value is missing")
        return self._stack[-1]

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop_to_mark(self) -> list[Any]:
        values = []
        while self._stack and self._stack[-1] is not _MARK:
            values.append(self._stack.pop())
        if not self._stack:
            raise UnfitError("its pickle is damaged: a mark is missing")
        self._stack.pop()
        return values[::-1]

    def _append(self, values: list[Any]) -> None:
        _require(type(self._top()) is list, "a list")
        self._stack[-1].extend(values)

    def _set(self, values: list[Any]) -> None:
        _require(type(self._top()) is dict and len(values) % 2 == 0, "a dict")
        _fill(self._stack[-1], zip(values[::2], values[1::2], strict=True))

    def _build(self) -> None:
        """An ordered dict is given attributes (`_metadata`: versions of layers), which nobody needs."""
        self.pop()
        _require(type(self._top()) is dict, "an ordered dict")

    def _call(self) -> None:
        arguments, name = self.pop(), self.pop()
        _require(type(name) is _Name and name.text in _CALLS and type(arguments) is tuple, "a call")
        self._push(_CALLS[name.text](arguments))

    def _storage(self, identity: Any) -> Storage:
        _require(type(identity) is tuple and len(identity) in (5, 6), "a storage")
        word, name, key, location, size, *view = identity
        is_known = type(name) is _Name and name.text in _STORAGES
        is_text = all(type(each) is str for each in (word, key, location))
        _require(is_known and is_text and word == "storage" and view in ([], [None]), "a storage")
        _require(_is_number(size), "a storage")
        storage = Storage(key, _STORAGES[name.text], size)
        if self.storages.setdefault(key, storage) != storage:
            raise UnfitError("names one storage with two types or sizes")
        return storage


def _known(text: str) -> _Name:
    if text not in _STORAGES and text not in _CALLS:
        module, _, name = text.partition(" ")
        raise UnfitError(f"its pickle does more than hold tensors: it wants {module}.{name}")
    return _Name(text)


def _require(is_sound: bool, noun: str) -> None:
    if not is_sound:
        raise UnfitError(f"its pickle is damaged: what should be {noun} is none")


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**40


def _fill(target: dict[Any, Any], pairs: Any) -> dict[Any, Any]:
    """Put pairs into a dict. Keys are texts or numbers: to hash a tuple of tuples of tuples would exhaust C's stack."""
    for key, value in pairs:
        _require(type(key) in (str, int), "a key")
        if key in target:
            raise UnfitError(f"has {str(key)[:100]} twice")
        target[key] = value
    return target


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if not arguments:
        return {}
    # As Python 2 wrote it: a list of pairs.
    _require(len(arguments) == 1 and type(arguments[0]) is list, "an ordered dict")
    pairs = arguments[0]
    _require(all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs), "an ordered dict")
    return _fill({}, pairs)


def _tensor(arguments: tuple[Any, ...]) -> Tensor:
    """(storage, offset, shape, strides, and what gradients need)."""
    _require(4 <= len(arguments) <= 7, "a tensor")
    storage, offset, shape, strides = arguments[:4]
    _require(type(storage) is Storage and _is_number(offset), "a tensor")
    shape, strides = require_shape("a tensor", shape), require_shape("a tensor's strides", strides)
    _require(len(shape) == len(strides), "a tensor")
    last = offset + sum(stride * (side - 1) for stride, side in zip(strides, shape, strict=True))
    # No more elements than numbers: strides of 0 would make a large tensor of few.
    if count(shape) > storage.size or (count(shape) and last >= storage.size):
        raise UnfitError(f"a tensor of shape {shape} reaches beyond its storage of {storage.size:,} numbers")
    return Tensor(storage, offset, shape, strides)


def _parameter(arguments: tuple[Any, ...]) -> Tensor:
    """(tensor, and what gradients need)."""
    _require(len(arguments) == 3 and type(arguments[0]) is Tensor, "a parameter")
    return arguments[0]


_CALLS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "collections OrderedDict": _ordered_dict,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
}
