"""Decode one PNG or JPEG, or take pixels from an array; all refusals of images are here.

Pixels are uint8, 0 to 255, rows from the top. Large images stay inside Pillow until they are resized, and are digested
in strips, so a 64-megapixel image takes its own size in memory, not a multiple.
"""

import hashlib
import io
import math
import warnings
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from medjax.config import DataConfig
from medjax.data.decoding.headers import read_bit_depth
from medjax.data.decoding.resize import fit
from medjax.data.reading.listing import UnfitError

# The limit of JPEG. Pillow's table of coefficients to shrink a line of 64 million pixels would take a gigabyte.
MAX_SIDE = 65_535
SIXTEEN_BITS = "has 16 bits per sample"
"""Why an image is refused that an option would read."""
_STRIP_PIXELS = 2**20

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
_OPAQUE_MODES = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB"}

Pixels = UInt8[np.ndarray, "side side channel"]
Digest = UInt8[np.ndarray, "32"]


class DecodedImage(NamedTuple):
    """One image as the data set stores it, and the changes made to it."""

    pixels: Pixels
    digest: Digest  # sha256 of the pixels, upright, before color or size changes
    changes: tuple[str, ...]  # fields of LoadCounts

    def stacked(self) -> "DecodedStack":
        """The image as a stack of one."""
        return DecodedStack(self.pixels[None], self.digest[None], self.changes)


class DecodedStack(NamedTuple):
    """Images with the same number of channels and the same changes."""

    pixels: UInt8[np.ndarray, "n side side channel"]
    digests: UInt8[np.ndarray, "n 32"]
    changes: tuple[str, ...]


def decode_image(data: bytes, config: DataConfig) -> DecodedImage:
    """Decode a PNG or JPEG to a square of `config.image_size` pixels; raises UnfitError with reason and remedy."""
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
            raise UnfitError(f"is damaged or truncated: {text}", "copy or export it again") from None


def _decode(data: bytes, config: DataConfig) -> DecodedImage:
    bit_depth = read_bit_depth(data)
    if bit_depth == 16 and config.sixteen_bit == "refuse":
        raise UnfitError(SIXTEEN_BITS, "choose --sixteen-bit high-byte or stretch")
    image = _open(data, config.max_megapixels)
    if not _is_opaque(image, bit_depth):
        raise UnfitError("has transparent pixels", "save it without transparency")
    changes = []
    method = _TRANSPOSE.get(_orientation(image))
    if method is not None:
        image = image.transpose(method)
        changes.append("reoriented")
    if bit_depth == 16:
        full_digest, image = _reduce_sixteen_bit(image, config.sixteen_bit)
        changes.append("rescaled")
    else:
        image = _without_alpha(image)
        full_digest = _digest_image(image)
    pixels, more_changes = fit(image, config)
    return DecodedImage(pixels, full_digest, (*changes, *more_changes))


def decode_pixels(pixels: UInt8[np.ndarray, "height width channel"], config: DataConfig) -> DecodedImage:
    """Take pixels (1 channel gray, 3 RGB) to a square of `config.image_size` pixels."""
    height, width, channels = pixels.shape
    if config.color == "source" and height == width == config.image_size:
        return DecodedImage(pixels, digest(pixels), ())
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    fitted, changes = fit(image, config)
    return DecodedImage(fitted, digest(pixels), changes)


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
    if image.width * image.height <= _STRIP_PIXELS:
        return _digest_parts(shape, [image.tobytes()])
    return _digest_parts(shape, (strip.tobytes() for strip in _strips(image)))


def _digest_parts(shape: bytes, parts: Iterable[bytes]) -> Digest:
    state = hashlib.sha256(shape)
    for part in parts:
        state.update(part)
    return np.frombuffer(state.digest(), np.uint8)


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def check_size(width: int, height: int, max_megapixels: float) -> None:
    """Raise UnfitError for an image of `width` by `height` pixels that is empty or too large."""
    if width == 0 or height == 0:
        raise UnfitError(f"is {width}×{height} pixels", "copy or export it again")
    megapixels = width * height / 1e6
    if megapixels > max_megapixels:
        raise UnfitError(
            f"has {megapixels:,.6g} megapixels ({width}×{height})",
            f"at most {max_megapixels:g}; --max-megapixels {math.ceil(megapixels)} allows it",
        )
    if max(width, height) > MAX_SIDE:
        raise UnfitError(f"is {width}×{height} pixels", f"at most {MAX_SIDE:,} per side")


def _open(data: bytes, max_megapixels: float) -> Image.Image:
    """Decode with Pillow's PNG and JPEG readers only: others start external programs, such as Ghostscript."""
    image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
    _check_kind(image)
    check_size(*image.size, max_megapixels)
    image.load()
    return image


def _check_kind(image: Image.Image) -> None:
    if getattr(image, "n_frames", 1) > 1:
        raise UnfitError(f"contains {image.n_frames} images", "export the one that you want")  # type: ignore[attr-defined]
    if image.mode == "CMYK":
        raise UnfitError("is in CMYK, a color space for print", "convert it to gray or RGB")
    if image.mode == "P" and image.palette is None:
        raise UnfitError("is damaged: its palette is missing", "copy or export it again")
    if image.mode not in _OPAQUE_MODES and image.mode != "I;16":
        raise UnfitError(f"has color mode {image.mode}", "convert it to 8-bit gray or RGB")


def _is_opaque(image: Image.Image, bit_depth: int) -> bool:
    """Whether every pixel is fully opaque."""
    if image.mode in ("LA", "RGBA"):
        return image.getextrema()[-1][0] == 255  # type: ignore[index]
    key = image.info.get("transparency")  # one color, or the alpha of each palette color
    if key is None:
        return True
    if image.mode == "P":
        hidden = [key] if isinstance(key, int) else [i for i, alpha in enumerate(key) if alpha < 255]
        counts = image.histogram()
        return not any(counts[i] for i in hidden)
    # The key is in the bit depth of the file; Pillow expands 1 to 4 bits to 8, and reduces RGB from 16 to 8.
    if image.mode == "L":
        key = key * (255 // (2**bit_depth - 1))
    elif image.mode == "RGB" and bit_depth == 16:
        key = [sample >> 8 for sample in key]
    pixels = (
        np.asarray(strip, np.int64).reshape(-1, np.size(key))
        for strip in _strips(image.convert("L") if image.mode == "1" else image)
    )
    return not any((rows == key).all(axis=1).any() for rows in pixels)


def _orientation(image: Image.Image) -> int:
    if image.info.keys().isdisjoint(_EXIF_KEYS):
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF, many types as above: viewers ignore it
        return 1


def _without_alpha(image: Image.Image) -> Image.Image:
    return image if image.mode in ("L", "RGB") else image.convert(_OPAQUE_MODES[image.mode])


def _reduce_sixteen_bit(image: Image.Image, choice: str) -> tuple[Digest, Image.Image]:
    """Digest of the 16-bit pixels, and the image in 8 bits. For anything but gray, Pillow gives the high byte only."""
    if image.mode != "I;16":
        if choice == "stretch":
            raise UnfitError("has 16 bits per sample and is not plain gray", "choose --sixteen-bit high-byte")
        image = _without_alpha(image)
        return _digest_image(image), image
    low, high = np.asarray(image.getextrema(), np.float32)
    scale = np.float32(255) / max(high - low, np.float32(1))
    reduced = Image.new("L", image.size)
    state = hashlib.sha256(f"{image.height}x{image.width}x1 of 16 bits".encode())
    top = 0
    for strip in _strips(image):
        values = np.asarray(strip).astype("<u2")
        state.update(values.tobytes())
        eight = np.rint((values - low) * scale) if choice == "stretch" else values >> 8
        reduced.paste(Image.fromarray(eight.astype(np.uint8)), (0, top))
        top += strip.height
    return np.frombuffer(state.digest(), np.uint8), reduced
