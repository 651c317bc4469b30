"""What the chunks of a WebP say."""

import numpy as np
import pytest
from PIL import Image

from medjax.config import DataConfig
from medjax.data.decoding.image import decode_image
from medjax.data.decoding.webp_header import read_webp
from medjax.data.reading.listing import UnfitError
from tests.sample_files import encode, random_pixels

COLOR = random_pixels(2, (20, 30, 3))
LOSSLESS = encode(COLOR, "WEBP", lossless=True)


@pytest.mark.parametrize(
    "options", [{}, {"lossless": True}, {"exif": Image.Exif()}, {"icc_profile": b"x" * 9}]
)
def test_size_of_each_kind(options):
    assert read_webp(encode(COLOR, "WEBP", **options)) == (30, 20)


def test_pixels_are_those_of_a_png():
    config = DataConfig(image_size=12)
    for one, other in zip(decode_image(LOSSLESS, config), decode_image(encode(COLOR), config), strict=True):
        np.testing.assert_array_equal(one, other)


def test_animations_are_refused():
    frames = [Image.fromarray(random_pixels(seed, (20, 30, 3))) for seed in range(2)]
    with pytest.raises(UnfitError, match="animation"):
        read_webp(encode(frames[0], "WEBP", save_all=True, append_images=frames[1:]))


@pytest.mark.parametrize("length", [12, 19, 30, 200, len(LOSSLESS) - 1])
def test_every_truncation_is_found(length):
    with pytest.raises(UnfitError, match="truncated"):
        read_webp(LOSSLESS[:length])


def test_many_chunks_and_none_are_refused():
    def riff(chunks):
        return b"RIFF" + (4 + len(chunks)).to_bytes(4, "little") + b"WEBP" + chunks

    empty = b"ABCD\0\0\0\0"
    with pytest.raises(UnfitError, match="does not say its size"):
        read_webp(riff(empty * 10))
    with pytest.raises(UnfitError, match="too many"):
        read_webp(riff(empty * 10_001))


def test_a_canvas_takes_as_much_memory_as_four_other_images():
    data = LOSSLESS.replace(LOSSLESS[20:25], b"\x2f" + (4999 | 4999 << 14).to_bytes(4, "little"))
    with pytest.raises(UnfitError, match=r"25 megapixels \(5000×5000\)") as error:
        decode_image(data, DataConfig())
    assert error.value.fault.remedy == "at most 16; --max-megapixels 100 allows it"
