"""Decode one image, or take pixels from an array; all refusals of images are here.

Pixels are uint8, 0 to 255, rows from the top; uint16 of images of 16 bits, whose window may depend on all of them. Large
images stay inside Pillow until they are resized, and are digested in strips, so a 64-megapixel image takes its own size
in memory, or twice that if it is resized at 16 bits.
"""

import hashlib
import io
import math
import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt, UInt8
from PIL import ExifTags, Image

from medjax.config import DataConfig
from medjax.data.decoding.headers import Header, read_header
from medjax.data.decoding.resize import Size, fit, fit_deep
from medjax.data.decoding.silence import silent_stderr
from medjax.data.decoding.transparency import OPAQUE_MODES, alpha_of, laid_on, strips_of, without_alpha
from medjax.data.decoding.window import REPEATED, widened
from medjax.data.reading.listing import COPY_AGAIN, UnfitError

# The limit of JPEG. Pillow's table of coefficients to shrink a line of 64 million pixels would take a gigabyte.
MAX_SIDE = 65_535
# Pillow holds a WebP four times, so one of 16 megapixels takes as much memory as another image of 64.
_COPIES = {"WEBP": 4}
_LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue, as Pillow makes gray of RGB
SIXTEEN_BITS = "has 16 bits per sample"
"""Why an image is refused that an option would read."""
FOR_OTHER_IMAGES = ("refuse", "lung", "bone", "brain", "soft")
"""Windows that say nothing of the values of 16-bit PNGs."""

# Not ImageOps.exif_transpose: it rewrites the EXIF block, which raises for 3 of 1,000 damaged ones that can be read.
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_KEYS = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")


Pixels = UInt[np.ndarray, "height width channel"]
Digest = UInt8[np.ndarray, "32"]


class DecodedImage(NamedTuple):
    """One image as the data set stores it, and the changes made to it."""

    pixels: Pixels  # uint16 if the image has 16 bits
    digest: Digest  # sha256 of the pixels, upright, before color or size changes
    changes: tuple[str, ...]  # fields of LoadCounts
    size: Size  # upright, before it is changed
    largest: int = 0  # value at full size, of an image of 16 bits
    subject: bytes = b""  # digests of whose image it is, of a DICOM file: see `dicom.subject`

    def stacked(self) -> "DecodedStack":
        """The image as a stack of one."""
        return DecodedStack(
            self.pixels[None], self.digest[None], self.changes, self.size, self.largest, self.subject
        )


class DecodedStack(NamedTuple):
    """Images of one size, with the same number of channels and the same changes."""

    pixels: UInt[np.ndarray, "n height width channel"]
    digests: UInt8[np.ndarray, "n 32"]
    changes: tuple[str, ...]
    size: Size
    largest: int = 0
    subjects: bytes = b""  # of DICOM files only, which come one by one

    @property
    def waits_for_window(self) -> bool:
        """Whether these are values of 16 bits, of which the window of the set makes gray levels."""
        return "rescaled" in self.changes


def decode_image(data: bytes, config: DataConfig) -> DecodedImage:
    """Decode an image to the size and color of `config`; raises UnfitError with reason and remedy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about large images and damaged EXIF, both handled here
        try:
            return _decode(data, config)
        except UnfitError:
            raise
        except Image.DecompressionBombError:
            raise UnfitError("has more megapixels than Pillow opens, 178", "make it smaller") from None
        except MemoryError:
            raise UnfitError("does not fit into memory", "make it smaller") from None
        # Pillow raises a dozen types for damaged files, SyntaxError, struct.error and AssertionError among them.
        except Exception as error:
            is_unclear = isinstance(error, Image.UnidentifiedImageError) or not str(error)
            text = "Pillow cannot read it" if is_unclear else str(error)
            raise UnfitError(f"is damaged or truncated: {text}", COPY_AGAIN) from None


def _decode(data: bytes, config: DataConfig) -> DecodedImage:
    header = read_header(data)
    if header.bit_depth > 8 and config.window in FOR_OTHER_IMAGES:
        raise UnfitError(SIXTEEN_BITS, "choose --window auto, or --window LO HI")
    image, is_turned = _open(data, header, config.max_megapixels)
    method = _TRANSPOSE.get(_orientation(image))
    changes = []
    alpha = alpha_of(image, header.bit_depth)
    if alpha is not None:
        image = laid_on(image, alpha, config.background)
        changes.append("composited")
    if method is not None:
        image = image.transpose(method)
    if is_turned or method is not None:
        changes.append("reoriented")
    if header.bit_depth > 8:
        deep = _fit_sixteen_bits(image, config)
        return deep._replace(changes=(*changes, "rescaled", *deep.changes))
    image = without_alpha(image)
    pixels, more_changes = fit(image, config)
    return DecodedImage(pixels, _digest_image(image), (*changes, *more_changes), image.size)


def decode_pixels(pixels: UInt[np.ndarray, "height width channel"], config: DataConfig) -> DecodedImage:
    """Take pixels to the size and color of `config`: uint8 or uint16, 1 channel gray, 3 RGB."""
    height, width, channels = pixels.shape
    if pixels.dtype == np.uint16:
        deep = _fit_channels(pixels, config)
        return deep._replace(changes=("rescaled", *deep.changes))
    if config.color == "source" and (height, width) == config.sides:
        return DecodedImage(pixels, digest(pixels), (), (width, height))
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    fitted, changes = fit(image, config)
    return DecodedImage(fitted, digest(pixels), changes, (width, height))


def check_values(dtype: np.dtype, channels: int, config: DataConfig) -> None:
    """Raise UnfitError for pixels of another type than `decode_pixels` takes, or of 16 bits where no window is chosen."""
    if dtype == np.uint16 and channels == 1:
        if config.window in FOR_OTHER_IMAGES:
            raise UnfitError(f"has values of type {dtype}", "choose --window auto, or --window LO HI")
    elif dtype != np.uint8:
        raise UnfitError(f"has values of type {dtype}", "give uint8 images, 0 to 255")


def digest(pixels: UInt8[np.ndarray, "height width channel"]) -> Digest:
    """sha256 of an image's pixels and shape: equal for equal images in whatever format."""
    return digest_stack(pixels[None])[0]


def digest_stack(images: UInt8[np.ndarray, "n height width channel"]) -> UInt8[np.ndarray, "n 32"]:
    """The `digest` of each image."""
    _, height, width, channels = images.shape
    start = hashlib.sha256(_shape_text(height, width, channels))
    digests = []
    for pixels in np.ascontiguousarray(images):
        state = start.copy()
        state.update(pixels.data)
        digests.append(state.digest())
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def _shape_text(height: int, width: int, channels: int) -> bytes:
    return f"{height}x{width}x{channels}".encode()


def _digest_image(image: Image.Image) -> Digest:
    shape = _shape_text(image.height, image.width, len(image.getbands()))
    return _digest_parts(shape, (strip.tobytes() for strip in strips_of(image)))


def _digest_parts(shape: bytes, parts: Iterable[bytes]) -> Digest:
    state = hashlib.sha256(shape)
    for part in parts:
        state.update(part)
    return np.frombuffer(state.digest(), np.uint8)


def check_size(width: int, height: int, max_megapixels: float, copies: int = 1) -> None:
    """Raise UnfitError for an image of `width` by `height` pixels that is empty or too large.

    `copies` is how often its decoder holds it: that many times fewer pixels are allowed.
    """
    if width == 0 or height == 0:
        raise UnfitError(f"is {width}×{height} pixels", COPY_AGAIN)
    megapixels = width * height / 1e6
    if copies * megapixels > max_megapixels:
        raise UnfitError(
            f"has {megapixels:,.6g} megapixels ({width}×{height})",
            f"at most {max_megapixels / copies:g}; --max-megapixels {math.ceil(copies * megapixels)} allows it",
        )
    if max(width, height) > MAX_SIDE:
        raise UnfitError(f"is {width}×{height} pixels", f"at most {MAX_SIDE:,} per side")


def _open(data: bytes, header: Header, max_megapixels: float) -> tuple[Image.Image, bool]:
    """Decode with Pillow's reader of this format only: others start external programs, such as Ghostscript.

    Tells as well whether Pillow has turned the image upright, as it does with a TIFF.
    """
    if header.size is not None:
        check_size(*header.size, max_megapixels, _COPIES.get(header.kind, 1))
    image: Image.Image = Image.open(io.BytesIO(data), formats=(header.kind,))
    _check_kind(image)
    check_size(*image.size, max_megapixels)
    is_turned = header.kind == "TIFF" and _read_orientation(image) in _TRANSPOSE
    with silent_stderr() if header.kind == "TIFF" else nullcontext():
        image.load()
    if image.mode == "I;16B":  # which nothing else here takes
        image = Image.fromarray(np.asarray(image).astype(np.uint16))
    return image, is_turned


def _check_kind(image: Image.Image) -> None:
    if getattr(image, "n_frames", 1) > 1:
        raise UnfitError(f"contains {image.n_frames} images", "export the one that you want")  # type: ignore[attr-defined]
    if image.mode == "CMYK":
        raise UnfitError("is in CMYK, a color space for print", "convert it to gray or RGB")
    if image.mode == "P" and image.palette is None:
        raise UnfitError("is damaged: its palette is missing", COPY_AGAIN)
    if image.mode not in OPAQUE_MODES and image.mode not in ("I;16", "I;16B"):
        raise UnfitError(f"has color mode {image.mode}", "convert it to 8-bit gray or RGB")


def _orientation(image: Image.Image) -> int:
    return 1 if image.info.keys().isdisjoint(_EXIF_KEYS) else _read_orientation(image)


def _read_orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF, many types as above: viewers ignore it
        return 1


def _fit_sixteen_bits(image: Image.Image, config: DataConfig) -> DecodedImage:
    """Values of 16 bits in the wanted color and size. For anything but gray, Pillow gives the high byte only."""
    if image.mode != "I;16":
        image = without_alpha(image)
        pixels, changes = fit(image, config)
        largest = REPEATED * int(np.max(image.getextrema()))
        return DecodedImage(widened(pixels), _digest_image(image), changes, image.size, largest)
    shape = f"{image.height}x{image.width}x1 of 16 bits".encode()
    strips = (np.asarray(strip).astype("<u2").tobytes() for strip in strips_of(image))
    values, changes = fit_deep(image, config)
    return DecodedImage(
        values,
        _digest_parts(shape, strips),
        changes,
        image.size,
        int(image.getextrema()[1]),  # type: ignore[arg-type]
    )


def _fit_channels(pixels: UInt[np.ndarray, "height width channel"], config: DataConfig) -> DecodedImage:
    """Values of 16 bits in the wanted color and size; of RGB, which Pillow does not know in 16 bits, each channel alone."""
    is_made_gray = config.color == "gray" and pixels.shape[-1] == 3
    if is_made_gray:
        pixels = np.rint(pixels @ _LUMA)[..., None].astype(np.uint16)
    single = config if pixels.shape[-1] == 1 else replace(config, color="source")
    fitted = [
        _fit_sixteen_bits(Image.fromarray(np.ascontiguousarray(channel)), single)
        for channel in np.moveaxis(pixels, -1, 0)
    ]
    return fitted[0]._replace(
        pixels=np.concatenate([each.pixels for each in fitted], axis=-1),
        changes=(*fitted[0].changes, *(["recolored"] if is_made_gray else [])),
        largest=max(each.largest for each in fitted),
    )
