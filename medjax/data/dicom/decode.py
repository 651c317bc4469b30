"""Decode one DICOM file as the data set stores it.

The size that the header claims is compared with the pixels before anything is decoded, that of compressed pixels with what
their own header says: a decoder would believe it.
"""

import hashlib
import struct
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from medjax.config import DataConfig
from medjax.data.decoding.image import DecodedImage, check_size, digest
from medjax.data.decoding.resize import fit
from medjax.data.dicom.elements import NATIVE
from medjax.data.dicom.frames import MAX_FRAMES
from medjax.data.dicom.header import Header, quiet_pydicom, read_header, require_pydicom
from medjax.data.dicom.levels import make_levels
from medjax.data.dicom.signature import split_mark
from medjax.data.dicom.stored import STRIP_ROWS, Stored, index_of, look_up, look_up_entries, stored_values
from medjax.data.dicom.subject import subject_of
from medjax.data.reading.listing import UnfitError
from medjax.errors import RefusedError

_JPEG, _JPEG_LOSSLESS, _JPEG_LS, _JPEG_2000 = (
    tuple(f"1.2.840.10008.1.2.4.{number}" for number in numbers)
    for numbers in ((50, 51), (57, 70), (80, 81), (90, 91, 201, 202, 203))
)
_RLE = "1.2.840.10008.1.2.5"
_VIDEO = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109))
_FRAME_HEADERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xF7}  # of JPEG and JPEG-LS: a start of frame, with the size
MAX_TILES = 4_096
"""Of JPEG 2000: its decoder takes 6 kB for each before it decodes one."""
MAX_DECODED = 64 * 10**6
"""Samples of JPEG 2000: its decoder takes 4 bytes for each, and a copy."""
MAX_RLE_BYTES = 32 * 2**20
"""Of a frame in RLE, which is unpacked in Python."""
MAX_SCANS = 32
"""Of a JPEG, as `decoding.headers` allows."""
_JP2, _MAX_BOXES = b"\0\0\0\x0cjP  ", 64
_DAMAGED = "is a DICOM file that is damaged or truncated"
_AGAIN = "copy or export it again"


def decode_dicom(data: bytes, config: DataConfig) -> DecodedImage:
    """Decode a DICOM file to a square of `config.image_size` pixels; raises UnfitError with reason and remedy.

    Raises RefusedError where pydicom is not installed. No message holds the value of a tag.
    """
    require_pydicom()
    try:
        with quiet_pydicom():
            return _decode(data, config)
    except (UnfitError, RefusedError):
        raise
    except MemoryError:
        raise UnfitError("does not fit into memory", "make it smaller") from None
    except Exception:  # of pydicom and its decoders: many types, with values of tags in their texts
        raise UnfitError(_DAMAGED, _AGAIN) from None


def _decode(data: bytes, config: DataConfig) -> DecodedImage:
    wanted, data = split_mark(data)
    header = read_header(data)
    frame = _choose_frame(header, config) if wanted is None else wanted
    if frame >= header.frames:
        raise UnfitError(_DAMAGED, _AGAIN)
    check_size(header.columns, header.rows, config.max_megapixels)
    pixels = _decode_frame(header, frame)
    subject = subject_of(header.tags)
    size = header.columns, header.rows
    if header.is_gray:
        stored = index_of(header, pixels)
        made = make_levels(header, stored, config)
        changes = (made.rule, *["inverted"] * made.is_inverted)
        gray = look_up(np.rint(made.levels * 255).astype(np.uint8), stored)
        found = _digest_stored(header, stored, made.span)
        fitted, more = fit(Image.fromarray(gray), config)
        return DecodedImage(fitted, found, (*changes, *more), size, subject=subject)
    colors = look_up(_palette(header), index_of(header, pixels)) if header.is_palette else pixels
    fitted, more = fit(Image.fromarray(np.ascontiguousarray(colors)), config)
    return DecodedImage(fitted, digest(colors), ("colored", *more), size, subject=subject)


def _choose_frame(header: Header, config: DataConfig) -> int:
    if header.frames > 1 and config.frames == "refuse":
        remedy = "take the one in the middle, --frames middle, or each as an image, --frames all"
        raise UnfitError(f"is a DICOM file with {header.frames:,} frames", remedy)
    if header.frames > 1 and config.frames == "all":  # else each would be marked
        raise UnfitError(f"is a DICOM file with {header.frames:,} frames", f"at most {MAX_FRAMES:,}")
    return header.frames // 2 if header.frames > 1 else 0


def _digest_stored(header: Header, stored: Stored, span: tuple[float, float]) -> UInt8[np.ndarray, "32"]:
    """sha256 of an image's stored values and what they mean, so that a copy in another encoding is the same image."""
    state = hashlib.sha256(repr((header.rows, header.columns, header.bits, header.colors, *span)).encode())
    for start in range(0, len(stored), STRIP_ROWS):
        state.update(stored[start : start + STRIP_ROWS].astype("<u2", order="C").data)
    return np.frombuffer(state.digest(), np.uint8)


def _palette(header: Header) -> UInt8[np.ndarray, "value 3"]:
    """The color of each stored value."""
    tags, columns = header.tags, []
    for color in ("Red", "Green", "Blue"):
        name = f"{color}PaletteColorLookupTable"
        if tags.get(f"{name}Data") is None:
            raise UnfitError("is a DICOM file with a segmented palette", "export it as RGB")
        entries, bits = look_up_entries(
            stored_values(header), tags.get(f"{name}Descriptor"), tags.get(f"{name}Data"), header
        )
        columns.append(np.minimum(entries // 2 ** (bits - 8), 255).astype(np.uint8))
    return np.stack(columns, axis=1)


def _decode_frame(header: Header, frame: int) -> Shaped[np.ndarray, "..."]:
    """The stored values of a frame, (rows, columns), or RGB."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    if header.transfer_syntax in NATIVE:
        source, index = _native_frame(header, frame), 0
    else:
        _require_decoder(header)
        source, index = header.pixels, frame
        _check_frame(_compressed_frame(header, frame), header)
    options: dict[str, Any] = {
        "rows": header.rows,
        "columns": header.columns,
        "samples_per_pixel": header.samples,
        "bits_allocated": header.bits_allocated,
        "bits_stored": header.bits,
        "pixel_representation": int(header.is_signed),
        "photometric_interpretation": header.colors,
        "number_of_frames": 1 if header.transfer_syntax in NATIVE else header.frames,
        "planar_configuration": int(header.tags.get("PlanarConfiguration") or 0),
        "pixel_keyword": "PixelData",
        "pixel_vr": "OW",
    }
    # For RLE pydicom's own: pylibjpeg-rle, if it is installed, panics over damaged data.
    plugin = "pydicom" if header.transfer_syntax == _RLE else ""
    decoder = get_decoder(UID(header.transfer_syntax))
    values, described = decoder.as_array(source, index=index, decoding_plugin=plugin, **options)
    if header.samples == 3 and described["photometric_interpretation"] != "RGB":
        raise UnfitError("is a DICOM file whose colors cannot be made RGB", "export it as RGB")
    if values.itemsize > 2:
        raise UnfitError(_DAMAGED, _AGAIN)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _native_frame(header: Header, frame: int) -> bytes:
    """The bytes of a frame that is not compressed; UnfitError unless all frames that the header claims are there."""
    samples = 2 if header.colors == "YBR_FULL_422" else header.samples  # a color for each two pixels
    size = header.rows * header.columns * samples * (header.bits_allocated // 8)
    if len(header.pixels) < size * header.frames:
        raise UnfitError("is a DICOM file with fewer pixels than it claims", _AGAIN)
    data = header.pixels[frame * size : (frame + 1) * size]
    return data + b"\0" * (size % 2)


def _compressed_frame(header: Header, frame: int) -> bytes:
    from pydicom.encaps import get_frame

    return bytes(get_frame(header.pixels, frame, number_of_frames=header.frames))


def _require_decoder(header: Header) -> None:
    """UnfitError for a compression that nothing here decodes."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    syntax = header.transfer_syntax
    if syntax in _VIDEO:
        raise UnfitError("is a DICOM file with a video", "export the frames that you want")
    if syntax in _JPEG_2000 and header.samples * header.rows * header.columns > MAX_DECODED:
        reason = f"is a DICOM file in JPEG 2000 of {header.columns}×{header.rows} pixels in color"
        raise UnfitError(reason, f"at most {MAX_DECODED // 3e6:g} megapixels; save it uncompressed")
    if syntax in _JPEG and header.bits > 8:
        raise UnfitError("is a DICOM file in JPEG of 12 bits", "save it uncompressed")
    known = (*_JPEG, *_JPEG_LOSSLESS, *_JPEG_LS, *_JPEG_2000, _RLE)
    if syntax not in known:
        raise UnfitError(
            "is a DICOM file in an encoding (transfer syntax) that is not known", "save it uncompressed"
        )
    if not get_decoder(UID(syntax)).is_available:
        name, remedy = "an encoding that is not installed", "pip install 'medjax[dicom]'"
        if syntax in _JPEG_LOSSLESS:
            name, remedy = "JPEG Lossless", "pip install python-gdcm, or save it uncompressed"
        raise UnfitError(f"is a DICOM file in {name}", remedy)


def _check_frame(data: bytes, header: Header) -> None:
    """UnfitError where compressed pixels are of another size than the header of the file says."""
    syntax = header.transfer_syntax
    if syntax == _RLE:
        _check_rle(data, header)
        return
    size = _size_of_jpeg_2000(data) if syntax in _JPEG_2000 else _size_of_jpeg(data)
    if size != (header.rows, header.columns, header.samples):
        raise UnfitError("is a DICOM file whose compressed pixels are of another size than it says", _AGAIN)


def _check_rle(data: bytes, header: Header) -> None:
    """PS3.5, annex G: 16 numbers say where segments begin; of n bytes none unpacks to more than 64 n."""
    count = header.samples * header.bits_allocated // 8
    if len(data) < 64 or struct.unpack_from("<L", data)[0] != count:
        raise UnfitError(_DAMAGED, _AGAIN)
    if len(data) > MAX_RLE_BYTES:
        raise UnfitError(f"is a DICOM file with {len(data) / 2**20:,.0f} MiB of RLE", "save it uncompressed")
    if 64 * len(data) < header.rows * header.columns * count:
        raise UnfitError("is a DICOM file with fewer pixels than it claims", _AGAIN)


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
