"""Pooling, and the gradient of max-pooling."""

import jax
import numpy as np
import pytest

from medjax.models.cpu_kernels.array_operations import max_pool_gradient, pool


def test_the_gradient_goes_to_the_first_of_equal_maxima():
    images = np.array([[1, 3, 3], [3, 0, 2], [0, 0, 0]], np.float32).reshape(1, 3, 3, 1)
    gradients = np.array([[10, 20], [30, 40]], np.float32).reshape(1, 2, 2, 1)
    program = jax.jit(lambda *arrays: max_pool_gradient(*arrays, (2, 2), (1, 1), ((0, 0), (0, 0))))
    assert program(images, gradients)[0, :, :, 0].tolist() == [[0, 30, 0], [30, 0, 40], [0, 0, 0]]


def test_what_lies_over_the_edge_gets_none():
    images = -np.ones((2, 3, 3, 4), np.float32)
    gradients = np.ones((2, 2, 2, 4), np.float32)
    program = jax.jit(lambda *arrays: max_pool_gradient(*arrays, (3, 3), (2, 2), ((1, 1), (1, 1))))
    assert program(images, gradients).sum() == gradients.size


def test_a_nan_stays_one_and_a_border_is_never_the_maximum():
    images = -np.ones((1, 3, 4, 2), np.float32)
    images[0, 0, 0, 0] = np.nan
    maxima = jax.jit(lambda images: pool("max", images, (2, 2), (2, 2), ((0, 1), (0, 0))))(images)
    assert np.isnan(maxima[..., 0]).tolist() == [[[True, False], [False, False]]]
    assert (maxima[..., 1] == -1).all()
    sums = jax.jit(lambda images: pool("sum", images, (2, 2), (2, 2), ((0, 1), (0, 0))))(images)
    assert sums[0, :, :, 1].tolist() == [[-4, -4], [-2, -2]]


@pytest.mark.parametrize("kind", ["max", "sum"])
@pytest.mark.parametrize(
    ("sides", "strides", "channels"), [((3, 3), (1, 1), 68), ((1, 22), (1, 1), 1), ((2, 11), (2, 3), 12)]
)
def test_windows_are_those_of_a_loop_over_them(kind, sides, strides, channels):
    images = np.random.default_rng(0).integers(-9, 9, (2, 7, 25, channels)).astype(np.float32)
    padding = ((1, 0), (0, 2))
    program = jax.jit(lambda images: pool(kind, images, sides, strides, padding))
    border = -np.inf if kind == "max" else 0
    padded = np.pad(images, ((0, 0), *padding, (0, 0)), constant_values=border)
    windows = np.lib.stride_tricks.sliding_window_view(padded, sides, (1, 2))[:, :: strides[0], :: strides[1]]
    expected = windows.max((-1, -2)) if kind == "max" else windows.sum((-1, -2))
    assert np.array_equal(program(images), expected)


def test_a_nan_anywhere_in_a_window_stays_one():
    images = np.zeros((9, 3, 3, 16), np.float32)
    for place in range(9):
        images[place, place // 3, place % 3, place] = np.nan
    maxima = jax.jit(lambda images: pool("max", images, (3, 3), (1, 1), ((0, 0), (0, 0))))(images)
    assert np.array_equal(np.isnan(maxima[:, 0, 0]), np.eye(9, 16, dtype=bool))
