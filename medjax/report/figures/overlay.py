"""An image with a map of what moved a network's answer laid over it."""

import io

import numpy as np
from jaxtyping import Float32, UInt8, UInt16
from matplotlib.colors import to_rgb
from PIL import Image

from medjax.report.figures.style import BLUE, VERMILION

SHOWN_SIDE = 224
"""Images are enlarged by a whole number until their longer side has at least so many pixels."""
_STRONGEST = 0.75  # the image shines through everywhere
_SATURATED = (
    99  # per cent of a map's pixels that are below full color: a single one would make all others pale
)

OneImage = UInt8[np.ndarray, "height width channel"] | UInt16[np.ndarray, "height width channel"]


def enlarge(image: OneImage) -> UInt8[np.ndarray, "tall wide 3"]:
    """The image in RGB, each pixel a square; of 16 bits the high byte."""
    pixels = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image
    times = -(-SHOWN_SIDE // max(image.shape[:2]))
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)).repeat(times, axis=0).repeat(times, axis=1)


def overlay(image: OneImage, values: Float32[np.ndarray, "height width"]) -> UInt8[np.ndarray, "tall wide 3"]:
    """The image, enlarged, orange where the map is above 0 and blue where it is below: the stronger, the further from 0.

    Full color is at the map's 99th percentile of absolute values, so maps of two images cannot be compared by color.
    """
    shown = enlarge(image)
    strength = np.abs(values)
    full = np.percentile(strength, _SATURATED) or strength.max() or 1
    size = shown.shape[1], shown.shape[0]
    smooth = np.asarray(Image.fromarray(values / np.float32(full)).resize(size, Image.Resampling.BILINEAR))
    alpha = _STRONGEST * np.abs(smooth).clip(0, 1)[..., None]
    color = np.where(smooth[..., None] > 0, to_rgb(VERMILION), to_rgb(BLUE))
    return np.rint(shown * (1 - alpha) + 255 * alpha * color).astype(np.uint8)


def encode_png(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """Pixels as a PNG, without date or program version."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()
