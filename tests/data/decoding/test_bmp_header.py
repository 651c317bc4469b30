"""Which BMPs are decoded."""

import struct

import numpy as np
import pytest
from PIL import Image

from medjax.config import DataConfig
from medjax.data.decoding.bmp_header import read_bmp
from medjax.data.decoding.image import decode_image
from medjax.data.reading.listing import UnfitError
from tests.sample_files import encode, random_pixels

COLOR = random_pixels(2, (20, 30, 3))
BMP = encode(COLOR, "BMP")


def changed(offset, code, value):
    data = bytearray(BMP)
    struct.pack_into(code, data, offset, value)
    return bytes(data)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_pixels_are_those_of_a_png(mode):
    image, config = Image.fromarray(COLOR).convert(mode), DataConfig(image_size=12)
    assert read_bmp(encode(image, "BMP")) == (30, 20)
    for one, other in zip(
        decode_image(encode(image, "BMP"), config), decode_image(encode(image), config), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (changed(30, "<I", 1), "run-length"),
        (changed(30, "<I", 5), "another format"),
        (changed(14, "<I", 41), "unknown kind"),
        (changed(18, "<i", -30), "truncated"),
        (changed(18, "<i", 3000), "truncated"),
        (BMP[:-1], "truncated"),
        (BMP[:20], "truncated"),
    ],
)
def test_what_is_no_plain_one_is_refused(data, reason):
    with pytest.raises(UnfitError, match=reason):
        read_bmp(data)


def test_rows_may_come_from_the_top_and_headers_may_be_old():
    assert read_bmp(changed(22, "<i", -20)) == (30, 20)
    old = (
        b"BM"
        + struct.pack("<2I", 0, 0)
        + struct.pack("<2I", 26, 12)
        + struct.pack("<4H", 2, 3, 1, 24)
        + bytes(24)
    )
    assert read_bmp(old) == (2, 3)
