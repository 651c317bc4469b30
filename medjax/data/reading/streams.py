"""Read archives forwards in small pieces: decompress gzip and xz, count bytes as they come out.

The `gzip` module would do the same in fewer lines, but reads zero padding and file names byte by byte in Python: 64 MiB
of padding takes 11 s instead of 0.2, a 40 MiB file name 5 s, a million empty streams 7.5 s instead of 2.3.
"""

import zlib
from collections.abc import Iterator
from io import BufferedIOBase

from medjax.data.reading.listing import UnfitError, bomb_fault

# Compressed and decompressed bytes at a time. What follows the end of a stream is copied, so small pieces keep a file
# of a million empty streams fast.
_COMPRESSED_PIECE = 2**14
PIECE = 2**18
# Memory to decompress with; `xz -9` needs 65 MiB.
MAX_XZ_BYTES = 2**27
_PACK_AGAIN = "copy or pack it again"


class Reader:
    """Reads pieces of bytes forwards like a file, up to a limit."""

    def __init__(self, pieces: Iterator[bytes], limit: int) -> None:
        self._pieces = pieces
        self._limit = limit  # bytes
        self._buffer = bytearray()
        self.position = 0

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end; raises UnfitError beyond the limit."""
        while len(self._buffer) < size and (piece := next(self._pieces, None)) is not None:
            self._buffer += piece
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        self.position += len(found)
        if self.position > self._limit:
            raise UnfitError(*bomb_fault(self._limit))
        return found

    def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes; raises UnfitError if there are fewer."""
        found = self.read(size)
        if len(found) < size:
            raise UnfitError("is truncated", _PACK_AGAIN)
        return found

    def skip(self, size: int) -> None:
        """Skip the next `size` bytes."""
        while size > 0:
            size -= len(self.read_exactly(min(size, PIECE)))


def decompress(file: BufferedIOBase) -> Iterator[bytes]:
    """The content of `file` in pieces, decompressed if its first bytes are those of gzip or xz."""
    signature = file.read(6)
    file.seek(0)
    if signature.startswith(b"\x1f\x8b"):
        return _gunzip(file)
    if signature == b"\xfd7zXZ\0":
        return _unxz(file)
    return iter(lambda: file.read(PIECE), b"")


def _gunzip(file: BufferedIOBase) -> Iterator[bytes]:
    decompressor, data = None, b""
    try:
        while data := data or file.read(_COMPRESSED_PIECE):
            if decompressor is None:
                data = data.lstrip(b"\0")  # there may be several streams, with padding between them
                if not data:
                    continue
                decompressor = zlib.decompressobj(wbits=31)
            yield decompressor.decompress(data, PIECE)
            data = decompressor.unconsumed_tail
            if decompressor.eof:
                data, decompressor = decompressor.unused_data, None
    except zlib.error as error:
        raise UnfitError(f"is damaged: {error}", _PACK_AGAIN) from None
    if decompressor is not None:
        raise UnfitError("is truncated", _PACK_AGAIN)


def _unxz(file: BufferedIOBase) -> Iterator[bytes]:
    import lzma  # some builds of Python go without

    decompressor, data = None, b""
    try:
        while data := data or file.read(_COMPRESSED_PIECE):
            if decompressor is None:
                data = data.lstrip(b"\0")
                if not data:
                    continue
                decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_BYTES)
            yield decompressor.decompress(data, PIECE)
            while not (decompressor.needs_input or decompressor.eof):
                yield decompressor.decompress(b"", PIECE)
            data = b""
            if decompressor.eof:
                data, decompressor = decompressor.unused_data, None
    except lzma.LZMAError as error:
        raise UnfitError(f"cannot be unpacked in {MAX_XZ_BYTES // 2**20} MiB: {error}", _PACK_AGAIN) from None
    if decompressor is not None:
        raise UnfitError("is truncated", _PACK_AGAIN)
