"""Transparent pixels: refused or laid on a background, in whatever way a PNG states them."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from medjax.config import DataConfig
from medjax.data.decoding.image import decode_image
from medjax.data.reading.listing import UnfitError
from tests.sample_files import encode, png_chunk, random_pixels, raw_png

SMALL = DataConfig(image_size=12)


def opened(data):
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    ("mode", "key"),
    [("L", 7), ("RGB", (7, 7, 7)), ("P", 7), ("P", bytes([255] * 7 + [3])), ("1", 1)],
)
def test_a_transparent_color_matters_only_where_it_is_used(mode, key):
    blank = Image.new(mode, (12, 12))
    if mode == "P":
        blank.putpalette(bytes(range(256)) * 3)
    assert decode_image(encode(blank, transparency=key), SMALL).changes == ()
    painted = blank.copy()
    painted.putpixel((5, 5), (7, 7, 7) if mode == "RGB" else 1 if mode == "1" else 7)
    with pytest.raises(UnfitError, match="transparent"):
        decode_image(encode(painted, transparency=key), SMALL)


@pytest.mark.parametrize("bit_depth", [1, 2, 4])
def test_a_transparent_gray_is_counted_in_the_bits_of_the_file(bit_depth):
    top = 2**bit_depth - 1
    black = raw_png(12, 12, png_chunk(b"tRNS", bytes([0, top])), bit_depth=bit_depth)
    assert decode_image(black, SMALL).pixels.max() == 0
    with pytest.raises(UnfitError, match="transparent"):
        decode_image(raw_png(12, 12, png_chunk(b"tRNS", b"\0\0"), bit_depth=bit_depth), SMALL)


PALETTE_ALPHA = bytes([255] * 7 + [128])


def transparent_images():
    """One image of each kind of transparency, with its pixels as Pillow lays them on a background."""
    values = np.full((12, 12), 200, np.uint8)
    alpha = np.full((12, 12), 255, np.uint8)
    alpha[:3], alpha[3:5] = 0, 100
    yield "LA", encode(np.dstack([values, alpha]))
    yield "RGBA", encode(np.dstack([values, values // 2, values, alpha]))
    gray = Image.fromarray(np.where(alpha == 0, 7, values).astype(np.uint8))
    yield "L with a color", encode(gray, transparency=7)
    yield "RGB with a color", encode(gray.convert("RGB"), transparency=(7, 7, 7))
    palette = Image.new("P", (12, 12), 1)
    palette.putpalette(bytes(range(256)) * 3)
    palette.paste(7, (0, 0, 12, 3))
    yield "P with a color", encode(palette, transparency=7)
    yield "P with alphas", encode(palette, transparency=PALETTE_ALPHA)
    yield "1 with a color", encode(gray.point(lambda value: 255 * (value > 100), "1"), transparency=0)


@pytest.mark.parametrize("color", ["white", "black"])
@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in transparent_images()])
def test_transparent_images_are_laid_on_the_background(data, color):
    image = opened(data).convert("RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", image.size, color), image).convert("RGB")
    result = decode_image(data, DataConfig(image_size=12, color="rgb", background=color))
    np.testing.assert_allclose(result.pixels, np.asarray(expected), atol=1)
    assert result.changes[0] == "composited"
    with pytest.raises(UnfitError, match="transparent") as error:
        decode_image(data, SMALL)
    assert error.value.fault.remedy == "choose --background white or --background black"


def test_the_background_changes_no_opaque_image():
    data = encode(Image.fromarray(random_pixels(0, (12, 12, 3))).convert("RGBA"))
    plain, laid = (
        decode_image(data, DataConfig(image_size=12, background=each)) for each in ("refuse", "white")
    )
    np.testing.assert_array_equal(plain.pixels, laid.pixels)
    assert laid.changes == ()


def test_an_image_on_a_background_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.dstack([random_pixels(0, (12, 9)), np.full((12, 9), 255, np.uint8)])
    pixels[:2, :, 1] = 0
    result = decode_image(encode(pixels, exif=exif), DataConfig(image_size=12, background="black"))
    assert result.size == (12, 9)
    assert result.changes[:2] == ("composited", "reoriented")


def test_a_transparent_color_at_sixteen_bits_is_laid_on_black():
    data = raw_png(
        12,
        12,
        png_chunk(b"tRNS", b"\x12\x34"),
        bit_depth=16,
        data=zlib.compress((b"\0" + b"\x12\x34" * 12) * 12),
    )
    assert decode_image(data, DataConfig(image_size=12, window="auto", background="black")).largest == 0
    with pytest.raises(UnfitError, match="16 bits per sample and transparent") as error:
        decode_image(data, DataConfig(window="auto", background="white"))
    assert error.value.fault.remedy == "choose --background black"
