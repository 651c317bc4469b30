"""Windows: from 16 bits to gray levels by one rule."""

import numpy as np
import pytest

from medjax.data.decoding.window import apply_window, choose_window, warn_of_few_levels, window_table
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


def test_only_images_of_sixteen_bits_are_written(monkeypatch):
    monkeypatch.setattr("medjax.data.decoding.window._TOGETHER", 2)
    values = np.arange(5, dtype=np.uint16).reshape(5, 1, 1, 1)
    images = np.full((5, 1, 1, 1), 99, np.uint8)
    is_used = apply_window(window_table(0, 255), values, np.array([True, False, True, False, True]), images)
    assert images.ravel().tolist() == [0, 99, 2, 99, 4]
    assert np.flatnonzero(is_used).tolist() == [0, 2, 4]


def test_few_levels_are_warned_of():
    with pytest.warns(UserWarning, match="set: its 16-bit images have 63 gray levels left, read from 0 to 9"):
        warn_of_few_levels("set", Window(0, 9, 63))
    warn_of_few_levels("set", Window(0, 9, 64))
    warn_of_few_levels("set", None)
