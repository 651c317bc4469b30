"""One image: against Pillow's own reading, and every choice that changes it."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageOps

from medjax.config import DataConfig
from medjax.data.decoding import image as decode
from medjax.data.decoding import transparency
from medjax.data.decoding.image import decode_image, decode_pixels, digest
from medjax.data.reading.listing import UnfitError
from tests.sample_files import encode, jpeg, png, random_pixels, raw_png

SHAPES = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)),
)
PIXELS = arrays.arrays(np.uint8, SHAPES)
SMALL = DataConfig(image_size=12)
MODES = {"gray": "L", "rgb": "RGB"}


def opened(data):
    return Image.open(io.BytesIO(data))


def with_channel(pixels):
    return pixels.reshape(*pixels.shape[:2], -1)


@given(PIXELS, st.sampled_from(["PNG", "JPEG"]), st.sampled_from(["source", "gray", "rgb"]))
@settings(deadline=None)
def test_agrees_with_pillow(pixels, kind, color):
    data = encode(pixels, kind)
    full = opened(data)
    expected = full if color == "source" else full.convert(MODES[color])
    expected = np.asarray(expected.resize((12, 12), Image.Resampling.BILINEAR))
    result = decode_image(data, DataConfig(image_size=12, color=color))
    np.testing.assert_array_equal(result.pixels, with_channel(expected))
    np.testing.assert_array_equal(result.digest, digest(with_channel(np.asarray(full))))
    assert ("resized" in result.changes) == (full.size != (12, 12))
    assert ("reshaped" in result.changes) == (full.width != full.height)
    assert ("recolored" in result.changes) == (color != "source" and MODES[color] != full.mode)


@given(PIXELS, st.sampled_from(["source", "gray", "rgb"]))
@settings(deadline=None)
def test_pixels_and_files_agree(pixels, color):
    config = DataConfig(image_size=12, color=color)
    from_file, from_pixels = decode_image(encode(pixels), config), decode_pixels(with_channel(pixels), config)
    np.testing.assert_array_equal(from_file.pixels, from_pixels.pixels)
    np.testing.assert_array_equal(from_file.digest, from_pixels.digest)
    assert from_file.changes == from_pixels.changes


def test_an_image_of_the_right_size_is_left_alone():
    pixels = random_pixels(0, (12, 12))
    result = decode_image(encode(pixels), SMALL)
    np.testing.assert_array_equal(result.pixels[..., 0], pixels)
    assert result.changes == ()


@given(PIXELS, PIXELS)
def test_digests_tell_images_apart(first, second):
    is_same = first.shape == second.shape and np.array_equal(first, second)
    assert np.array_equal(digest(with_channel(first)), digest(with_channel(second))) == is_same


def test_digests_tell_shapes_apart():
    assert not np.array_equal(digest(np.zeros((2, 8, 1), np.uint8)), digest(np.zeros((4, 4, 1), np.uint8)))


def test_digests_are_the_same_in_strips(monkeypatch):
    data = png(0, (30, 20))
    whole = decode_image(data, SMALL).digest
    monkeypatch.setattr(transparency, "STRIP_PIXELS", 50)
    np.testing.assert_array_equal(decode_image(data, SMALL).digest, whole)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_orientation_is_applied(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(random_pixels(0), kind, exif=exif)
    upright = ImageOps.exif_transpose(opened(data))
    result = decode_image(data, SMALL)
    np.testing.assert_array_equal(result.pixels, with_channel(np.asarray(upright.resize((12, 12), 2))))
    np.testing.assert_array_equal(result.digest, digest(with_channel(np.asarray(upright))))
    assert ("reoriented" in result.changes) == (orientation != 1)


def test_broken_exif_is_passed_over():
    data = encode(random_pixels(0), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xffbroken")
    assert "reoriented" not in decode_image(data, SMALL).changes


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA"])
def test_other_modes_become_gray_or_rgb(mode):
    image = Image.fromarray(random_pixels(0, (12, 12, 3))).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(255)
    plain = image.convert({"1": "L", "LA": "L"}.get(mode, "RGB"))
    result = decode_image(encode(image), SMALL)
    np.testing.assert_array_equal(result.pixels, with_channel(np.asarray(plain)))
    np.testing.assert_array_equal(result.digest, decode_image(encode(plain), SMALL).digest)


RAMP = np.arange(100, 244, dtype=np.uint16).reshape(12, 12) * 200
WINDOW = DataConfig(image_size=12, window="auto")


def test_sixteen_bits_are_kept_until_the_window_is_known():
    with pytest.raises(UnfitError, match="16 bits") as error:
        decode_image(encode(RAMP), SMALL)
    assert "--window auto" in error.value.fault.remedy
    result = decode_image(encode(RAMP), WINDOW)
    assert result.pixels.dtype == np.uint16
    np.testing.assert_array_equal(result.pixels[..., 0], RAMP)
    assert result.changes == ("rescaled",)
    assert result.largest == RAMP.max()
    assert (
        decode_image(encode(RAMP), DataConfig(image_size=12, window="auto", color="rgb")).pixels.shape[2] == 3
    )


@pytest.mark.parametrize("color", ["source", "rgb"])
def test_pixels_and_files_of_sixteen_bits_agree(color):
    config = DataConfig(image_size=9, window="auto", color=color)
    from_file, from_pixels = decode_image(encode(RAMP), config), decode_pixels(RAMP[..., None], config)
    for one, other in zip(from_file, from_pixels, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("dtype", "channels", "window", "remedy"),
    [
        ("uint8", 3, "refuse", None),
        ("uint16", 1, "auto", None),
        ("uint16", 1, "refuse", "choose --window auto, or --window LO HI"),
        ("uint16", 3, "auto", "give uint8 images, 0 to 255"),
        ("float32", 1, "auto", "give uint8 images, 0 to 255"),
    ],
)
def test_the_types_of_pixels_that_are_read(dtype, channels, window, remedy):
    arguments = np.dtype(dtype), channels, DataConfig(window=window)
    if remedy is None:
        decode.check_values(*arguments)
        return
    with pytest.raises(UnfitError, match=dtype) as error:
        decode.check_values(*arguments)
    assert error.value.fault.remedy == remedy


def test_sixteen_bits_are_resized_as_floats():
    pixels = np.random.default_rng(0).integers(0, 2**16, (40, 30)).astype(np.uint16)
    expected = Image.fromarray(pixels.astype(np.float32)).resize((12, 12), Image.Resampling.BILINEAR)
    result = decode_image(encode(pixels), WINDOW)
    np.testing.assert_array_equal(result.pixels[..., 0], np.rint(np.asarray(expected)))
    assert result.largest == pixels.max() > result.pixels.max()


def test_the_digest_is_of_all_sixteen_bits(monkeypatch):
    first, second = (decode_image(encode(RAMP + add), WINDOW) for add in (0, np.uint16(1)))
    assert not np.array_equal(first.digest, second.digest)
    monkeypatch.setattr(transparency, "STRIP_PIXELS", 30)
    np.testing.assert_array_equal(decode_image(encode(RAMP), WINDOW).digest, first.digest)


@pytest.mark.parametrize("color", [2, 4, 6])
def test_more_than_gray_at_sixteen_bits(color):
    """High bytes only: Pillow reduces these itself."""
    opaque = b"" if color == 2 else b"\xff\xff"
    sample = {2: b"\x12\x34" * 3, 4: b"\x12\x34", 6: b"\x12\x34" * 3}[color] + opaque
    data = raw_png(12, 12, bit_depth=16, color=color, data=zlib.compress((b"\0" + sample * 12) * 12))
    result = decode_image(data, WINDOW)
    assert set(result.pixels.ravel().tolist()) == {0x1212}
    assert result.largest == 0x1212
    with pytest.raises(UnfitError, match="16 bits"):
        decode_image(data, DataConfig())


def test_the_limit_of_megapixels():
    data = png(0, (100, 200))
    assert decode_image(data, DataConfig(max_megapixels=0.02)).pixels.shape == (28, 28, 1)
    with pytest.raises(UnfitError, match="megapixels") as error:
        decode_image(data, DataConfig(max_megapixels=0.019))
    assert error.value.fault == (
        "has 0.02 megapixels (200×100)",
        "at most 0.019; --max-megapixels 1 allows it",
    )


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_damage_never_shows_as_another_error(data):
    whole = data.draw(st.sampled_from([png(0), png(1, (9, 9, 3)), jpeg(0), jpeg(1, (9, 9, 3))]))
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 5))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(broken)))
    for candidate in (bytes(broken), bytes(broken[:cut])):
        try:
            assert decode_image(candidate, SMALL).pixels.shape[:2] == (12, 12)
        except UnfitError as error:
            assert all(error.fault)  # noqa: PT017
