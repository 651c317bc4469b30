"""Check the chunks of a WebP before Pillow decodes it: its decoder takes memory for the canvas as soon as it is opened.

Format: Google, "WebP Container Specification", https://developers.google.com/speed/webp/docs/riff_container
"""

import struct

from medjax.data.reading.listing import COPY_AGAIN, UnfitError

MAX_CHUNKS = 10_000
_DAMAGED = "is damaged: it does not say its size"


def read_webp(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP of one picture; raises UnfitError for an animation and a damaged file."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) or len(data) < 20:
        raise UnfitError("is truncated", COPY_AGAIN)
    size, frames, position = None, 0, 12
    for _ in range(MAX_CHUNKS):
        if position + 8 > end:
            break
        kind, length = struct.unpack_from("<4sI", data, position)
        start = position + 8
        if start + length > len(data):
            raise UnfitError("is truncated", COPY_AGAIN)
        frames += kind == b"ANMF"
        if frames > 1:
            raise UnfitError("is an animation", "export the one frame that you want")
        size = size or _size(kind, data[start : start + min(length, 10)])
        position = start + length + length % 2
    else:
        raise UnfitError("has too many WebP chunks", "export it again")
    if size is None:
        raise UnfitError(_DAMAGED, COPY_AGAIN)
    return size


def _size(kind: bytes, start: bytes) -> tuple[int, int] | None:
    """Width and height that a chunk of this kind begins with; None for other chunks and for damage."""
    if kind == b"VP8X" and len(start) == 10:
        return 1 + int.from_bytes(start[4:7], "little"), 1 + int.from_bytes(start[7:10], "little")
    if kind == b"VP8 " and start[3:6] == b"\x9d\x01\x2a" and len(start) == 10:
        width, height = struct.unpack_from("<2H", start, 6)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and start[:1] == b"\x2f" and len(start) >= 5:
        bits = int.from_bytes(start[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None
