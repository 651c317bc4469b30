"""Gradients of the weights of convolutions with groups, strides and borders."""

import jax
import numpy as np
import pytest

from medjax.models.cpu_kernels.register_tiles import Window
from medjax.models.cpu_kernels.weight_gradient import weight_gradient

RANDOM = np.random.default_rng(10)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("num_images", [1, 7])
def test_it_is_the_sum_of_products(groups, num_images):
    window = Window((2, 1), (1, 2), ((1, 0), (-1, 2)), groups)
    images = RANDOM.normal(size=(num_images, 8, 9, 6)).astype(np.float32)
    padded = np.pad(images, ((0, 0), (1, 0), (0, 2), (0, 0)))[:, :, 1:].astype(np.float64)
    sides = 3, 2
    height, width = (padded.shape[1] - 3) // 2 + 1, padded.shape[2] - 2
    gradients = RANDOM.normal(size=(num_images, height, width, 10)).astype(np.float32)
    found = jax.jit(lambda *arrays: weight_gradient(*arrays, sides, window))(images, gradients)
    by_group = gradients.reshape(*gradients.shape[:3], groups, -1)
    for y in range(3):
        for x in range(2):
            pixels = padded[:, y : y + 2 * height : 2, 2 * x : 2 * x + width][:, :height]
            pixels = pixels.reshape(*pixels.shape[:3], groups, -1)
            expected = np.einsum("nhwgc,nhwgf->cgf", pixels, by_group).reshape(6 // groups, 10)
            np.testing.assert_allclose(found[y, x], expected, rtol=1e-4, atol=1e-4)
