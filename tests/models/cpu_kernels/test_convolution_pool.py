"""A CPU's loops against the library's convolutions: not a bit between them where nothing is rounded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models import convolution_pool as layers
from medjax.models.cpu_kernels import convolution_pool as kernels
from medjax.models.cpu_kernels import emitter
from medjax.models.cpu_kernels import ffi_call as native
from tests.models.test_convolution_pool import SHAPES, random_arrays


@pytest.mark.parametrize(("image_shape", "kernel_shape"), SHAPES)
def test_both_formulations_agree_to_the_place(image_shape, kernel_shape):
    # Whole numbers: no rounding, and many windows whose largest values are equal.
    images, kernel, bias = (
        jnp.round(2 * each) for each in random_arrays(image_shape, kernel_shape, kernel_shape[-1:])
    )
    ours, our_places = jax.jit(layers._forward_natively)(images, kernel, bias)
    theirs, their_places = jax.jit(layers._forward_by_library)(images, kernel, bias)
    assert np.array_equal(ours, theirs)
    assert np.array_equal(our_places, their_places)
    assert len(np.unique(our_places)) == 5 or ours.size < 100
    gradient = jnp.round(2 * random_arrays(ours.shape)[0])
    arguments = images, kernel, our_places, gradient
    assert np.array_equal(
        jax.jit(layers._image_gradient_natively)(*arguments),
        jax.jit(layers._image_gradient_by_library)(*arguments),
    )
    for mine, other in zip(
        jax.jit(layers._kernel_gradient_natively)(*arguments),
        jax.jit(layers._kernel_gradient_by_library)(*arguments),
        strict=True,
    ):
        assert np.array_equal(mine, other)


def test_sixteen_lanes_are_eight_lanes(monkeypatch):
    # On a CPU whose registers are narrower, LLVM takes several: what wider machines run can be checked here.
    arguments = random_arrays((5, 9, 9, 32), (3, 3, 32, 32), (32,))
    results = []
    for lanes in (4, 8, 16):
        monkeypatch.setattr(emitter, "_vector_lanes", lambda lanes=lanes: lanes)
        monkeypatch.setattr(native, "_compiled", {})
        for kernel in (kernels.winograd_forward, kernels.image_gradient, kernels.kernel_gradient):
            monkeypatch.setattr(kernel, "__name__", f"{kernel.__name__.rstrip('_0123456789')}_{lanes}")
        activations, places = jax.jit(layers._forward_natively)(*arguments)
        gradient = jnp.cos(activations)
        results.append(
            (
                activations,
                places,
                jax.jit(layers._image_gradient_natively)(arguments[0], arguments[1], places, gradient),
                *jax.jit(layers._kernel_gradient_natively)(arguments[0], arguments[1], places, gradient),
            )
        )
    for other in results[1:]:
        for mine, theirs in zip(results[0], other, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)
