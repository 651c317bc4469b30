"""Tiles and blocks cover everything, and vectors of any width give the same numbers."""

import jax
import numpy as np
import pytest

from medjax.models.cpu_kernels import direct_convolution, direct_weight_gradient, register_tiles
from medjax.models.cpu_kernels.convolution import Convolution, convolve
from medjax.models.cpu_kernels.register_tiles import Window
from medjax.models.cpu_kernels.weight_gradient import weight_gradient

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (7, 7), (28, 28), (3, 50), (50, 3)])
@pytest.mark.parametrize("most", [6, 9, 14, 28])
def test_a_tile_fits_the_registers_and_the_outputs(height, width, most):
    rows, columns = direct_convolution._choose_tile(height, width, most)
    assert 1 <= rows * columns <= most
    assert rows <= height
    assert columns <= width


def test_tiles_waste_little():
    assert direct_convolution._choose_tile(28, 28, 14) == (1, 14)
    assert direct_convolution._choose_tile(7, 7, 14) in ((2, 7), (1, 7))
    assert direct_convolution._choose_tile(4, 4, 14) == (2, 4)


# A kernel is compiled once for its shapes, so each width has shapes of its own.
@pytest.mark.parametrize(("lanes", "channels"), [(8, 5), (16, 6)])
def test_any_width_of_vectors_gives_the_same_numbers(lanes, channels, monkeypatch):
    images = RANDOM.normal(size=(3, 7, 9, channels)).astype(np.float32)
    kernel = RANDOM.normal(size=(3, 2, channels, 40)).astype(np.float32)
    strides, padding, dilation = (1, 2), ((1, 0), (0, 1)), (2, 1)
    convolution = Convolution(strides, padding, (1, 1), dilation)
    for module in (direct_weight_gradient, register_tiles):
        monkeypatch.setattr(module, "register_lanes", lambda: lanes)

    def program(images, kernel):
        outputs = convolve(images, kernel, convolution)
        window = Window(strides, dilation, padding)
        return outputs, weight_gradient(images, outputs, kernel.shape[:2], window)

    outputs, gradient = jax.jit(program)(images, kernel)
    padded = np.pad(images, ((0, 0), (1, 0), (0, 1), (0, 0))).astype(np.float64)
    expected = sum(
        np.einsum("nhwc,cf->nhwf", padded[:, 2 * y : 2 * y + 4, x : x + 9 : 2][:, :4, :5], kernel[y, x])
        for y in range(3)
        for x in range(2)
    )
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)
    for y in range(3):
        for x in range(2):
            pixels = padded[:, 2 * y : 2 * y + 4, x : x + 9 : 2][:, :4, :5]
            wanted = np.einsum("nhwc,nhwf->cf", pixels, expected)
            np.testing.assert_allclose(gradient[y, x], wanted, rtol=1e-3, atol=1e-2)
