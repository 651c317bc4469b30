"""Depthwise convolutions by vectors of any width."""

import jax
import numpy as np
import pytest

from medjax.models.cpu_kernels import depthwise
from medjax.models.cpu_kernels.convolution import Convolution, convolve_depthwise
from medjax.models.cpu_kernels.register_tiles import Window
from medjax.models.cpu_kernels.weight_gradient import depthwise_weight_gradient

RANDOM = np.random.default_rng(2)


# A kernel is compiled once for its shapes, so each number of registers has shapes of its own.
@pytest.mark.parametrize(("registers", "channels"), [({8: 14, 16: 26}, 24), ({8: 7, 16: 7}, 48)])
def test_tiles_of_any_width_give_the_same_numbers(registers, channels, monkeypatch):
    monkeypatch.setattr(depthwise, "_MAX_REGISTERS", registers)
    images = RANDOM.normal(size=(5, 8, 31, channels)).astype(np.float32)
    kernel = RANDOM.normal(size=(3, 5, channels)).astype(np.float32)
    convolution = Convolution((1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1))

    def program(images, kernel):
        outputs = convolve_depthwise(images, kernel, convolution)
        return outputs, depthwise_weight_gradient(images, outputs, kernel.shape[:2], Window((1, 1), (1, 1)))

    outputs, gradient = jax.jit(program)(images, kernel)
    exact = images.astype(np.float64)
    taps = [(y, x) for y in range(3) for x in range(5)]
    expected = sum(exact[:, y : y + 6, x : x + 27] * kernel[y, x] for y, x in taps)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)
    for y, x in taps:
        wanted = (exact[:, y : y + 6, x : x + 27] * expected).sum((0, 1, 2))
        np.testing.assert_allclose(gradient[y, x], wanted, rtol=1e-3, atol=1e-2)
