"""The quick way through against Pillow's: the same bits, or none at all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medjax.config import DataConfig
from medjax.data.decoding import fast_jpeg as jpegs
from medjax.data.decoding.fast_jpeg import decode_plain, plain_shape
from medjax.data.decoding.image import decode_image
from medjax.data.reading.listing import UnfitError
from tests.sample_files import encode, jpeg, png, random_pixels

CONFIG = DataConfig(image_size=12)


def smooth(seed, shape):
    """Noise that JPEG keeps some of."""
    small = Image.fromarray(random_pixels(seed, (3, 3, *shape[2:])))
    return small.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)


def by_pillow(data, config=CONFIG):
    try:
        return decode_image(data, config)
    except UnfitError:
        return None


def assert_same_or_none(images, config=CONFIG):
    """Returns how many went the quick way."""
    count = 0
    for positions, stack in decode_plain(images, config):
        for position, pixels, digest in zip(positions, stack.pixels, stack.digests, strict=True):
            expected = by_pillow(images[position], config)
            assert expected is not None
            np.testing.assert_array_equal(pixels, expected.pixels)
            np.testing.assert_array_equal(digest, expected.digest)
            assert stack.changes == expected.changes
            assert stack.size == expected.size
            count += 1
    return count


PLAIN = [
    {"quality": 30},
    {"quality": 100},
    {"optimize": True},
    {"restart_marker_blocks": 1},
    {"comment": b"by a program"},
]


@pytest.mark.parametrize("way", ["pad", "crop"])
def test_plain_files_are_fitted_alike(way):
    """In stacks that are resized together, and one by one."""
    images = [encode(smooth(seed, (33, 17, 3)), "JPEG") for seed in range(20)] + [jpeg(1, (9, 30))]
    assert assert_same_or_none(images, DataConfig(image_size=12, fit=way)) == 21


@pytest.mark.parametrize("color", ["source", "gray", "rgb"])
@pytest.mark.parametrize("options", [*PLAIN, {"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}])
def test_plain_files_give_the_same_bits(options, color):
    shapes = [(64, 64), (64, 64, 3), (1, 1), (17, 33), (33, 17, 3), (8, 100, 3)]
    gray_only = [shape for shape in shapes if len(shape) == 2 or "comment" not in options]
    images = [encode(smooth(seed, shape), "JPEG", **options) for seed, shape in enumerate(gray_only * 2)]
    assert assert_same_or_none(images, DataConfig(image_size=12, color=color)) == len(images)


def exif():
    block = Image.Exif()
    block[0x0112] = 6
    return block


def with_rgb_components():
    """Three components and no JFIF header, so that their names decide what they are."""
    data = jpeg(0, (9, 9, 3))
    return data[:2] + data[data.index(b"\xff\xdb") :]


@pytest.mark.parametrize(
    "data",
    [
        png(0),
        b"",
        b"\xff\xd8\xff",
        encode(smooth(0, (20, 20)), "JPEG", progressive=True),
        encode(smooth(0, (20, 20)), "JPEG", exif=exif()),
        encode(smooth(0, (20, 20)), "JPEG", icc_profile=b"profile"),
        encode(smooth(0, (20, 20, 3)).convert("CMYK"), "JPEG"),
        encode(Image.new("L", (1025, 1024)), "JPEG"),
        with_rgb_components(),
        jpeg(0)[:-2],
        jpeg(0)[:-20],
        jpeg(0) + jpeg(1),
        jpeg(0)[:2] + b"\xff" + jpeg(0)[2:],
        jpeg(0).replace(b"\xff\xc0", b"\xff\xc1"),
        jpeg(0).replace(b"\xff\xc0\x00\x0b\x08", b"\xff\xc0\x00\x0b\x0c"),
    ],
)
def test_all_else_is_left_to_pillow(data):
    assert not list(decode_plain([data], CONFIG))


def test_the_limit_of_megapixels_is_left_to_pillow():
    data = jpeg(0, (100, 200))
    assert list(decode_plain([data], DataConfig(max_megapixels=0.02)))
    assert not list(decode_plain([data], DataConfig(max_megapixels=0.019)))


def test_a_large_group_is_decoded_in_pieces(monkeypatch):
    monkeypatch.setattr(jpegs, "_STACK_BYTES", 250)
    images = [jpeg(seed) for seed in range(8)]
    assert assert_same_or_none(images) == 8


def test_where_pillow_has_another_decoder_nothing_goes_the_quick_way(monkeypatch):
    monkeypatch.setattr(jpegs, "_SAME_BITS", False)
    assert plain_shape(jpeg(0)) is None


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_damage_gives_the_same_bits_or_is_left_to_pillow(data):
    shape = data.draw(st.sampled_from([(20, 20), (20, 20, 3)]))
    broken = bytearray(encode(smooth(0, shape), "JPEG", quality=80))
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(2, len(broken) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(len(broken) // 2, len(broken)))
    assert_same_or_none([bytes(broken), bytes(broken[:cut]), bytes(broken) + b"tail"])


def test_a_worse_decoder_would_be_noticed(monkeypatch):
    """What stands above can fail: the fast transform of the same library gives other bits."""
    import simplejpeg

    decode = simplejpeg.decode_jpeg
    monkeypatch.setattr(
        simplejpeg, "decode_jpeg", lambda *arguments, **options: decode(*arguments, fastdct=True, **options)
    )
    images = [encode(smooth(seed, (64, 64)), "JPEG", quality=90) for seed in range(9)]
    with pytest.raises(AssertionError):
        assert_same_or_none(images)
