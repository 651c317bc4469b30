"""Decode one DICOM file as the data set stores it.

The size that the header claims is compared with the pixels before anything is decoded, that of compressed pixels with what
their own header says: a decoder would believe it.
"""

import hashlib
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt, UInt8
from PIL import Image

from medjax.config import DataConfig
from medjax.data.decoding.image import DecodedImage, check_size, digest
from medjax.data.decoding.resize import fit, fit_deep
from medjax.data.dicom.codestream import JPEG, JPEG_2000, JPEG_LOSSLESS, JPEG_LS, RLE, check_frame
from medjax.data.dicom.elements import NATIVE
from medjax.data.dicom.frames import MAX_FRAMES
from medjax.data.dicom.header import Header, quiet_pydicom, read_header, require_pydicom
from medjax.data.dicom.levels import make_levels
from medjax.data.dicom.signature import split_mark
from medjax.data.dicom.stored import (
    STRIP_ROWS,
    Stored,
    Values,
    index_of,
    look_up,
    look_up_entries,
    stored_values,
)
from medjax.data.dicom.subject import subject_of
from medjax.data.reading.listing import COPY_AGAIN, DAMAGED_DICOM, UnfitError
from medjax.errors import RefusedError

_VIDEO = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109))
MAX_DECODED = 64 * 10**6
"""Samples of JPEG 2000: its decoder takes 4 bytes for each, and a copy."""


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
        raise UnfitError(DAMAGED_DICOM, COPY_AGAIN) from None


def _decode(data: bytes, config: DataConfig) -> DecodedImage:
    wanted, data = split_mark(data)
    header = read_header(data)
    frame = _choose_frame(header, config) if wanted is None else wanted
    if frame >= header.frames:
        raise UnfitError(DAMAGED_DICOM, COPY_AGAIN)
    check_size(header.columns, header.rows, config.max_megapixels)
    pixels = _decode_frame(header, frame)
    subject = subject_of(header.tags)
    size = header.columns, header.rows
    if header.is_gray:
        stored = index_of(header, pixels)
        made = make_levels(header, stored, config)
        changes = (made.rule, *["inverted"] * made.is_inverted)
        gray = Image.fromarray(look_up(_in_bits(made.levels, config.depth), stored))
        found = _digest_stored(header, stored, made.span)
        fitted, more = fit(gray, config) if config.depth == 8 else fit_deep(gray, config)
        return DecodedImage(fitted, found, (*changes, *more), size, subject=subject)
    colors = look_up(_palette(header), index_of(header, pixels)) if header.is_palette else pixels
    fitted, more = fit(Image.fromarray(np.ascontiguousarray(colors)), config)
    return DecodedImage(fitted, digest(colors), ("colored", *more), size, subject=subject)


def _in_bits(levels: Values, bits: int) -> UInt[np.ndarray, "value"]:
    """Gray levels from 0 to 1 as whole numbers of 8 or 16 bits."""
    return np.rint(levels * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


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
        check_frame(_compressed_frame(header, frame), header)
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
    plugin = "pydicom" if header.transfer_syntax == RLE else ""
    decoder = get_decoder(UID(header.transfer_syntax))
    values, described = decoder.as_array(source, index=index, decoding_plugin=plugin, **options)
    if header.samples == 3 and described["photometric_interpretation"] != "RGB":
        raise UnfitError("is a DICOM file whose colors cannot be made RGB", "export it as RGB")
    if values.itemsize > 2:
        raise UnfitError(DAMAGED_DICOM, COPY_AGAIN)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _native_frame(header: Header, frame: int) -> bytes:
    """The bytes of a frame that is not compressed; UnfitError unless all frames that the header claims are there."""
    samples = 2 if header.colors == "YBR_FULL_422" else header.samples  # a color for each two pixels
    size = header.rows * header.columns * samples * (header.bits_allocated // 8)
    if len(header.pixels) < size * header.frames:
        raise UnfitError("is a DICOM file with fewer pixels than it claims", COPY_AGAIN)
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
    if syntax in JPEG_2000 and header.samples * header.rows * header.columns > MAX_DECODED:
        reason = f"is a DICOM file in JPEG 2000 of {header.columns}×{header.rows} pixels"
        most = MAX_DECODED / header.samples / 1e6
        raise UnfitError(reason, f"at most {most:.3g} megapixels; save it uncompressed")
    if syntax in JPEG and header.bits > 8:
        raise UnfitError("is a DICOM file in JPEG of 12 bits", "save it uncompressed")
    known = (*JPEG, *JPEG_LOSSLESS, *JPEG_LS, *JPEG_2000, RLE)
    if syntax not in known:
        raise UnfitError(
            "is a DICOM file in an encoding (transfer syntax) that is not known", "save it uncompressed"
        )
    if not get_decoder(UID(syntax)).is_available:
        name, remedy = "an encoding that is not installed", "pip install 'medjax[dicom]'"
        if syntax in JPEG_LOSSLESS:
            name, remedy = "JPEG Lossless", "pip install python-gdcm, or save it uncompressed"
        raise UnfitError(f"is a DICOM file in {name}", remedy)
