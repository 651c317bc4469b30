"""Sums are computed together with what they sum, where few arrays are read for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.cpu_kernels import ffi_call
from medjax.models.cpu_kernels.lowering import fast_convolutions

RANDOM = np.random.default_rng(6)
X, Y, Z, W = (RANDOM.normal(size=(8, 20, 16, 24)).astype(np.float32) for _ in range(4))
ROW = RANDOM.normal(size=24).astype(np.float32)


def total(array):
    return array.sum((0, 1, 2))


def normalize_and_sum(x, y, row):
    mask = (x - row) * 2.0 + row.reshape(1, 1, 1, -1) > 0.0
    return total(-(jax.lax.select(mask, y, jnp.zeros_like(y)) * (x - row)))


# A function, its arguments, and a part of the name of the kernel that computes it.
COMPUTED = {
    "square": (lambda x: total(jax.lax.square(x)), (X,), "of_square(array0)"),
    "product": (lambda x, y: total(x * y), (X, Y), "of_multiply(array0,array1)"),
    "row": (lambda x, row: total(x - row), (X, ROW), "of_subtract(array0,row0)"),
    "column as a row": (lambda x, row: total(x * row[:20, None, None]), (X[:, :, :, :], ROW), "column_sums"),
    "masked": (normalize_and_sum, (X, Y, ROW), "of_negate(multiply(select(gt("),
    "over positions": (lambda x, y: (x * y).sum((1, 2)), (X, Y), "of_images_of_multiply(array0,array1)"),
    "positions of one image each": (lambda x, row: (x - row).sum((2,)), (X, ROW), "of_images_of_subtract"),
    "many arrays": (lambda *arrays: total(sum(arrays) * arrays[0]), (X, Y, Z, W), "column_sums"),
    "transcendental": (lambda x, y: total(jnp.tanh(x) * y), (X, Y), "of_multiply(array0,array1)"),
    "an argument as mask": (lambda x, mask: total(jnp.where(mask, x, 0.0)), (X, Y > 0), "column_sums"),
    "equal": (lambda x, y: total(jnp.where(x == y, x, y)), (X, Y), "column_sums"),
    "integers": (lambda x, y: total(x * (y > 0).astype(jnp.float32)), (X, Y), "of_multiply"),
    "twice": (lambda x: total(x * x) + total(x), (X,), "of_multiply(array0,array0)"),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_sums_are_those_of_the_library(name):
    function, arrays, part = COMPUTED[name]
    expected = jax.jit(function)(*arrays)
    with fast_convolutions():
        program = jax.jit(lambda *arrays: function(*arrays))
        text = program.lower(*arrays).as_text()
        found = program(*arrays)
    assert any(part in target and target in text for target in ffi_call._loaded)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-3)


def test_few_arrays_are_read():
    function, arrays, _ = COMPUTED["many arrays"]
    with fast_convolutions():
        text = jax.jit(lambda *arrays: function(*arrays)).lower(*arrays).as_text()
    [name] = [target for target in ffi_call._loaded if "column_sums" in target and target in text]
    assert "array2" not in name or "array3" not in name


def test_no_small_array_is_repeated_in_memory_to_be_read():
    gate = RANDOM.normal(size=(8, 1, 1, 24)).astype(np.float32)
    with fast_convolutions():
        program = jax.jit(lambda x, gate: (jnp.square(x * gate).sum((1, 2)), total(x * gate)))
        text = program.lower(X, gate).as_text()
        found = program(X, gate)
    names = {
        target.split("_0x")[0] for target in ffi_call._loaded if "column_sums" in target and target in text
    }
    assert names == {"medjax_column_sums_of_images_of_square(array0)", "medjax_column_sums"}
    for mine, expected in zip(found, (np.square(X * gate).sum((1, 2)), total(X * gate)), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=2e-3)


def test_a_nan_reaches_the_sum():
    array = X.copy()
    array[3, 4, 5, 6] = np.nan
    with fast_convolutions():
        found = jax.jit(lambda x: total(jnp.where(x > 0, x, 0.0) * x))(array)
        product = jax.jit(lambda x, y: total(x * y))(array, Y)
    assert np.isnan(found).tolist() == [channel == 6 for channel in range(24)]
    assert np.isnan(product).tolist() == [channel == 6 for channel in range(24)]
