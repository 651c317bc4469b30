"""Check the header of a BMP before Pillow decodes it: run-length encoded ones it would decode byte by byte in Python.

Format: Microsoft, "Bitmap Header Types", https://learn.microsoft.com/en-us/windows/win32/gdi/bitmap-header-types
"""

import struct

from medjax.data.reading.listing import COPY_AGAIN, UnfitError

_OLD, _NEW = 12, (40, 52, 56, 64, 108, 124)  # sizes of the headers, in bytes
_PLAIN, _RUN_LENGTHS, _MASKS = 0, (1, 2), 3  # kinds of compression


def read_bmp(data: bytes) -> tuple[int, int]:
    """Width and height of an uncompressed BMP; raises UnfitError for any other and for a truncated file."""
    if len(data) < 34:
        raise UnfitError("is truncated", COPY_AGAIN)
    start, kind = struct.unpack_from("<2I", data, 10)
    if kind == _OLD:
        width, height, _, bits = struct.unpack_from("<4H", data, 18)
        compression = _PLAIN
    elif kind in _NEW:
        width, height, _, bits, compression = struct.unpack_from("<2i2HI", data, 18)
    else:
        raise UnfitError("is a BMP of an unknown kind", "convert it to PNG")
    if compression in _RUN_LENGTHS:
        raise UnfitError("is a BMP in run-length encoding", "convert it to PNG")
    if compression not in (_PLAIN, _MASKS):
        raise UnfitError("is a BMP around another format", "convert it to PNG")
    height = abs(height)  # negative: rows from the top
    if width < 0 or start + (width * bits + 31) // 32 * 4 * height > len(data):
        raise UnfitError("is truncated", COPY_AGAIN)
    return width, height
