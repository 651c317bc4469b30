"""Operations of any shape give the same numbers, whoever lowers them."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from medjax.models.cpu_kernels import ffi_call, lowering
from medjax.models.cpu_kernels.lowering import fast_convolutions
from tests.models.cpu_kernels.operations import draw, largest_difference

KINDS = ("convolution", "winograd", "depthwise", "grouped", "max_pool", "sum_pool")


@pytest.mark.parametrize("kind", KINDS)
def test_operations_and_their_gradients_are_those_of_the_library(kind):
    # Each draw takes a second to compile.
    assert largest_difference([draw(seed, kind) for seed in range(5)]) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", range(100, 250, 7))
def test_a_thousand_operations_are_those_of_the_library(kind, first):
    assert largest_difference([draw(seed, kind) for seed in range(first, first + 7)]) < 1e-5


def targets_of(function, *arrays):
    """Names of the kernels that a program calls."""
    text = jax.jit(function).lower(*arrays).as_text()
    return {name for name in ffi_call._loaded if name in text}


def convolve(images, weights):
    return lax.conv_general_dilated(
        images, weights, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


IMAGES, WEIGHTS = jnp.ones((4, 9, 9, 3)), jnp.ones((3, 3, 3, 16))


def test_only_programs_that_are_lowered_inside_call_kernels():
    with fast_convolutions():
        (name,) = targets_of(lambda *arrays: convolve(*arrays), IMAGES, WEIGHTS)
    assert name.startswith("medjax_convolution_")
    assert targets_of(lambda *arrays: convolve(*arrays), IMAGES, WEIGHTS) == set()


@pytest.mark.parametrize(
    "change",
    [
        lambda images, weights: (images.astype(jnp.bfloat16), weights.astype(jnp.bfloat16)),
        lambda images, weights: (images[..., None, :], weights[..., None, :, :]),
    ],
    ids=["bfloat16", "three dimensions"],
)
def test_what_no_kernel_computes_is_left_to_the_library(change):
    images, weights = change(IMAGES, WEIGHTS)
    spec = ("NHWC", "HWIO", "NHWC") if images.ndim == 4 else ("NHWDC", "HWDIO", "NHWDC")
    strides = (1,) * (images.ndim - 2)

    def program(images, weights):
        return lax.conv_general_dilated(images, weights, strides, "SAME", dimension_numbers=spec)

    with fast_convolutions():
        assert targets_of(program, images, weights) == set()
        assert np.isfinite(np.asarray(jax.jit(program)(images, weights), np.float32)).all()


def test_without_kernels_the_library_runs(monkeypatch):
    monkeypatch.setenv("MEDJAX_CPU_KERNELS", "0")
    with fast_convolutions():
        assert targets_of(lambda *arrays: convolve(*arrays), IMAGES, WEIGHTS) == set()


def test_an_exported_program_calls_no_kernel():
    with fast_convolutions():
        exported = jax.export.export(jax.jit(convolve))(IMAGES, WEIGHTS)
    assert "medjax" not in exported.mlir_module()


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_another_platform_gets_no_kernel(platform):
    with fast_convolutions():
        lowered = (
            jax.jit(lambda *arrays: convolve(*arrays))
            .trace(IMAGES, WEIGHTS)
            .lower(lowering_platforms=(platform,))
        )
    assert "medjax" not in lowered.as_text()


def test_large_sums_over_columns_are_summed_by_a_kernel_and_others_are_not():
    large = jnp.ones((8, 16, 32, 24))
    with fast_convolutions():
        names = targets_of(lambda array: array.sum((0, 1, 2)), large)
        assert {name.split("_by_")[0].split("_0x")[0] for name in names} == {
            "medjax_column_sums",
            "medjax_task_sums",
        }
        [name] = targets_of(lambda array: array.sum((1, 2)), large)
        assert name.startswith("medjax_column_sums_of_images_")
        [name] = targets_of(jax.vmap(lambda array: array.sum((0, 1))), large)
        assert name.startswith("medjax_column_sums_of_images_")
        assert targets_of(lambda array: array.sum((0, 2)), large) == set()
        assert targets_of(lambda array: array.sum(1), large) == set()
        assert targets_of(lambda array: array.sum(3), large) == set()
        assert targets_of(lambda array: array.sum((0, 1, 2)), large[:1]) == set()
        assert targets_of(lambda array: array.astype(jnp.int32).sum((0, 1, 2)), large) == set()


def test_a_whole_array_of_four_thousand_numbers_is_summed_by_a_kernel():
    array = np.random.default_rng(3).normal(size=(64, 8, 8)).astype(np.float32)
    with fast_convolutions():
        assert targets_of(lambda array: jnp.square(array).sum(), array[:63]) == set()
        assert len(targets_of(lambda array: jnp.square(array).sum(), array)) == 2
        found = jax.jit(lambda array: jnp.square(array).sum())(array)
    np.testing.assert_allclose(found, np.square(array.astype(np.float64)).sum(), rtol=1e-5)


@pytest.mark.parametrize("axes", [None, (0, 1)])
@pytest.mark.parametrize(
    "make",
    [lambda row: jnp.zeros((8, 64, 64)), lambda row: jnp.broadcast_to(row, (8, 64, 64)) * 2.0],
    ids=["numbers", "rows"],
)
def test_a_sum_of_what_is_the_same_in_every_row_is_left_to_the_library(make, axes):
    # As of the gradients of features that are frozen.
    row = np.arange(64, dtype=np.float32)
    with fast_convolutions():
        assert targets_of(lambda row: make(row).sum(axes), row) == set()
        found = jax.jit(lambda row: make(row).sum(axes))(row)
    np.testing.assert_allclose(found, np.asarray(make(row)).sum(axes), rtol=1e-5)


def test_it_works_inside_a_loop_and_under_vmap():
    def program(images, weights):
        def step(_, state):
            return convolve(state, weights[:, :, :, :3])

        return lax.fori_loop(0, 2, step, images)

    expected = jax.vmap(program, in_axes=(0, None))(jnp.stack([IMAGES, 2 * IMAGES]), 0.1 * WEIGHTS)
    with fast_convolutions():
        found = jax.jit(jax.vmap(program, in_axes=(0, None)))(jnp.stack([IMAGES, 2 * IMAGES]), 0.1 * WEIGHTS)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_slices_of_large_arrays_are_taken_by_a_kernel_along_any_axis_but_the_first():
    images = np.random.default_rng(5).normal(size=(3, 40, 20, 16)).astype(np.float32)
    parts = [np.s_[:, 3:17], np.s_[:, :, 5:], np.s_[..., 1:12]]
    with fast_convolutions():
        for part in parts:
            (name,) = targets_of(lambda array, part=part: array[part], images)
            assert "slice" in name
            np.testing.assert_array_equal(jax.jit(lambda array, part=part: array[part])(images), images[part])
        assert targets_of(lambda array: array[1:], images) == set()
        assert targets_of(lambda array: array[..., ::2], images) == set()


def test_gradients_of_concatenations_are_taken_apart_by_a_kernel():
    parts = [jnp.ones((3, 40, 20, features)) for features in (3, 16)]

    def gradient(*parts):
        weights = jnp.arange(19.0)
        return jax.grad(lambda parts: (jnp.concatenate(parts, -1) * weights).sum())(parts)

    with fast_convolutions():
        names = targets_of(gradient, *parts)
        found = jax.jit(gradient)(*parts)
    assert any("slice" in name for name in names)
    for mine, expected in zip(found, gradient(*parts), strict=True):
        np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(32, 40, 6), (7, 130, 33), (300, 24, 48), (600, 5, 3), (1, 1, 1)]
)
def test_gradients_of_dense_layers_are_those_of_the_library(rows, inputs, outputs):
    random = np.random.default_rng(7)
    images = random.normal(size=(rows, inputs)).astype(np.float32)
    weights = random.normal(size=(inputs, outputs)).astype(np.float32)

    def gradients(images, weights):
        return jax.grad(lambda pair: (jnp.tanh(pair[0] @ pair[1]) ** 2).sum())((images, weights))

    with fast_convolutions():
        names = targets_of(lambda *arrays: gradients(*arrays), images, weights)
        found = jax.jit(lambda *arrays: gradients(*arrays))(images, weights)
    assert any(("weight_gradient" if rows > 512 else "column_products") in name for name in names)
    assert rows > 256 or any("row_products" in name for name in names)
    for mine, expected in zip(found, gradients(images, weights), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-4)


def test_batched_and_other_products_are_left_to_the_library():
    left, right = jnp.ones((3, 4, 5)), jnp.ones((3, 5, 6))
    with fast_convolutions():
        assert targets_of(lambda *arrays: jnp.einsum("bij,bjk->bik", *arrays), left, right) == set()
        assert targets_of(lambda left, right: left @ right, left[0], right[0]) == set()


def test_rules_are_there_only_while_they_are_needed():
    rules = lowering._cpu_rules
    primitives = (*lowering.FINDERS, lax.reduce_sum_p, lowering.threefry2x32_p)
    before = {primitive: rules.get(primitive) for primitive in primitives}
    with fast_convolutions():
        with fast_convolutions():
            pass
        assert all(rules[primitive] is not before[primitive] for primitive in lowering.FINDERS)
    assert {primitive: rules.get(primitive) for primitive in primitives} == before
    exported = jax.export.export(jax.jit(lambda array: array.sum((0, 1))), platforms=("cpu", "cuda"))(
        jnp.ones((64, 64, 16))
    )
    assert "case" not in exported.mlir_module()


def test_another_thread_that_ends_first_changes_nothing():
    has_begun, may_end = threading.Event(), threading.Event()

    def use():
        with fast_convolutions():
            has_begun.set()
            may_end.wait(60)

    other = threading.Thread(target=use)
    other.start()
    has_begun.wait(60)
    with fast_convolutions():
        may_end.set()
        other.join()
        names = targets_of(lambda array: (array * array).sum((0, 1)), jnp.ones((64, 64, 16)))
    assert any("multiply" in name for name in names)
