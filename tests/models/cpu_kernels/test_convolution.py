"""Convolutions as the kernels take them."""

import jax
import numpy as np
import pytest
from jax import lax

from medjax.models.cpu_kernels.convolution import Convolution, convolve

RANDOM = np.random.default_rng(1)


@pytest.mark.parametrize("dilation", [(2, 2), (3, 1)])
@pytest.mark.parametrize("padding", [((2, 2), (2, 1)), ((0, 0), (0, 0)), ((1, 3), (-1, 2))])
@pytest.mark.parametrize("taps", [(3, 3), (1, 1)])
def test_zeros_between_pixels_are_never_multiplied(dilation, padding, taps):
    images = RANDOM.normal(size=(2, 5, 6, 4)).astype(np.float32)
    kernel = RANDOM.normal(size=(*taps, 4, 8)).astype(np.float32)
    convolution = Convolution((1, 1), padding, dilation, (1, 1))
    found = jax.jit(lambda *arrays: convolve(*arrays, convolution))(images, kernel)
    expected = lax.conv_general_dilated(
        images, kernel, (1, 1), padding, lhs_dilation=dilation, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
