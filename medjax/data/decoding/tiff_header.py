"""Check the directory of a TIFF before Pillow decodes it.

A TIFF may hold many pages, any number type, and compressed pieces in any place and of any claimed size. Only what is one
plain picture is let through, so that neither Pillow nor libtiff meets the rest.

Format: Adobe, "TIFF Revision 6.0", 1992, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

import contextlib
import struct
from typing import NamedTuple

from medjax.data.reading.listing import COPY_AGAIN, UnfitError

LITTLE, BIG = b"II*\0", b"MM\0*"
BIG_TIFFS = (b"II+\0", b"MM\0+")
MAX_ENTRIES = 1_000
# Of all tags together: the places of 65,536 strips take half a MiB, a color profile a few.
MAX_TAG_BYTES = 16 * 2**20
# Pillow reads 64 KiB for each, and libtiff makes room for a whole one, however small the image is.
MAX_PIECES = 65_536
MAX_TILE_PIXELS = 2**24
MAX_JPEG_SCANS = 32  # beyond one for each piece, as of a JPEG

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _DESCRIPTION = 256, 257, 258, 259, 262, 270
_STRIP_OFFSETS, _STRIP_COUNTS, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = (
    273,
    279,
    322,
    323,
    324,
    325,
)
_SAMPLE_FORMAT, _INNER = 339, (34665, 34853, 40965)  # of EXIF, GPS and interoperability
_HAMAMATSU = 65420
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I"}  # types of whole numbers
# None, CCITT fax, LZW, JPEG, deflate by either number, PackBits; of others libtiff knows some, with limits of their own.
_PLAIN, _JPEG, _COMPRESSIONS = 1, 7, (1, 2, 3, 4, 5, 7, 8, 32_946, 32_773)
_BIT_DEPTHS = (1, 2, 4, 8, 12, 16)
TILES = "cut it into tiles (PNG, JPEG), a folder for each slide, and keep a patient's in one part: --group-pattern"
"""What to do with a whole slide."""


class Tag(NamedTuple):
    """An entry of a directory."""

    kind: int
    length: int  # in values
    start: int  # of these in the file


class _TruncatedError(UnfitError):
    """Something lies behind the end of the file."""

    def __init__(self) -> None:
        super().__init__("is truncated", COPY_AGAIN)


class TiffHeader(NamedTuple):
    """What is known of a TIFF that may be decoded."""

    bit_depth: int
    size: tuple[int, int]  # width, height, before it is turned upright


def read_tiff(data: bytes) -> TiffHeader:
    """The bit depth and size of a TIFF of one picture; raises UnfitError for any other, and for a damaged one."""
    if data.startswith(BIG_TIFFS):
        raise UnfitError("is a BigTIFF, as whole slides are", TILES)
    order = "<" if data.startswith(LITTLE) else ">"
    if len(data) < 8:
        raise _TruncatedError
    budget = [MAX_TAG_BYTES]
    tags, following = _read_directory(data, order, struct.unpack_from(order + "I", data, 4)[0], budget)
    _check_pages(data, tags, is_first_of_several=following != 0)
    numbers = {number: _values(data, order, tag) for number, tag in tags.items()}
    for number in _INNER:
        for place in numbers.get(number, ())[:1]:
            _check_inner(data, order, place, budget)
    sides = [numbers.get(number, ()) for number in (_WIDTH, _HEIGHT)]
    if not all(len(side) == 1 for side in sides):
        raise UnfitError("is damaged: it does not say its size", COPY_AGAIN)
    bit_depth = _bit_depth(numbers)
    _check_pieces(data, numbers)
    return TiffHeader(bit_depth, (sides[0][0], sides[1][0]))


def _read_directory(data: bytes, order: str, position: int, budget: list[int]) -> tuple[dict[int, Tag], int]:
    """The tags of the directory at `position`, and the position of the next one; `budget` is of bytes that tags may take."""
    if position + 2 > len(data):
        raise _TruncatedError
    (count,) = struct.unpack_from(order + "H", data, position)
    end = position + 2 + 12 * count
    if end > len(data):
        raise _TruncatedError
    tags: dict[int, Tag] = {}
    if count > MAX_ENTRIES:
        raise UnfitError(f"has a directory of {count:,} tags", f"at most {MAX_ENTRIES:,}: export it again")
    for place in range(position + 2, end, 12):
        number, kind, length = struct.unpack_from(order + "HHI", data, place)
        size = _SIZES.get(kind, 0) * length
        start = place + 8 if size <= 4 else struct.unpack_from(order + "I", data, place + 8)[0]
        if start + size > len(data):
            raise _TruncatedError
        budget[0] -= size
        if budget[0] < 0:
            raise UnfitError(
                f"has tags of more than {MAX_TAG_BYTES / 2**20:.0f} MiB", "export it without them"
            )
        tags[number] = Tag(kind, length, start)
    following = struct.unpack_from(order + "I", data, end)[0] if end + 4 <= len(data) else 0
    return tags, following


def _check_inner(data: bytes, order: str, position: int, budget: list[int]) -> None:
    """Refuse directories inside that would keep Pillow busy; it passes over damaged ones."""
    with contextlib.suppress(_TruncatedError):
        _read_directory(data, order, position, budget)


def _values(data: bytes, order: str, tag: Tag) -> tuple[int, ...]:
    """The values of a tag of whole numbers; none of another."""
    if (code := _NUMBERS.get(tag.kind)) is None:
        return ()
    return struct.unpack_from(f"{order}{tag.length}{code}", data, tag.start)


def _check_pages(data: bytes, tags: dict[int, Tag], *, is_first_of_several: bool) -> None:
    """Refuse whole slides, and several pages."""
    about = tags.get(_DESCRIPTION)
    is_aperio = about is not None and data[about.start : about.start + 6] == b"Aperio"
    if is_aperio or _HAMAMATSU in tags or (is_first_of_several and _TILE_WIDTH in tags):
        raise UnfitError("is a whole slide, not an image", TILES)
    if is_first_of_several:
        raise UnfitError("contains more than one image", "export the one that you want")


def _bit_depth(numbers: dict[int, tuple[int, ...]]) -> int:
    """Bits per sample; UnfitError for numbers that are no gray levels as Pillow reads them."""
    if set(numbers.get(_SAMPLE_FORMAT, (1,))) != {1}:
        remedy = "save them as whole numbers from 0, of 8 or 16 bits"
        raise UnfitError("has values that are negative or no whole numbers", remedy)
    bits = numbers.get(_BITS, (1,))
    if not bits or len(set(bits)) > 1 or bits[0] not in _BIT_DEPTHS:
        text = " and ".join(map(str, sorted(set(bits))[:3])) or "no"
        raise UnfitError(f"has {text} bits per sample", "save it with 8 or 16")
    if bits[0] > 8 and numbers.get(_PHOTOMETRIC, (1,))[:1] == (0,):
        raise UnfitError("has 0 for white, and more than 8 bits", "save it with 0 for black")
    return bits[0]


def _check_pieces(data: bytes, numbers: dict[int, tuple[int, ...]]) -> None:
    """Refuse strips and tiles that are not there, lie about their size, or are decoded many times over."""
    compression = numbers.get(_COMPRESSION, (_PLAIN,))[:1]
    if compression and compression[0] not in _COMPRESSIONS:
        remedy = "save it uncompressed, or by LZW, deflate or JPEG"
        raise UnfitError(f"is compressed by method {compression[0]}, which is not read", remedy)
    is_tiled = _TILE_OFFSETS in numbers
    offsets = numbers.get(_TILE_OFFSETS if is_tiled else _STRIP_OFFSETS, ())
    counts = numbers.get(_TILE_COUNTS if is_tiled else _STRIP_COUNTS, ())
    if not offsets:
        raise UnfitError("is damaged: it holds no pixels", COPY_AGAIN)
    if len(offsets) > MAX_PIECES:
        raise UnfitError(
            f"has {len(offsets):,} strips or tiles", f"at most {MAX_PIECES:,}: export it with larger ones"
        )
    sides = [numbers.get(number, (0,))[:1] for number in (_TILE_WIDTH, _TILE_HEIGHT)]
    if is_tiled and not all(sides):
        raise UnfitError("is damaged: it does not say the size of its tiles", COPY_AGAIN)
    if is_tiled and not 0 < sides[0][0] * sides[1][0] <= MAX_TILE_PIXELS:
        raise UnfitError(
            f"has tiles of {sides[0][0]}×{sides[1][0]} pixels",
            f"at most {MAX_TILE_PIXELS:,}: export it again",
        )
    if len(counts) != len(offsets) and compression != (_PLAIN,):
        raise UnfitError("is damaged: it does not say how long its pieces are", COPY_AGAIN)
    if any(start + size > len(data) for start, size in zip(offsets, counts, strict=False)):
        raise _TruncatedError
    if sum(counts) > len(data):
        raise UnfitError("is damaged: its strips or tiles overlap", COPY_AGAIN)
    if compression == (_JPEG,) and data.count(b"\xff\xda") > len(offsets) + MAX_JPEG_SCANS:
        raise UnfitError(f"is a JPEG with more than {MAX_JPEG_SCANS} scans", "export it again")
