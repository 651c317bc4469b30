"""Tell the format of an image by its first bytes, and check its header before Pillow decodes it.

Pillow cannot replace this: it reduces 16-bit RGB to 8 bits without saying so, decodes a PNG whose end is missing, and
walks through chunks and segments in Python without a limit.
"""

import struct
import zlib
from typing import NamedTuple

from medjax.data.decoding.bmp_header import read_bmp
from medjax.data.decoding.tiff_header import BIG, BIG_TIFFS, LITTLE, TILES, read_tiff
from medjax.data.decoding.webp_header import read_webp
from medjax.data.reading.listing import COPY_AGAIN, UnfitError

READABLE = "PNG, JPEG, TIFF, BMP or WebP"
"""The formats that are read."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"

# In chunks of 8 KiB, as libpng writes them, a file of 256 MiB has 32,768. Pillow takes microseconds for each.
MAX_PNG_CHUNKS = 200_000
# Chunks other than pixels (color profile, text, time); Pillow decompresses up to 1 MiB from each.
MAX_PNG_EXTRAS = 1_000
# Segments before the picture (EXIF, color profile, Photoshop's); Pillow joins them in quadratic time.
MAX_JPEG_HEADER_BYTES = 16 * 2**20
MAX_JPEG_HEADER_STEPS = 10_000
# libjpeg processes the whole picture for each scan; progressive encoders write about ten.
MAX_JPEG_SCANS = 32

_START_OF_SCAN = b"\xff\xda"
_BARE_MARKERS = {0x01, 0xD8, *range(0xD0, 0xD8)}  # no length follows these

_OTHER_FORMATS = (
    (0, b"PK\x03\x04", "a zip archive inside the data", "unpack it, or give it by itself"),
    (0, b"PK\x05\x06", "an empty zip archive inside the data", "remove it"),
    (0, b"\x1f\x8b", "gzip-compressed data", "unpack it"),
    (0, b"\xfd7zXZ\0", "xz-compressed data", "unpack it"),
    (0, b"Rar!", "a rar archive inside the data", "unpack it"),
    (0, b"7z\xbc\xaf", "a 7z archive inside the data", "unpack it"),
    (257, b"ustar", "a tar archive inside the data", "unpack it, or give it by itself"),
    (0, b"%!PS", "a PostScript program", "convert it to PNG"),
    (0, b"%PDF", "a PDF", "convert it to PNG"),
    (0, b"GIF8", "a GIF", "convert it to PNG"),
    (4, b"jP  \r\n", "a JPEG 2000 file", "convert it to PNG"),
    (4, b"ftypavif", "an AVIF", "convert it to PNG"),
    (4, b"ftyphei", "a HEIC", "convert it to PNG"),
    (0, b"ZISRAWFILE", "a whole slide", TILES),
    (0, b"[Virtual Microscope Specimen]", "a whole slide", TILES),
)


_VOLUME_REMEDY = (
    "save its slices as PNG or TIFF, of 16 bits where it has more than 8, and keep each patient's in one part"
)
_NIFTI_BYTES = 352


class Header(NamedTuple):
    """What is known of an image before it is decoded."""

    kind: str  # as Pillow calls the format
    bit_depth: int = 8  # of a sample
    size: tuple[int, int] | None = None  # width, height; None where Pillow says it before it takes memory


def read_header(data: bytes) -> Header:
    """The header of an image; raises UnfitError for a damaged file and for any format that is not read."""
    if not data:
        raise UnfitError("is empty", "copy it again")
    if data.startswith(PNG_SIGNATURE):
        return Header("PNG", _read_png(data))
    if data.startswith(JPEG_SIGNATURE):
        _check_jpeg(data)
        return Header("JPEG")  # Pillow decodes those of 8 bits only
    if data.startswith((LITTLE, BIG, *BIG_TIFFS)):
        return Header("TIFF", *read_tiff(data))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Header("WEBP", size=read_webp(data))
    if data.startswith(b"BM"):
        return Header("BMP", size=read_bmp(data))
    if _is_volume(data):
        raise UnfitError("is a NIfTI volume, not an image", _VOLUME_REMEDY)
    for offset, signature, what, remedy in _OTHER_FORMATS:
        if data.startswith(signature, offset):
            raise UnfitError(f"is {what}, not a {READABLE} image", remedy)
    raise UnfitError(f"is not a {READABLE} image", "convert it to PNG if it is an image, else remove it")


def _is_volume(data: bytes) -> bool:
    """Whether this is a NIfTI file of either version, plain or compressed by gzip."""
    start = data[:_NIFTI_BYTES]
    if start.startswith(b"\x1f\x8b"):
        try:
            start = zlib.decompressobj(wbits=31).decompress(data[: 2**16], _NIFTI_BYTES)
        except zlib.error:
            return False
    return start[344:348] in (b"n+1\0", b"ni1\0") or start[4:8] in (b"n+2\0", b"ni2\0")


def _read_png(data: bytes) -> int:
    bit_depth, extras, position = 0, 0, len(PNG_SIGNATURE)
    for _ in range(MAX_PNG_CHUNKS):
        kind, start, end = _png_chunk(data, position)
        if not bit_depth:
            if kind != b"IHDR" or end - start != 13:
                raise UnfitError("is damaged: its first chunk is not a PNG header", COPY_AGAIN)
            bit_depth = data[start + 8] or 1
        elif kind == b"acTL" and data[start : start + 4] != b"\0\0\0\1":
            raise UnfitError("is an animation", "export the one frame that you want")
        elif kind == b"IEND":
            return bit_depth
        extras += kind != b"IDAT"
        if extras > MAX_PNG_EXTRAS:
            break
        position = end + 4
    raise UnfitError("has too many PNG chunks", "export it again")


def _png_chunk(data: bytes, position: int) -> tuple[bytes, int, int]:
    """Kind, start and end of the chunk at `position`, after verifying its checksum."""
    if position + 12 > len(data):
        raise UnfitError("is truncated", COPY_AGAIN)
    length, kind = struct.unpack_from(">I4s", data, position)
    start, end = position + 8, position + 8 + length
    if end + 4 > len(data):
        raise UnfitError("is truncated", COPY_AGAIN)
    if zlib.crc32(memoryview(data)[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
        raise UnfitError("is damaged: a checksum in it is wrong", COPY_AGAIN)
    return kind, start, end


def _check_jpeg(data: bytes) -> None:
    """Refuse headers and scans that would keep the decoder busy; it finds all other damage itself."""
    if data.count(_START_OF_SCAN) > MAX_JPEG_SCANS:
        raise UnfitError(f"is a JPEG with more than {MAX_JPEG_SCANS} scans", "export it again")
    if len(data) <= MAX_JPEG_HEADER_STEPS:
        return  # every step takes a byte or more
    position = 2
    for _ in range(MAX_JPEG_HEADER_STEPS):
        marker = data[position : position + 2]
        if marker == _START_OF_SCAN:
            return
        if position > min(len(data), MAX_JPEG_HEADER_BYTES):
            break
        if marker[:1] != b"\xff" or marker[1:] in (b"\x00", b"\xff"):
            position += 1  # fill bytes, or junk that decoders skip
        elif marker[1] in _BARE_MARKERS:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise UnfitError("has a JPEG header that is cut off or too long", COPY_AGAIN)
