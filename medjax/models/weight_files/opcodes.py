"""The few opcodes of Python's pickles that PyTorch's weight files need, as (opcode, argument); any other is refused.

There is no unpickler: nothing here looks up, imports or calls what a file names. Source: "pickletools", Python's standard
library, https://docs.python.org/3/library/pickletools.html.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any

from medjax.models.weight_files.tensors import UnfitError

MAX_BYTES = 4 * 2**20
"""Of one pickle: 20,000 tensors. The numbers are not in it."""
MAX_OPCODES = 500_000

_Argument = Callable[[bytes, int], tuple[Any, int]]  # (data, position) -> (argument, position after it)


def read_opcodes(data: bytes, start: int) -> Iterator[tuple[bytes, Any, int]]:
    """The opcodes of the pickle that begins at `start` in `data`, each with its argument and the position after it.

    Ends with the opcode b"."; UnfitError where the data end before, for opcodes that are not known here, and for too many.
    """
    position = start
    for _ in range(MAX_OPCODES):
        opcode = data[position : position + 1]
        if not opcode or position - start > MAX_BYTES:
            raise UnfitError("is cut off, or its pickle is too long")
        if opcode not in _ARGUMENTS:
            raise UnfitError(
                f"its pickle does more than hold tensors: opcode {opcode!r} at byte {position:,}"
            )
        try:
            argument, position = _ARGUMENTS[opcode](data, position + 1)
        except (struct.error, UnicodeDecodeError):
            raise UnfitError(f"its pickle is damaged at byte {position:,}") from None
        yield opcode, argument, position
        if opcode == b".":
            return
    raise UnfitError(f"its pickle has more than {MAX_OPCODES:,} opcodes")


def _nothing(data: bytes, position: int) -> tuple[Any, int]:
    return None, position


def _number(format: str) -> _Argument:
    layout = struct.Struct(format)

    def read(data: bytes, position: int) -> tuple[Any, int]:
        return layout.unpack_from(data, position)[0], position + layout.size

    return read


def _counted(format: str, convert: Callable[[bytes], Any]) -> _Argument:
    """An argument that begins with its own length in bytes."""
    read_length = _number(format)

    def read(data: bytes, position: int) -> tuple[Any, int]:
        length, position = read_length(data, position)
        content = data[position : position + length]
        if len(content) < length or length > MAX_BYTES:
            raise struct.error
        return convert(content), position + length

    return read


def _two_lines(data: bytes, position: int) -> tuple[str, int]:
    """Module and name, as "module name"; both are short where they are known."""
    lines = data[position : position + 200].split(b"\n", 2)
    if len(lines) < 3:
        raise struct.error
    module, name = lines[:2]
    return f"{module.decode()} {name.decode()}", position + len(module) + len(name) + 2


def _text(content: bytes) -> str:
    return content.decode("utf-8")


def _old_text(content: bytes) -> str:
    return content.decode("ascii")  # of Python 2


def _whole(content: bytes) -> int:
    return int.from_bytes(content, "little", signed=True)


_ARGUMENTS: dict[bytes, _Argument] = {
    **{bytes([code]): _nothing for code in b"()]}t\x85\x86\x87aeusN\x88\x89RbQ."},
    b"\x80": _number("<B"),  # the protocol
    b"J": _number("<i"),
    b"K": _number("<B"),
    b"M": _number("<H"),
    b"G": _number(">d"),
    b"\x8a": _counted("<B", _whole),
    b"X": _counted("<I", _text),
    b"U": _counted("<B", _old_text),
    b"T": _counted("<I", _old_text),
    b"q": _number("<B"),  # put into the memo, and get from it
    b"r": _number("<I"),
    b"h": _number("<B"),
    b"j": _number("<I"),
    b"c": _two_lines,
}
