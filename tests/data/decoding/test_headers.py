"""What PNG and JPEG bytes say before they are decoded."""

import pytest

from medjax.data.decoding.headers import MAX_JPEG_HEADER_STEPS, read_header
from medjax.data.reading.listing import UnfitError
from tests.sample_files import encode, jpeg, png, png_chunk, random_pixels, raw_png


@pytest.mark.parametrize("bit_depth", [1, 2, 4, 8, 16])
def test_bits_of_a_png(bit_depth):
    assert read_header(raw_png(3, 3, bit_depth=bit_depth)).bit_depth == bit_depth


def test_bits_of_a_jpeg():
    assert read_header(jpeg(0)).bit_depth == 8


def test_progressive_jpegs_and_long_ones_pass():
    pixels = random_pixels(0, (200, 200, 3))
    data = encode(pixels, "JPEG", quality=100, progressive=True, comment=b"x" * 50_000)
    assert len(data) > MAX_JPEG_HEADER_STEPS
    assert read_header(data).bit_depth == 8


@pytest.mark.parametrize("position", range(0, len(png(0)), 7))
def test_every_flipped_bit_of_a_png_is_found(position):
    data = bytearray(png(0))
    data[position] ^= 4
    with pytest.raises(UnfitError):
        read_header(bytes(data))


@pytest.mark.parametrize("length", range(0, len(png(0)), 5))
def test_every_truncation_of_a_png_is_found(length):
    with pytest.raises(UnfitError):
        read_header(png(0)[:length])


def test_one_frame_is_no_animation():
    control = png_chunk(b"acTL", b"\0\0\0\1\0\0\0\0")
    assert read_header(raw_png(3, 3, control)).bit_depth == 8
    with pytest.raises(UnfitError, match="animation"):
        read_header(raw_png(3, 3, png_chunk(b"acTL", b"\0\0\0\2\0\0\0\0")))


def test_other_formats_are_named():
    with pytest.raises(UnfitError, match="is a GIF, not a PNG, JPEG"):
        read_header(encode(random_pixels(0), "GIF"))


def test_the_name_of_a_file_does_not_matter_but_its_end_does():
    assert read_header(png(0) + b"trailing bytes").bit_depth == 8
