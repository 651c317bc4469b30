"""Chunks of images, and pixels that are copied apart."""

import jax
import numpy as np
import pytest

from medjax.models.cpu_kernels.direct_weight_gradient import copies_pixels, make_chunks
from medjax.models.cpu_kernels.register_tiles import Window
from medjax.models.cpu_kernels.weight_gradient import weight_gradient

PLAIN = Window((1, 1), (1, 1))


@pytest.mark.parametrize("num_groups", [1, 4])
def test_chunks_are_small_and_never_more_than_a_job_has(num_groups):
    small = make_chunks(PLAIN, 3, (10, 6, 6, 4), (10, 4, 4, 16), num_groups)
    assert small.images == small.group_size == -(-10 // num_groups)
    assert make_chunks(PLAIN, 3, (10, 200, 200, 64), (10, 198, 198, 16), num_groups).images == 1


def test_pixels_of_512_channels_are_copied():
    assert copies_pixels(PLAIN, 512)
    assert not copies_pixels(PLAIN, 528)
    assert copies_pixels(PLAIN._replace(padding=((1, 1), (0, 0))), 16)
    random = np.random.default_rng(11)
    images, gradients = (random.normal(size=(3, 4, 4, width)).astype(np.float32) for width in (512, 8))
    found = jax.jit(lambda *arrays: weight_gradient(*arrays, (1, 1), PLAIN))(images, gradients)
    expected = np.einsum("nhwc,nhwf->cf", images.astype(np.float64), gradients)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-4, atol=1e-4)
