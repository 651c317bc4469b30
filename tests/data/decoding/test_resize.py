"""A stack of images against the same images one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from medjax.config import DataConfig
from medjax.data.decoding import resize as resizing
from medjax.data.decoding.resize import Placement, fit, fit_deep, fit_stack, place
from tests.sample_files import random_pixels

WAYS = ["stretch", "pad", "crop"]
STACKS = arrays.arrays(
    np.uint8,
    st.tuples(st.integers(1, 20), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])),
)

SIDES = st.one_of(st.integers(1, 40), st.tuples(st.integers(1, 40), st.integers(1, 40)))


@given(STACKS, st.sampled_from(["source", "gray", "rgb"]), st.sampled_from(WAYS), SIDES)
@settings(deadline=None)
def test_a_stack_is_as_its_images(stack, color, way, side):
    config = DataConfig(image_size=side, color=color, fit=way)
    fitted, changes = fit_stack(stack, config)
    for pixels, result in zip(stack, fitted, strict=True):
        alone = fit(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), config)
        np.testing.assert_array_equal(result, alone[0])
        assert changes == alone[1]


SHAPES = [(300, 17, 23, 1), (20, 200, 3, 3), (16, 1, 1, 1), (20, 28, 50, 1), (16, 50, 28, 3), (15, 64, 64, 1)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_noise_of_uncommon_shapes(shape, way):
    stack = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    config = DataConfig(fit=way)
    fitted, _ = fit_stack(stack, config)
    for pixels, result in zip(stack, fitted, strict=True):
        alone, _ = fit(Image.fromarray(pixels[..., 0] if shape[-1] == 1 else pixels), config)
        np.testing.assert_array_equal(result, alone)


@pytest.mark.parametrize("shape", [(96, 60), (60, 96)])
def test_an_image_that_is_not_square_is_stretched_padded_or_cropped(shape):
    """Upright and level: white on the inner square, gray outside of it."""
    pixels = np.full(shape, 100, np.uint8)
    start = 18
    inner = (
        (slice(start, start + 60), slice(None))
        if shape[0] > shape[1]
        else (slice(None), slice(start, start + 60))
    )
    pixels[inner] = 255
    image, found = Image.fromarray(pixels), {}
    for way in WAYS:
        found[way], changes = fit(image, DataConfig(image_size=32, fit=way))
        assert changes == ("resized", {"stretch": "reshaped", "pad": "padded", "crop": "cropped"}[way])
    assert (found["crop"] == 255).all()
    assert found["stretch"].min() == 100
    padded = found["pad"][..., 0] if shape[0] > shape[1] else found["pad"][..., 0].T
    assert not padded[:, :6].any()  # 60 of 96 are 20 of 32
    assert not padded[:, -6:].any()
    assert (padded[:, 6:26] >= 100).all()
    assert (padded[6:26, 6:26] >= 230).all()


@pytest.mark.parametrize("way", WAYS)
def test_square_images_are_fitted_alike_whatever_the_way(way):
    image = Image.fromarray(random_pixels(0, (40, 40)))
    np.testing.assert_array_equal(fit(image, DataConfig(fit=way))[0], fit(image, DataConfig())[0])
    assert fit(image, DataConfig(fit=way))[1] == ("resized",)


def test_a_line_of_pixels_keeps_one_when_padded():
    fitted, _ = fit(Image.new("L", (4000, 1), 9), DataConfig(image_size=8, fit="pad"))
    assert fitted.sum() == 8 * 9


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(40, 40), (96, 60), (20, 31), (28, 28), (28, 20)])
def test_sixteen_bits_lie_where_eight_bits_do(shape, way):
    """To within the rounding of 8 bits between the two passes."""
    config, pixels = DataConfig(fit=way), random_pixels(0, shape)
    eight, changes = fit(Image.fromarray(pixels), config)
    sixteen, same = fit_deep(Image.fromarray(pixels.astype(np.uint16) * 257), config)
    np.testing.assert_allclose(sixteen / 257, eight, atol=1)
    assert same == changes
    assert np.array_equal(sixteen == 0, eight == 0) or way != "pad"


def test_images_are_resized_together_only_where_that_gives_the_same(monkeypatch):
    """Both orders of the two passes are found out for what they are."""
    together = []
    resized = resizing._resized
    monkeypatch.setattr(resizing, "_resized", lambda *a: together.append(a[0].shape) or resized(*a))
    resizing._is_rows_first.cache_clear()
    for shape in [(20, 64, 64, 1), (20, 64, 5, 1)]:
        for _ in range(2):
            fit_stack(np.zeros(shape, np.uint8), DataConfig())
    assert together.count((20, 64, 64, 1)) == 2
    assert together.count((16, 64, 5, 1)) == 1
    rows_first = np.asarray(
        Image.fromarray(random_pixels(0, (64, 5))).resize((28, 64), 2).resize((28, 28), 2)
    )
    is_rows_first = np.array_equal(rows_first, Image.fromarray(random_pixels(0, (64, 5))).resize((28, 28), 2))
    assert together.count((20, 64, 5, 1)) == 2 * is_rows_first


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("stretch", Placement(None, (40, 20), (0, 0))),
        ("pad", Placement(None, (20, 20), (10, 0))),
        ("crop", Placement((0, 25, 100, 75), (40, 20), (0, 0))),
    ],
)
def test_a_square_goes_into_a_wide_image(way, expected):
    assert place(100, 100, (20, 40), way) == expected
    upright = place(100, 100, (40, 20), way)
    assert upright.size == expected.size[::-1]
    assert upright.corner == expected.corner[::-1]
    assert place(80, 40, (20, 40), way) == Placement(None, (40, 20), (0, 0))
    config = DataConfig(image_size=(20, 40), fit=way)
    assert fit(Image.new("L", (80, 40)), config)[1] == ("resized",)
    assert fit(Image.new("L", (80, 40)), config)[0].shape == (20, 40, 1)
