"""What the header of a DICOM file says of its image; files that hold none, or none that can be taken rightly, are refused.

The value of a tag is never a part of a message: it may name a patient.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from medjax.data.dicom.elements import BIG_ENDIAN, EXPLICIT, Elements, read_elements
from medjax.data.dicom.signature import is_dicom
from medjax.data.reading.listing import UnfitError
from medjax.errors import RefusedError, refuse

# Values of Modality, (0008,0060), of what is no image.
_NO_IMAGES = {
    "SR": "a structured report",
    "KO": "a list of key images",
    "PR": "a presentation state",
    "SEG": "a segmentation",
    "REG": "a registration",
    "RTSTRUCT": "a set of contours",
    "RTPLAN": "a plan of radiotherapy",
    "RTDOSE": "a dose of radiotherapy",
    "RTRECORD": "a record of radiotherapy",
    "DOC": "a document",
    "ECG": "an electrocardiogram",
    "AU": "a sound",
}
_DIRECTORY_RECORDS = 0x00041220
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_SCANNERS = ("CT", "MR", "PT", "NM")  # X-rays are stored as secondary captures as well
_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
# Enhanced CT, MR, PET and XA, whose rescaling and windows may differ by frame, in sequences.
_ENHANCED = tuple(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("2.1", "2.2", "4.1", "4.3", "4.4", "12.1.1", "130", "128.1")
)
_GRAY = ("MONOCHROME1", "MONOCHROME2")
_PALETTE = "PALETTE COLOR"
_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


class Header(NamedTuple):
    """What is needed to decode an image and to make gray levels of it."""

    tags: Any  # a pydicom Dataset
    transfer_syntax: str
    modality: str
    colors: str  # Photometric Interpretation
    rows: int
    columns: int
    samples: int  # 1 or 3
    bits: int  # stored, of 8 or 16 allocated
    bits_allocated: int
    is_signed: bool
    frames: int
    is_little_endian: bool
    pixels: bytes

    @property
    def is_gray(self) -> bool:
        """Whether the pixels are intensities, and neither colors nor indices of a palette."""
        return self.colors in _GRAY

    @property
    def is_palette(self) -> bool:
        """Whether the pixels are indices of a palette."""
        return self.colors == _PALETTE


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep what pydicom logs and warns of, which may hold values of tags, from everybody's eyes."""
    import logging
    import warnings

    logger = logging.getLogger("pydicom")
    before, logger.propagate = logger.propagate, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.propagate = before


def require_pydicom() -> None:
    """Raise RefusedError, of one line for a whole data set, where the extra is not installed."""
    try:
        import pydicom  # noqa: F401
    except ImportError:
        reason = "are read by pydicom and its decoders, which are not installed"
        raise refuse("DICOM files", reason, "pip install 'medjax[dicom]'") from None


def read_tags(elements: Elements) -> Any:
    """The elements as a pydicom Dataset."""
    from pydicom.filereader import read_dataset

    source = io.BytesIO(elements.kept)
    dataset = read_dataset(source, elements.is_implicit, elements.is_little_endian)
    dataset.set_original_encoding(elements.is_implicit, elements.is_little_endian)
    return dataset


def count_frames(data: bytes) -> int:
    """How many frames the header of a file claims; 1 of another or a damaged file."""
    names = read_names(data, ("NumberOfFrames",))
    number = "" if names is None else names["NumberOfFrames"]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else 1


def read_names(data: bytes, names: Sequence[str]) -> dict[str, str] | None:
    """The values of tags as texts, "" where absent; None for another or a damaged file. They may name a patient."""
    if not is_dicom(data):
        return None
    require_pydicom()
    try:
        with quiet_pydicom():
            tags = read_tags(read_elements(data, has_pixels=False))
            return {name: _text(tags, name) for name in names}
    except RefusedError:
        raise
    except Exception:  # of many types; what is wrong is said when the image is decoded
        return None


def read_header(data: bytes) -> Header:
    """The header of a file; UnfitError for one that holds no image, or one that could mislead."""
    elements = read_elements(data)
    tags = read_tags(elements)
    modality, sop_class = _text(tags, "Modality"), _text(tags, "SOPClassUID")
    _require_image(modality, sop_class, elements)
    if _text(tags, "BurnedInAnnotation") == "YES":
        reason = (
            "has writing in its pixels (BurnedInAnnotation is YES), which may tell the label or the patient"
        )
        raise UnfitError(reason, "mask it and set the tag to NO")
    header = Header(
        tags,
        elements.transfer_syntax or (EXPLICIT if elements.is_little_endian else BIG_ENDIAN),
        modality,
        _text(tags, "PhotometricInterpretation"),
        _whole(tags, "Rows"),
        _whole(tags, "Columns"),
        _whole(tags, "SamplesPerPixel", 1),
        _whole(tags, "BitsStored"),
        _whole(tags, "BitsAllocated"),
        _whole(tags, "PixelRepresentation", 0) == 1,
        _whole(tags, "NumberOfFrames", 1) or 1,
        elements.is_little_endian,
        elements.pixels or b"",
    )
    _require_known(header)
    return header


def _require_image(modality: str, sop_class: str, elements: Elements) -> None:
    kind = _NO_IMAGES.get(modality)
    if _DIRECTORY_RECORDS in elements.tags:
        kind = "a directory (DICOMDIR)"
    if kind is not None:
        raise UnfitError(f"is a DICOM file with {kind}, no image", "leave it out")
    if sop_class == _WHOLE_SLIDE or modality == "SM":
        raise UnfitError(
            "is a whole slide", "cut it into tiles and save them as PNG, for example by OpenSlide"
        )
    if not elements.pixels:
        raise UnfitError("is a DICOM file without pixels", "leave it out, or export it again")
    if modality in _SCANNERS and f"{sop_class}.".startswith(f"{_SECONDARY_CAPTURE}."):
        reason = "is a secondary capture, a picture of a screen, whose values are not those of the scanner"
        raise UnfitError(reason, "take the original image")
    if sop_class in _ENHANCED:
        remedy = "export it as one file for each slice (classic DICOM)"
        raise UnfitError("is an enhanced DICOM file, with many slices in one", remedy)


def _require_known(header: Header) -> None:
    """UnfitError for pixels of another kind than those that are decoded."""
    is_color = header.colors in _COLORS
    if not (is_color or header.is_gray or header.is_palette):
        raise UnfitError(
            "is a DICOM file in a color space that is not known", "export it as MONOCHROME2 or RGB"
        )
    if header.samples != (3 if is_color else 1):
        raise UnfitError("is a DICOM file whose color space and samples per pixel differ", "export it again")
    if header.bits_allocated not in (8, 16) or not 1 < header.bits <= header.bits_allocated:
        reason = f"is a DICOM file with {header.bits} bits stored in {header.bits_allocated}"
        raise UnfitError(reason, "export it with 2 to 16 bits, stored in 8 or 16")
    if is_color and header.bits_allocated != 8:
        raise UnfitError(
            "is a DICOM file in color with 16 bits per sample", "export it with 8 bits per sample"
        )
    if _whole(header.tags, "HighBit", header.bits - 1) != header.bits - 1:
        raise UnfitError("is a DICOM file whose pixels are not in their lowest bits", "export it again")


def _text(tags: Any, name: str) -> str:
    """The text of a tag without padding, "" where it is absent."""
    value = tags.get(name)
    return "" if value is None else str(value).strip("\0 ")


def _whole(tags: Any, name: str, default: int | None = None) -> int:
    """The whole number of a tag; UnfitError where it is absent without a `default`, or no such number."""
    value = tags.get(name)
    if value is None or value == "":
        value = default
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < 2**31:
        raise UnfitError(f"is a DICOM file without a number in {name}", "export it again")
    return number
