"""Stored values and what tables say of them."""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Shaped, UInt

from medjax.data.dicom.header import Header
from medjax.data.reading.listing import UnfitError

STRIP_ROWS = 64
"""Rows of an image that are looked up at once: NumPy makes indices of 64 bits of all of them."""

Values = Float64[np.ndarray, "value"]
Stored = UInt[np.ndarray, "height width"]


def stored_values(header: Header) -> Int64[np.ndarray, "value"]:
    """The value of each pattern of the stored bits, negative ones in two's complement."""
    patterns = np.arange(2**header.bits)
    half = 2 ** (header.bits - 1)
    return (patterns ^ half) - half if header.is_signed else patterns


def index_of(header: Header, pixels: Shaped[np.ndarray, "height width"]) -> Stored:
    """The place of each pixel in `stored_values`: its stored bits, without what else may be in the bits above."""
    if header.bits_allocated == 8 or pixels.dtype.itemsize == 1:
        return pixels.view(np.uint8) & np.uint8(2**header.bits - 1)
    return pixels.view(np.uint16) & np.uint16(2**header.bits - 1)


def look_up(table: Shaped[np.ndarray, "value ..."], stored: Stored) -> Shaped[np.ndarray, "height width ..."]:
    """The entry of the table for each pixel; in strips, as NumPy makes indices of 64 bits of them."""
    found = np.empty((*stored.shape, *table.shape[1:]), table.dtype)
    for start in range(0, len(stored), STRIP_ROWS):
        found[start : start + STRIP_ROWS] = table[stored[start : start + STRIP_ROWS]]
    return found


def look_up_entries(
    values: Int64[np.ndarray, "value"], descriptor: Any, data: Any, header: Header
) -> tuple[Values, int]:
    """The entry of a lookup table for each value, and the bits of an entry; the first and last stand for what is beyond.

    `descriptor` and `data` are the values of the tags, as pydicom gives them; UnfitError where they make no table.
    """
    try:
        count, first, bits = (int(number) for number in descriptor)
        packed = _little_endian(data, header.is_little_endian)
    except (TypeError, ValueError, OverflowError):
        raise UnfitError("is a DICOM file with a lookup table that is none", "export it again") from None
    count = count or 2**16
    entries = np.frombuffer(packed, np.uint8) if len(packed) < 2 * count else np.frombuffer(packed, "<u2")
    if len(entries) < count or not 8 <= bits <= 16:
        raise UnfitError("is a DICOM file with a lookup table that is cut off", "export it again")
    if header.is_signed and first >= 2**15:
        first -= 2**16
    return entries[np.clip(values - first, 0, count - 1)].astype(np.float64), bits


def _little_endian(data: Any, is_little_endian: bool) -> bytes:
    """The bytes of a table, of whose words of 16 bits pydicom may have made numbers."""
    if isinstance(data, bytes):
        return (
            data
            if is_little_endian
            else np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()
        )
    return (np.array(data, np.int64).ravel() % 2**16).astype("<u2").tobytes()
