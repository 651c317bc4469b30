"""What compressed pixels say of themselves: decoders believe it, so it is compared with the header of the file first."""

import struct

from medjax.data.dicom.header import Header
from medjax.data.reading.listing import COPY_AGAIN, DAMAGED_DICOM, UnfitError

JPEG, JPEG_LOSSLESS, JPEG_LS, JPEG_2000 = (
    tuple(f"1.2.840.10008.1.2.4.{number}" for number in numbers)
    for numbers in ((50, 51), (57, 70), (80, 81), (90, 91, 201, 202, 203))
)
RLE = "1.2.840.10008.1.2.5"
"""Transfer syntaxes."""
_FRAME_HEADERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xF7}  # of JPEG and JPEG-LS: a start of frame, with the size
MAX_TILES = 4_096
"""Of JPEG 2000: its decoder takes 6 kB for each before it decodes one."""
MAX_RLE_BYTES = 16 * 2**20
"""Of a frame in RLE, which is unpacked in Python."""
MAX_UNPACKED = 256 * 2**20
"""Bytes that a frame in RLE may unpack to beyond its size."""
MAX_SCANS = 32
"""Of a JPEG, as `decoding.headers` allows."""
_JP2, _MAX_BOXES = b"\0\0\0\x0cjP  ", 64


def check_frame(data: bytes, header: Header) -> None:
    """UnfitError where compressed pixels are of another size than the header of the file says."""
    syntax = header.transfer_syntax
    if syntax == RLE:
        _check_rle(data, header)
        return
    size = _size_of_jpeg_2000(data) if syntax in JPEG_2000 else _size_of_jpeg(data)
    if size != (header.rows, header.columns, header.samples):
        raise UnfitError(
            "is a DICOM file whose compressed pixels are of another size than it says", COPY_AGAIN
        )


def _check_rle(data: bytes, header: Header) -> None:
    """PS3.5, annex G: 16 numbers say where segments begin; of n bytes none unpacks to more than 64 n."""
    count = header.samples * header.bits_allocated // 8
    if len(data) < 64 or struct.unpack_from("<L", data)[0] != count:
        raise UnfitError(DAMAGED_DICOM, COPY_AGAIN)
    if len(data) > MAX_RLE_BYTES:
        raise UnfitError(f"is a DICOM file with {len(data) / 2**20:,.0f} MiB of RLE", "save it uncompressed")
    size = header.rows * header.columns * count
    if 64 * len(data) < size:
        raise UnfitError("is a DICOM file with fewer pixels than it claims", COPY_AGAIN)
    if 64 * len(data) > MAX_UNPACKED and _unpacked_size(data) > size + MAX_UNPACKED:
        raise UnfitError("is a DICOM file with more pixels than it claims", COPY_AGAIN)


def _unpacked_size(data: bytes) -> int:
    """How many bytes the segments of a frame in RLE unpack to."""
    position, size = 64, 0
    while position < len(data):
        control = data[position]
        if control < 128:
            size, position = size + control + 1, position + control + 2
        else:
            size, position = size + (257 - control if control > 128 else 0), position + 1 + (control > 128)
    return size


def _size_of_jpeg(data: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and samples in the frame header of a JPEG or JPEG-LS; None if there is none that is sound."""
    if data.count(b"\xff\xda") > MAX_SCANS:
        return None
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        kind, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if kind in _FRAME_HEADERS:
            rows, columns, samples = struct.unpack_from(">HHB", data, position + 5)
            return rows, columns, samples
        if kind == 0xDA or length < 2:
            return None
        position += 1 if kind == 0xFF else 2 + length
    return None


def _size_of_jpeg_2000(data: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and samples in the SIZ segment of a JPEG 2000 codestream; None for another, or one of many tiles."""
    start = _codestream(data) if data.startswith(_JP2) else 0
    if data[start : start + 4] != b"\xff\x4f\xff\x51" or len(data) < start + 42:
        return None
    width, height, left, top, tile_width, tile_height = struct.unpack_from(">6L", data, start + 8)
    samples = int.from_bytes(data[start + 40 : start + 42], "big")
    if not (tile_width and tile_height) or width <= left or height <= top:
        return None
    if -(-width // tile_width) * -(-height // tile_height) > MAX_TILES:
        return None
    return height - top, width - left, samples


def _codestream(data: bytes) -> int:
    """Where the first codestream begins in the boxes of a JP2, as some writers leave them in; the end if there is none."""
    position = 0
    for _ in range(_MAX_BOXES):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if kind == b"jp2c":
            return position + (16 if length == 1 else 8)
        if length < 8:
            break
        position += length
    return len(data)
