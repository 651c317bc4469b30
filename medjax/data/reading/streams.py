"""Archives read forwards: piece by piece, counted as they come out, unpacked from gzip or xz in little memory."""

import zlib
from collections.abc import Iterator
from io import BufferedIOBase

from medjax.data.reading.listing import UnfitError, bomb_fault

# Read at a time, and unpacked at a time. What follows an end of a stream is copied: little at a time keeps a file
# of a million empty streams quick.
_PACKED_PIECE = 2**14
PIECE = 2**18
# `xz -9` needs 65 MiB to unpack.
MAX_XZ_BYTES = 2**27
_PACK_AGAIN = "copy or pack it again"


class Reader:
    """Reads pieces of bytes forwards as if they were a file, and counts them as they come."""

    def __init__(self, pieces: Iterator[bytes], limit: int) -> None:
        """Read from `pieces`, at most `limit` bytes."""
        self._pieces = pieces
        self._limit = limit
        self._waiting = bytearray()
        self.position = 0

    def read(self, size: int) -> bytes:
        """The next `size` bytes, or as many as there are; raises UnfitError beyond the limit."""
        while len(self._waiting) < size and (piece := next(self._pieces, None)) is not None:
            self._waiting += piece
        found = bytes(self._waiting[:size])
        del self._waiting[:size]
        self.position += len(found)
        if self.position > self._limit:
            raise UnfitError(*bomb_fault(self._limit))
        return found

    def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes; raises UnfitError where there are fewer."""
        found = self.read(size)
        if len(found) < size:
            raise UnfitError("is truncated", _PACK_AGAIN)
        return found

    def skip(self, size: int) -> None:
        """Pass over the next `size` bytes."""
        while size > 0:
            size -= len(self.read_exactly(min(size, PIECE)))


def unpacked(file: BufferedIOBase) -> Iterator[bytes]:
    """Pieces of what `file` holds, unpacked if its first bytes say gzip or xz."""
    signature = file.read(6)
    file.seek(0)
    if signature.startswith(b"\x1f\x8b"):
        return _gunzipped(file)
    if signature == b"\xfd7zXZ\0":
        return _unxzipped(file)
    return iter(lambda: file.read(PIECE), b"")


def _gunzipped(file: BufferedIOBase) -> Iterator[bytes]:
    unpacker, data = None, b""
    try:
        while data := data or file.read(_PACKED_PIECE):
            if unpacker is None:
                data = data.lstrip(b"\0")  # streams may be padded, and follow one another
                if not data:
                    continue
                unpacker = zlib.decompressobj(wbits=31)
            yield unpacker.decompress(data, PIECE)
            data = unpacker.unconsumed_tail
            if unpacker.eof:
                data, unpacker = unpacker.unused_data, None
    except zlib.error as error:
        raise UnfitError(f"is damaged: {error}", _PACK_AGAIN) from None
    if unpacker is not None:
        raise UnfitError("is truncated", _PACK_AGAIN)


def _unxzipped(file: BufferedIOBase) -> Iterator[bytes]:
    import lzma  # some builds of Python go without

    unpacker, data = None, b""
    try:
        while data := data or file.read(_PACKED_PIECE):
            if unpacker is None:
                data = data.lstrip(b"\0")
                if not data:
                    continue
                unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_BYTES)
            yield unpacker.decompress(data, PIECE)
            while not (unpacker.needs_input or unpacker.eof):
                yield unpacker.decompress(b"", PIECE)
            data = b""
            if unpacker.eof:
                data, unpacker = unpacker.unused_data, None
    except lzma.LZMAError as error:
        raise UnfitError(f"cannot be unpacked in {MAX_XZ_BYTES // 2**20} MiB: {error}", _PACK_AGAIN) from None
    if unpacker is not None:
        raise UnfitError("is truncated", _PACK_AGAIN)
