"""Which TIFFs are decoded: one plain picture, whose pieces are where and as long as they say."""

import struct

import numpy as np
import pytest
from PIL import Image

from medjax.config import DataConfig
from medjax.data.decoding import tiff_header
from medjax.data.decoding.image import decode_image
from medjax.data.decoding.tiff_header import read_tiff
from medjax.data.reading.listing import UnfitError
from tests.sample_files import encode, random_pixels, raw_tiff

GRAY, COLOR = random_pixels(1, (20, 30)), random_pixels(2, (20, 30, 3))
DEEP = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
CONFIG = DataConfig(image_size=12, window="auto")


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("pixels", [GRAY, COLOR, DEEP], ids=["gray", "color", "deep"])
def test_pixels_are_those_of_a_png(pixels, compression):
    data = encode(pixels, "TIFF", compression=compression)
    assert read_tiff(data) == (8 * pixels.itemsize, (30, 20))
    for one, other in zip(decode_image(data, CONFIG), decode_image(encode(pixels), CONFIG), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("order", ["II", "MM"])
def test_both_orders_of_bytes(order):
    expected = decode_image(encode(DEEP), CONFIG)
    data = raw_tiff(DEEP.astype("<u2" if order == "II" else ">u2"), order=order)
    np.testing.assert_array_equal(decode_image(data, CONFIG).pixels, expected.pixels)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_tiffs_are_turned_upright_once(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = decode_image(encode(COLOR, exif=exif), CONFIG)
    result = decode_image(encode(COLOR, "TIFF", tiffinfo={274: orientation}), CONFIG)
    np.testing.assert_array_equal(result.pixels, expected.pixels)
    assert result.changes == expected.changes


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({258: 32}, "32 bits"),
        ({339: 2}, "negative"),
        ({262: 0, 258: 16}, "0 for white"),
        ({259: 34925}, "method 34925"),
        ({279: 10**6}, "truncated"),
        ({273: None}, "holds no pixels"),
        ({256: None}, "does not say its size"),
        ({322: 65520, 323: 65520, 324: 8, 325: 600, 273: None}, "65520×65520"),
        ({322: 0, 323: 16, 324: 8, 325: 600, 273: None}, "0×16"),
        ({65420: 1}, "whole slide"),
        ({259: 8, 279: None}, "how long"),
    ],
)
def test_what_is_no_plain_picture_is_refused(tags, reason):
    with pytest.raises(UnfitError, match=reason):
        read_tiff(raw_tiff(GRAY, tags))


def test_slides_pages_and_copies_of_one_piece_are_refused():
    pages = encode(GRAY, "TIFF", save_all=True, append_images=[Image.fromarray(GRAY)])
    with pytest.raises(UnfitError, match="more than one image"):
        read_tiff(pages)
    with pytest.raises(UnfitError, match="BigTIFF"):
        read_tiff(encode(GRAY, "TIFF", big_tiff=True))
    with pytest.raises(UnfitError, match="whole slide"):
        read_tiff(encode(GRAY, "TIFF", description="Aperio Image Library v11"))
    numbers = {259: (8,), 273: (8, 8), 279: (60, 60)}
    with pytest.raises(UnfitError, match="overlap"):
        tiff_header._check_pieces(bytes(100), numbers)


def test_tags_are_bounded(monkeypatch):
    """Each may point to the same megabytes; also those of an inner directory."""
    data = raw_tiff(GRAY, {34665: 8})
    assert read_tiff(data).bit_depth == 8
    monkeypatch.setattr(tiff_header, "MAX_TAG_BYTES", 4 + 4 * struct.unpack_from("<H", data, 8)[0])
    with pytest.raises(UnfitError, match="has tags of more than"):
        read_tiff(data)
    monkeypatch.setattr(tiff_header, "MAX_ENTRIES", 3)
    with pytest.raises(UnfitError, match="a directory of"):
        read_tiff(data)


@pytest.mark.parametrize("length", range(4, 200, 13))
def test_every_truncation_is_found(length):
    with pytest.raises(UnfitError, match="truncated"):
        read_tiff(raw_tiff(GRAY)[:length])
