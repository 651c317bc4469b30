"""Winograd's convolutions, by vectors of any width."""

import jax
import numpy as np
import pytest

from medjax.models.cpu_kernels import convolution as convolutions
from medjax.models.cpu_kernels import (
    register_tiles,
    winograd,
    winograd_gradient,
    winograd_tiles,
)
from medjax.models.cpu_kernels import weight_gradient as weight_gradients
from medjax.models.cpu_kernels.convolution import Convolution, convolve
from medjax.models.cpu_kernels.ffi_call import _loaded
from medjax.models.cpu_kernels.register_tiles import Window
from medjax.models.cpu_kernels.weight_gradient import weight_gradient

RANDOM = np.random.default_rng(4)


# A kernel is compiled once for its shapes, so each case has shapes of its own.
@pytest.mark.parametrize(("lanes", "features"), [(8, 56), (16, 72)])
@pytest.mark.parametrize("height", [5, 6])
def test_any_width_of_vectors_gives_the_same_numbers(lanes, features, height, monkeypatch):
    for module in (register_tiles, winograd, winograd_gradient, winograd_tiles):
        monkeypatch.setattr(module, "register_lanes", lambda: lanes)
    monkeypatch.setattr(weight_gradients, "_MIN_SUMMED_TILES", 8)
    images = RANDOM.normal(size=(5, height, 9, 24)).astype(np.float32)
    kernel = RANDOM.normal(size=(3, 3, 24, features)).astype(np.float32)
    padding = ((1, 0), (0, 1))
    before = set(_loaded)

    def program(images, kernel):
        outputs = convolve(images, kernel, Convolution((1, 1), padding, (1, 1), (1, 1)))
        return outputs, weight_gradient(images, outputs, (3, 3), Window((1, 1), (1, 1), padding))

    outputs, gradient = jax.jit(program)(images, kernel)
    names = set(_loaded) - before
    assert names
    kinds = ("winograd", "transform_weights", "task_sums")
    assert all(any(kind in name for kind in kinds) for name in names)
    padded = np.pad(images, ((0, 0), *padding, (0, 0))).astype(np.float64)
    taps = [(y, x) for y in range(3) for x in range(3)]
    windows = {(y, x): padded[:, y : y + height - 1, x : x + 8] for y, x in taps}
    expected = sum(np.einsum("nhwc,cf->nhwf", windows[tap], kernel[tap]) for tap in taps)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)
    for tap in taps:
        wanted = np.einsum("nhwc,nhwf->cf", windows[tap], expected)
        np.testing.assert_allclose(gradient[tap], wanted, rtol=1e-3, atol=1e-2)


def test_jobs_share_features_and_images(monkeypatch):
    monkeypatch.setattr(convolutions, "_CACHED_WEIGHTS_BYTES", 1)
    monkeypatch.setattr(weight_gradients, "_CACHED_SUMS_BYTES", 1)
    monkeypatch.setattr(weight_gradients, "_MIN_SUMMED_TILES", 8)
    images = RANDOM.normal(size=(7, 6, 6, 16)).astype(np.float32)
    kernel = RANDOM.normal(size=(3, 3, 16, 96)).astype(np.float32)
    convolution = Convolution((1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1))
    found = jax.jit(lambda *arrays: convolve(*arrays, convolution))(images, kernel)
    taps = [(y, x) for y in range(3) for x in range(3)]
    expected = sum(
        np.einsum("nhwc,cf->nhwf", images[:, y : y + 4, x : x + 4].astype(np.float64), kernel[y, x])
        for y, x in taps
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    gradient = jax.jit(lambda *arrays: weight_gradient(*arrays, (3, 3), Window((1, 1), (1, 1))))(
        images, found
    )
    for y, x in taps:
        wanted = np.einsum("nhwc,nhwf->cf", images[:, y : y + 4, x : x + 4], expected)
        np.testing.assert_allclose(gradient[y, x], wanted, rtol=1e-3, atol=1e-2)
