"""Decode plain JPEGs in batches, with the same pixels and digests as `decode_image` gives one by one.

A plain JPEG is baseline, gray or YCbCr, with nothing in its header but what a decoder needs: no EXIF, no color profile,
no second picture. Nearly all files of data sets are plain, and Pillow takes three times as long to open one as to
decode it. Everything else, and whatever makes the decoder warn, is left to `decode_image`, the only one to refuse.

Format: ITU-T T.81, https://www.w3.org/Graphics/JPEG/itu-t81.pdf, annex B
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8
from PIL import features

from medjax.config import DataConfig
from medjax.data.decoding.headers import JPEG_SIGNATURE
from medjax.data.decoding.image import DecodedStack, digest_stack
from medjax.data.decoding.resize import fit_stack

# Some builds of Pillow use another library than libjpeg-turbo, which rounds differently.
_SAME_BITS = features.version_feature("libjpeg_turbo") is not None

_MAX_HEADER_BYTES = 4096
_MAX_PIXELS = 2**20
_STACK_BYTES = 2**24  # pixels at full size in memory at once
_COLORSPACES = {1: "GRAY", 3: "RGB"}

_START_OF_SCAN = b"\xff\xda"
_START_OF_FRAME, _JFIF = 0xC0, 0xE0
_HARMLESS = {0xC4, 0xDB, 0xDD, 0xFE}  # Huffman tables, quantization tables, restart interval, comment

Shape = tuple[int, int, int]


def decode_plain(images: Sequence[bytes], config: DataConfig) -> Iterator[tuple[Sequence[int], DecodedStack]]:
    """Decode the plain JPEGs among `images`, in stacks with their positions; damaged ones are left out."""
    positions: dict[Shape, list[int]] = {}
    for position, data in enumerate(images):
        if (shape := plain_shape(data)) is not None:
            positions.setdefault(shape, []).append(position)
    for shape, alike in positions.items():
        if shape[0] * shape[1] / 1e6 > config.max_megapixels:
            continue
        size = max(1, _STACK_BYTES // (shape[0] * shape[1] * shape[2]))
        for start in range(0, len(alike), size):
            decoded, full = _decode_alike(images, alike[start : start + size], shape)
            if decoded:
                pixels, changes = fit_stack(full, config)
                yield decoded, DecodedStack(pixels, digest_stack(full), changes, (shape[1], shape[0]))


def plain_shape(data: bytes) -> Shape | None:
    """Height, width and channels (1 or 3) from the header of a plain JPEG; None for anything else."""
    if not _SAME_BITS or not data.startswith(JPEG_SIGNATURE) or data.count(_START_OF_SCAN) != 1:
        return None
    end = data.find(_START_OF_SCAN, 0, _MAX_HEADER_BYTES)
    return _read_header(data[:end]) if end > 0 else None


@lru_cache(maxsize=256)  # files written by one program have the same header
def _read_header(header: bytes) -> Shape | None:
    """The shape from the segments before the start of scan; None unless all are of known kinds and sound lengths."""
    shape, is_jfif, position = None, False, 2
    while position < len(header):
        if position + 4 > len(header) or header[position] != 0xFF:
            return None
        kind, length = header[position + 1], int.from_bytes(header[position + 2 : position + 4], "big")
        segment = header[position + 4 : position + 2 + length]
        if len(segment) != length - 2:
            return None
        if kind == _START_OF_FRAME and shape is None:
            shape = _read_frame(segment)
        elif kind == _JFIF and segment.startswith(b"JFIF\0") and len(segment) >= 14:
            is_jfif = True  # so colors, if any, are YCbCr
        elif kind not in _HARMLESS:
            return None
        position += 2 + length
    return shape if is_jfif else None


def _read_frame(segment: bytes) -> Shape | None:
    if len(segment) < 6 or segment[0] != 8 or segment[5] not in _COLORSPACES:
        return None
    height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    is_sound = len(segment) == 6 + 3 * segment[5] and 0 < height * width <= _MAX_PIXELS
    return (height, width, segment[5]) if is_sound else None


def _decode_alike(
    images: Sequence[bytes], positions: Sequence[int], shape: Shape
) -> tuple[list[int], UInt8[np.ndarray, "n height width channel"]]:
    """Positions and pixels of the images that decode without a warning; all are of one shape."""
    import simplejpeg  # which a minimal installation may lack

    full = np.empty((len(positions), *shape), np.uint8)
    decoded: list[int] = []
    for position in positions:
        try:
            simplejpeg.decode_jpeg(images[position], _COLORSPACES[shape[2]], buffer=full[len(decoded)])
        except ValueError:
            continue
        decoded.append(position)
    return decoded, full[: len(decoded)]
