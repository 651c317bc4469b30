"""Find the data elements of a DICOM file that an image needs, before pydicom parses them.

pydicom cannot replace this: it inflates a deflated file without a limit, follows sequences of any depth, and makes objects
of millions of elements. Here the whole file is walked once, with every number bounded, and only what is wanted is kept.

Format: DICOM PS3.5 2024d, sections 7 and A; PS3.10, section 7.
"""

import struct
import zlib
from typing import NamedTuple

from medjax.data.dicom.signature import LONG_TYPES, MAGIC, PREAMBLE, SHORT_TYPES
from medjax.data.reading.listing import (
    ALWAYS_UNPACKED_BYTES,
    COPY_AGAIN,
    DAMAGED_DICOM,
    MAX_FILE_BYTES,
    MAX_UNPACKED_TIMES,
    UnfitError,
)

MAX_ELEMENTS = 200_000
"""Of a file, those inside sequences included: an enhanced CT of 1,000 slices has about 60,000."""
MAX_DEPTH = 32
"""Of sequences inside sequences; reports have about ten."""
MAX_VALUE_BYTES = 4_096
MAX_TABLE_BYTES = 2**20
"""Of a lookup table: 65,536 entries of 16 bits take an eighth."""
MAX_FRAGMENTS = 100_000
"""Of compressed pixels, which may come in pieces."""

IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
)
NATIVE = (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN)
"""Transfer syntaxes whose pixels are not compressed."""

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SYNTAX, _PIXELS = 0x00020010, 0x7FE00010
_OTHER_PIXELS = (0x7FE00008, 0x7FE00009)
_UNDEFINED = 0xFFFFFFFF
_WANTED = frozenset(
    [
        *(0x00080005, 0x00080016, 0x00080018, 0x00080060, 0x00100020, 0x0020000D),  # what it is, and of whom
        *(0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011),  # shape and colors
        *(0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280120, 0x00280121),  # bits and padding
        *(
            0x00280301,
            0x00281050,
            0x00281051,
            0x00281052,
            0x00281053,
            0x00281054,
            0x00281056,
        ),  # rescaling, window
        *(0x00281101, 0x00281102, 0x00281103),  # sizes of the palette
    ]
)
_TABLES = frozenset((0x00281201, 0x00281202, 0x00281203, 0x00283000, 0x00283010))


class Elements(NamedTuple):
    """What is kept of a file."""

    transfer_syntax: str  # a UID, "" where the file states none
    is_implicit: bool  # whether types are left out of the encoding
    is_little_endian: bool
    kept: bytes  # the wanted elements, in the encoding of the file
    tags: frozenset[int]  # of all elements that are not inside others
    pixels: bytes | None  # the value of Pixel Data; None if there is none


def read_elements(data: bytes, *, has_pixels: bool = True) -> Elements:
    """The elements that an image needs; raises UnfitError for a file that is damaged or larger than it says.

    Without `has_pixels` it stops before the pixels.
    """
    has_preamble = data[PREAMBLE : PREAMBLE + 4] == MAGIC
    position = PREAMBLE + 4 if has_preamble else 0
    walk = _Walk(data, "<")
    syntax = ""
    while data[position : position + 2] == b"\x02\0":
        element = walk.element(position, is_implicit=False)
        position = walk.end_of(element)
        if element.tag == _SYNTAX:
            syntax = data[element.start : position].rstrip(b"\0 ").decode("ascii", "replace")
    if syntax == DEFLATED:
        data, position = _inflate(data[position:]), 0
    return _read_dataset(data, position, syntax, has_pixels)


def _inflate(data: bytes) -> bytes:
    limit = min(MAX_FILE_BYTES, ALWAYS_UNPACKED_BYTES + MAX_UNPACKED_TIMES * len(data))
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        unpacked = unpacker.decompress(data, limit + 1)
    except zlib.error:
        raise UnfitError(DAMAGED_DICOM, COPY_AGAIN) from None
    if len(unpacked) > limit:
        remedy = "looks like a decompression bomb; save it uncompressed"
        raise UnfitError(
            f"is a deflated DICOM file that unpacks to more than {limit / 2**20:,.0f} MiB", remedy
        )
    if not unpacker.eof:
        raise UnfitError(DAMAGED_DICOM, COPY_AGAIN)
    return unpacked


def _read_dataset(data: bytes, position: int, syntax: str, has_pixels: bool) -> Elements:
    order = ">" if syntax == BIG_ENDIAN or data[position : position + 1] == b"\0" else "<"
    # By the first element, whatever the file says of itself: some are wrong, and pydicom goes by it too.
    is_implicit = data[position + 4 : position + 6] not in SHORT_TYPES | LONG_TYPES
    walk = _Walk(data, order)
    kept: list[bytes] = []
    tags: set[int] = set()
    pixels = None
    while position < len(data) and pixels is None:
        element = walk.element(position, is_implicit)
        tag, first = element.tag, position
        if tag in tags:
            raise UnfitError("is a DICOM file with an element that is there twice", COPY_AGAIN)
        if tag in _OTHER_PIXELS:
            raise UnfitError("is a DICOM file with floating-point pixels", "export it with whole numbers")
        tags.add(tag)
        if tag == _PIXELS and not has_pixels:
            break
        if tag == _PIXELS:
            is_open = element.length == _UNDEFINED
            position = walk.end_of_fragments(element.start) if is_open else walk.end_of(element)
            pixels = data[element.start : position]
            break
        position = walk.end_of(element)
        if tag in _WANTED or tag in _TABLES:
            _require_small(tag, position - first)
            kept.append(data[first:position])
    return Elements(syntax, is_implicit, order == "<", b"".join(kept), frozenset(tags), pixels)


def _require_small(tag: int, size: int) -> None:
    limit = MAX_TABLE_BYTES if tag in _TABLES else MAX_VALUE_BYTES
    if size > limit:
        name = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
        raise UnfitError(f"is a DICOM file whose element {name} has {size:,} bytes", f"at most {limit:,}")


class _Element(NamedTuple):
    tag: int
    start: int  # of its value
    length: int
    is_implicit: bool  # the encoding inside, if it is a sequence


class _Walk:
    """Steps over the elements of a data set."""

    def __init__(self, data: bytes, order: str) -> None:
        self._data = data
        self._tag = struct.Struct(order + "HH")
        self._size, self._short = struct.Struct(order + "L"), struct.Struct(order + "H")
        self._steps = 0

    def element(self, position: int, is_implicit: bool) -> _Element:
        """The element at `position`."""
        self._steps += 1
        if self._steps > MAX_ELEMENTS:
            raise UnfitError("is a DICOM file with too many elements", f"at most {MAX_ELEMENTS:,}")
        data = self._data
        try:
            group, number = self._tag.unpack_from(data, position)
            tag = group << 16 | number
            kind = data[position + 4 : position + 6]
            if is_implicit or group == 0xFFFE:
                return _Element(tag, position + 8, self._size.unpack_from(data, position + 4)[0], is_implicit)
            if kind in SHORT_TYPES:
                return _Element(tag, position + 8, self._short.unpack_from(data, position + 6)[0], False)
            if kind in LONG_TYPES:
                # PS3.5, 6.2.2: a sequence of unknown type is implicit inside.
                length = self._size.unpack_from(data, position + 8)[0]
                return _Element(tag, position + 12, length, kind == b"UN")
        except struct.error:
            pass
        raise UnfitError(DAMAGED_DICOM, COPY_AGAIN)

    def end_of(self, element: _Element, depth: int = 0) -> int:
        """Where an element ends; one of undefined length is a sequence."""
        if element.length == _UNDEFINED:
            return self._end_of_sequence(element.start, element.is_implicit, depth + 1)
        end = element.start + element.length
        if end > len(self._data):
            raise UnfitError(DAMAGED_DICOM, COPY_AGAIN)
        return end

    def _end_of_sequence(self, position: int, is_implicit: bool, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise UnfitError("is a DICOM file with sequences inside sequences", f"at most {MAX_DEPTH} deep")
        while True:
            item = self.element(position, is_implicit)
            if item.tag == _SEQUENCE_END:
                return item.start
            if item.tag != _ITEM:
                raise UnfitError(DAMAGED_DICOM, COPY_AGAIN)
            is_open = item.length == _UNDEFINED
            position = self._end_of_item(item, depth) if is_open else self.end_of(item)

    def _end_of_item(self, item: _Element, depth: int) -> int:
        position = item.start
        while True:
            element = self.element(position, item.is_implicit)
            if element.tag == _ITEM_END:
                return element.start
            position = self.end_of(element, depth)

    def end_of_fragments(self, position: int) -> int:
        """Where compressed pixels end; without the mark of their end, as some writers leave it out, that of the file."""
        for _ in range(MAX_FRAGMENTS):
            if position == len(self._data):
                return position
            fragment = self.element(position, is_implicit=False)
            if fragment.tag == _SEQUENCE_END:
                return position
            if fragment.tag != _ITEM or fragment.length == _UNDEFINED:
                raise UnfitError(DAMAGED_DICOM, COPY_AGAIN)
            position = self.end_of(fragment)
        raise UnfitError(
            "is a DICOM file with compressed pixels in too many pieces", f"at most {MAX_FRAGMENTS:,}"
        )
