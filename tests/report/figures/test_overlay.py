"""Maps over images: colors by sign and strength, sizes, and images of all kinds."""

import io

import numpy as np
import pytest
from PIL import Image

from medjax.report.figures.overlay import encode_png, enlarge, overlay

GRAY = np.full((28, 20, 1), 100, np.uint8)


def test_images_are_enlarged_by_a_whole_number():
    image = np.arange(28 * 20, dtype=np.uint16).reshape(28, 20, 1).astype(np.uint8)
    shown = enlarge(image)
    assert shown.shape == (224, 160, 3)
    np.testing.assert_array_equal(shown[::8, ::8, 1], image[..., 0])
    assert enlarge(np.zeros((300, 200, 3), np.uint8)).shape == (300, 200, 3)
    np.testing.assert_array_equal(enlarge(image.astype(np.uint16) * 256), shown)


def test_orange_is_above_and_blue_below_zero():
    values = np.zeros((28, 20), np.float32)
    values[:14, :10], values[14:, 10:] = 2.0, -2.0
    shown = overlay(GRAY, values).astype(int)
    above, below, none = shown[40, 40], shown[200, 130], shown[40, 130]
    assert above[0] > 150 > above[2]
    assert below[2] > 130 > below[0]
    np.testing.assert_array_equal(none, [100, 100, 100])


def test_strength_is_relative_to_the_map():
    values = np.random.default_rng(0).random((28, 20), dtype=np.float32)
    np.testing.assert_allclose(overlay(GRAY, values), overlay(GRAY, values * 1000), atol=1)


@pytest.mark.parametrize("value", [0.0, 1e-30])
def test_an_empty_map_leaves_the_image(value):
    values = np.zeros((28, 20), np.float32)
    values[0, 0] = value  # below the percentile
    shown = overlay(GRAY, values)
    np.testing.assert_array_equal(shown[32:, 32:], enlarge(GRAY)[32:, 32:])


def test_a_png_is_the_pixels():
    shown = enlarge(GRAY)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_png(shown)))), shown)
