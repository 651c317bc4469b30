"""Operations on arrays: see also the tests of each kernel."""

import jax
import jax.numpy as jnp
import numpy as np

from medjax.models.cpu_kernels.array_operations import pad, spread


def test_padding_below_zero_cuts_off():
    images = jnp.arange(12.0, dtype=jnp.float32).reshape(1, 3, 4, 1)
    padded = pad(images, ((1, -1), (0, -2)), -1.0)
    assert padded[0, :, :, 0].tolist() == [[-1, -1], [0, 1], [4, 5]]
    assert pad(images, ((0, 0), (0, 0))) is images


def test_pixels_are_spread_and_what_lies_outside_is_left_out():
    images = jnp.arange(1.0, 7.0, dtype=jnp.float32).reshape(1, 2, 3, 1)
    filling = jnp.float32(-1)
    found = jax.jit(lambda images: spread(images, filling, (3, 4), (2, 3), (-2, 0)))(images)
    expected = np.full((3, 4), -1.0)
    expected[0, [0, 3]] = 4, 5
    np.testing.assert_array_equal(found[0, :, :, 0], expected)
