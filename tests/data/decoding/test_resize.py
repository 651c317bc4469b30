"""A stack of images against the same images one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from medjax.config import DataConfig
from medjax.data.decoding import resize as resizing
from medjax.data.decoding.resize import fit, fit_stack
from tests.sample_files import random_pixels

STACKS = arrays.arrays(
    np.uint8,
    st.tuples(st.integers(1, 20), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])),
)


@given(STACKS, st.sampled_from(["source", "gray", "rgb"]), st.integers(1, 40))
@settings(deadline=None)
def test_a_stack_is_as_its_images(stack, color, side):
    config = DataConfig(image_size=side, color=color)
    fitted, changes = fit_stack(stack, config)
    for pixels, result in zip(stack, fitted, strict=True):
        alone = fit(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), config)
        np.testing.assert_array_equal(result, alone[0])
        assert changes == alone[1]


SHAPES = [(300, 17, 23, 1), (20, 200, 3, 3), (16, 1, 1, 1), (20, 28, 50, 1), (16, 50, 28, 3), (15, 64, 64, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_of_uncommon_shapes(shape):
    stack = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    fitted, _ = fit_stack(stack, DataConfig())
    for pixels, result in zip(stack, fitted, strict=True):
        alone, _ = fit(Image.fromarray(pixels[..., 0] if shape[-1] == 1 else pixels), DataConfig())
        np.testing.assert_array_equal(result, alone)


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
