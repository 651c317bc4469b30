"""Which operations kernels compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from medjax.models.cpu_kernels.finders import FINDERS, find_sum

IMAGES, WEIGHTS = jnp.ones((4, 9, 9, 6)), jnp.ones((3, 3, 6, 12))
NHWC = ("NHWC", "HWIO", "NHWC")


def found(function, *arrays):
    """For each operation of a program that there is a finder for: whether it finds a function."""
    equations = jax.make_jaxpr(function)(*arrays).jaxpr.eqns
    return [
        FINDERS[each.primitive]([variable.aval for variable in each.invars], each.params) is not None
        for each in equations
        if each.primitive in FINDERS
    ]


def convolve(images, weights, **settings):
    padding = [(1, 1), (1, 1)]
    return lax.conv_general_dilated(images, weights, (1, 1), padding, dimension_numbers=NHWC, **settings)


def pool(images, sides=(1, 2, 2, 1), **settings):
    return lax.reduce_window(images, -jnp.inf, lax.max, sides, sides, "VALID", **settings)


@pytest.mark.parametrize(
    ("function", "arrays", "expected"),
    [
        (convolve, (IMAGES, WEIGHTS), True),
        (lambda *arrays: convolve(*arrays, feature_group_count=3), (IMAGES, WEIGHTS[:, :, :2]), True),
        (lambda *arrays: convolve(*arrays, lhs_dilation=(2, 1)), (IMAGES, WEIGHTS), True),
        (
            lambda *arrays: convolve(*arrays, lhs_dilation=(2, 1), rhs_dilation=(2, 2)),
            (IMAGES, WEIGHTS),
            False,
        ),
        (pool, (IMAGES,), True),
        (lambda images: pool(images, (1, 2, 2, 2)), (IMAGES,), False),
        (lambda images: pool(images, window_dilation=(1, 2, 1, 1)), (IMAGES,), False),
        (lambda images: lax.pad(images, 0.0, [(0, 0, 0), (1, 0, 1), (0, 0, 0), (0, 0, 0)]), (IMAGES,), True),
        (lambda images: lax.pad(images, 0.0, [(0, 0, 0), (1, 0, 0), (0, 0, 0), (0, 0, 0)]), (IMAGES,), False),
        (lambda images: lax.pad(images, 0.0, [(0, 0, 1), (1, 0, 1), (0, 0, 0), (0, 0, 0)]), (IMAGES,), False),
        (lambda images: images[..., :3], (IMAGES,), False),
        (lambda images: images[..., :3], (jnp.ones((4, 64, 64, 6)),), True),
    ],
)
def test_what_is_computed_by_kernels(function, arrays, expected):
    assert found(function, *arrays) == [expected]


@pytest.mark.parametrize(
    ("shape", "axes", "is_computed"),
    [
        ((8, 16, 16, 24), (0, 1, 2), True),
        ((8, 16, 16, 24), (1, 2), True),
        ((8, 16, 16, 24), (1, 2, 3), True),
        ((8, 16, 16, 24), (0, 1, 2, 3), True),
        ((8, 16, 16, 4, 6), (1, 2, 4), True),  # group norm
        ((2, 4, 16, 16, 4, 6), (2, 3, 5), True),
        ((8, 16, 16, 24), (1,), False),
        ((8, 16, 16, 24), (3,), False),
        ((8, 16, 16, 24), (0, 2), False),
        ((8, 16, 16, 4, 6), (1, 4), False),
        ((8, 16, 16, 4, 6), (1, 2), False),
        ((2**16,), (0,), False),
        ((8, 16, 16, 24), (), False),
        ((8, 8, 8, 24), (1, 2), False),
    ],
)
def test_sums_over_adjacent_axes_are_computed(shape, axes, is_computed):
    array, other = (np.random.default_rng(seed).normal(size=shape).astype(np.float32) for seed in (1, 2))
    row = np.arange(shape[-1], dtype=np.float32)
    function = find_sum(jax.typeof(array), axes)
    assert (function is not None) == is_computed
    if function is not None:
        term = ("multiply", ("array", 0), ("add", ("array", 1), ("row", 0)))
        found = jax.jit(lambda *arrays: function(term, arrays[:2], arrays[2:]))(array, other, row)
        expected = (array.astype(np.float64) * (other + row)).sum(axes)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-2)
