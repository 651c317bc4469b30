"""Transparent pixels: find them in whatever way a PNG states them, and lay an image on a background of one color."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from medjax.data.reading.listing import UnfitError

STRIP_PIXELS = 2**20
OPAQUE_MODES = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB"}
"""The mode in which an image of each mode of Pillow is read; those that are not here are refused, but for I;16."""

_SHADES = {"white": 255, "black": 0}


def alpha_of(image: Image.Image, bit_depth: int) -> Image.Image | None:
    """How opaque each pixel is, 0 to 255; None if all of them are."""
    if image.mode in ("LA", "RGBA"):
        is_opaque = image.getextrema()[-1][0] == 255  # type: ignore[index]
        return None if is_opaque else image.getchannel("A")
    key = image.info.get("transparency")  # one color, or the alpha of each palette color
    if key is None:
        return None
    if image.mode == "P":
        alphas = [255 * (index != key) for index in range(256)] if isinstance(key, int) else [*key]
        alphas += [255] * (256 - len(alphas))
        is_opaque = not any(
            count for alpha, count in zip(alphas, image.histogram(), strict=True) if alpha < 255
        )
        return None if is_opaque else image.point(alphas, "L")
    # The key is in the bit depth of the file; Pillow expands 1 to 4 bits to 8, and reduces RGB from 16 to 8.
    if image.mode == "L":
        key = key * (255 // (2**bit_depth - 1))
    elif image.mode == "RGB" and bit_depth == 16:
        key = [sample >> 8 for sample in key]
    return _alpha_of_color(image.convert("L") if image.mode == "1" else image, key)


def _alpha_of_color(image: Image.Image, key: int | Sequence[int]) -> Image.Image | None:
    """The alpha of an image in which all pixels of one color are transparent; None if there are none."""
    alpha, top = None, 0
    for strip in strips_of(image):
        values = np.asarray(strip, np.int64).reshape(strip.height, strip.width, -1)
        is_hidden = (values == key).all(axis=2)
        if is_hidden.any():
            alpha = alpha or Image.new("L", image.size, 255)
            alpha.paste(Image.fromarray(np.where(is_hidden, 0, 255).astype(np.uint8)), (0, top))
        top += strip.height
    return alpha


def laid_on(image: Image.Image, alpha: Image.Image, background: str) -> Image.Image:
    """The image on a background of one color, without transparency."""
    if background == "refuse":
        raise UnfitError("has transparent pixels", "choose --background white or --background black")
    if image.mode != "I;16":
        image = without_alpha(image)
    elif background == "white":  # which value that is depends on a window that is not known yet
        raise UnfitError("has 16 bits per sample and transparent pixels", "choose --background black")
    shade = _SHADES[background]
    whole = Image.new(image.mode, image.size, (shade,) * 3 if image.mode == "RGB" else shade)
    whole.paste(image, mask=alpha)
    return whole


def without_alpha(image: Image.Image) -> Image.Image:
    """The image as L or RGB, whatever its alpha says."""
    return image if image.mode in ("L", "RGB") else image.convert(OPAQUE_MODES[image.mode])


def strips_of(image: Image.Image) -> Iterator[Image.Image]:
    """The image in strips of full width, from the top: a NumPy array of one takes little memory."""
    rows = max(1, STRIP_PIXELS // image.width)
    if image.height <= rows:
        yield image
        return
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))
