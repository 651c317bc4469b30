"""Windows: from 16 bits to gray levels by one rule."""

import numpy as np
import pytest

from medjax.data.decoding.window import apply_window, choose_window, warn_of_few_levels, widened, window_table
from medjax.records import Window


@pytest.mark.parametrize(
    ("largest", "high"),
    [
        (0, 255),
        (255, 255),
        (256, 1023),
        (1023, 1023),
        (4095, 4095),
        (4096, 16383),
        (16384, 65535),
        (65535, 65535),
    ],
)
def test_auto_is_the_bit_depth_in_use(largest, high):
    assert choose_window("auto", largest) == (0, high)
    assert choose_window((3, 7), largest) == (3, 7)


def test_a_table_goes_from_black_to_white_in_even_steps():
    table = window_table(1000, 3000)
    values = np.arange(2**16)
    expected = np.interp(values, [1000, 3000], [0, 255])
    assert np.abs(table - expected).max() <= 0.5
    assert (table[:1001] == 0).all()
    assert (table[3000:] == 255).all()


def test_the_whole_range_keeps_the_high_byte_of_repeated_bytes():
    """So that color images, of which only that is known, are as Pillow gives them."""
    np.testing.assert_array_equal(window_table(0, 65535)[np.arange(256) * 257], np.arange(256))


@pytest.mark.parametrize(
    ("bits", "expected"), [(8, [0, 3, 2, 3, 4]), (16, [0, 3 * 257, 2 * 257, 3 * 257, 4 * 257])]
)
def test_images_of_eight_bits_stay_as_they_are(monkeypatch, bits, expected):
    monkeypatch.setattr("medjax.data.decoding.window._TOGETHER", 2)
    values = np.array([0, 3 * 257, 2, 3 * 257, 4], np.uint16).reshape(5, 1, 1, 1)
    is_used = np.zeros(2**bits, bool)
    images = apply_window(window_table(0, 255, bits), values, np.arange(5) % 2 == 0, is_used)
    assert images.dtype == f"uint{bits}"
    assert images.ravel().tolist() == expected
    assert np.flatnonzero(is_used).tolist() == expected[::2]


def test_sixteen_bits_keep_every_value_of_twelve():
    table = window_table(0, 4095, 16)
    assert len(np.unique(table[:4096])) == 4096
    assert (table[0], table[4095], table[65535]) == (0, 65535, 65535)
    np.testing.assert_array_equal(window_table(0, 65535, 16), np.arange(2**16))
    np.testing.assert_array_equal(widened(np.array([0, 255], np.uint8)), [0, 65535])


def test_few_levels_are_warned_of():
    with pytest.warns(UserWarning, match="set: its 16-bit images have 63 gray levels left, read from 0 to 9"):
        warn_of_few_levels("set", Window(0, 9, 63))
    warn_of_few_levels("set", Window(0, 9, 64))
    warn_of_few_levels("set", None)
