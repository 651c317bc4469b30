"""The layer against Flax: same values, same derivatives of any order, wherever it is lowered."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import RefusedError
from medjax.models.convolution_pool import ConvolutionPool, convolution_pool
from medjax.models.cpu_kernels import availability, ffi_call
from tests.models.cpu_kernels.test_twins import SHAPES, by_flax, random_arrays, random_problem

SHALLOW, DEEP = SHAPES[3], ((3, 8, 8, 8), (3, 3, 8, 16))


def squared_loss(layer, images, kernel, bias, weights):
    return (layer(images, kernel, bias) ** 2 * weights).sum()


our_loss = functools.partial(squared_loss, convolution_pool)
flax_loss = functools.partial(squared_loss, by_flax)


def assert_close(got, expected, tolerance=1e-3):
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        scale = max(1.0, float(jnp.abs(theirs).max()))
        np.testing.assert_allclose(ours / scale, theirs / scale, rtol=tolerance, atol=tolerance)


def kernels_called(function, *arguments):
    """Names of the kernels that the compiled program calls, but for the sums over tasks."""
    compiled = jax.jit(function).lower(*arguments).compile().as_text()
    return sorted(re.findall(r'custom_call_target="medjax_(?!task_sums)(\w+?)_\d', compiled))


@pytest.mark.parametrize(("image_shape", "kernel_shape"), SHAPES)
def test_values_and_gradients_are_those_of_flax(image_shape, kernel_shape):
    *arguments, weights = random_problem(image_shape, kernel_shape)
    ours, our_gradients = jax.vjp(jax.jit(convolution_pool), *arguments)
    theirs, their_gradients = jax.vjp(jax.jit(by_flax), *arguments)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    for mine, other in zip(our_gradients(weights), their_gradients(weights), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("problem", [SHALLOW, DEEP], ids=["shallow", "deep"])
def test_gradients_run_the_kernels_that_they_need(problem):
    arguments = random_problem(*problem)
    forward, kernel_gradient = {
        SHALLOW: ("pooled_forward", "shallow_kernel_gradient"),
        DEEP: ("winograd_forward", "kernel_gradient"),
    }[problem]
    assert kernels_called(our_loss, *arguments) == [forward]
    assert kernels_called(jax.grad(our_loss, argnums=(1, 2)), *arguments) == sorted(
        [kernel_gradient, forward]
    )
    assert kernels_called(jax.grad(our_loss), *arguments) == ["image_gradient", forward]
    everything = ["image_gradient", kernel_gradient, forward]
    assert kernels_called(jax.grad(our_loss, argnums=(0, 1, 2)), *arguments) == sorted(everything)


@pytest.mark.parametrize("problem", [SHALLOW, DEEP], ids=["shallow", "deep"])
def test_forward_mode_is_that_of_flax(problem):
    arguments = random_problem(*problem)
    tangents = [jnp.cos(array) for array in arguments]
    got = jax.jit(functools.partial(jax.jvp, our_loss))(arguments, tangents)
    assert_close(got, jax.jit(functools.partial(jax.jvp, flax_loss))(arguments, tangents))
    # The tangent of the kernel costs one convolution; none is computed for images without a tangent.
    weights_only = jax.jit(
        lambda kernel: jax.jvp(lambda k: our_loss(arguments[0], k, *arguments[2:]), [kernel], [kernel])
    )
    assert weights_only.lower(arguments[1]).as_text().count("stablehlo.convolution") == 1
    got = jax.jit(jax.jacfwd(convolution_pool, argnums=2))(*arguments[:3])
    assert_close(got, jax.jit(jax.jacfwd(by_flax, argnums=2))(*arguments[:3]))


@pytest.mark.parametrize("problem", [SHALLOW, DEEP], ids=["shallow", "deep"])
def test_second_derivatives_are_those_of_flax(problem):
    arguments = random_problem(*problem)

    def norm_of_gradients(loss, *arguments):
        gradients = jax.grad(loss, argnums=(0, 1, 2))(*arguments)
        return sum((gradient**2).sum() for gradient in gradients)

    second = {
        loss: jax.jit(jax.grad(functools.partial(norm_of_gradients, loss), argnums=(0, 1, 2, 3)))(*arguments)
        for loss in (our_loss, flax_loss)
    }
    assert_close(second[our_loss], second[flax_loss])
    for hessian in (jax.hessian, lambda loss, n: jax.jacrev(jax.jacrev(loss, n), n)):
        assert_close(jax.jit(hessian(our_loss, 2))(*arguments), jax.jit(hessian(flax_loss, 2))(*arguments))


def test_products_with_the_hessian_of_a_network_need_no_second_pass():
    """Forward over reverse, as second-order optimizers do it, through two layers."""
    images, first, second = random_arrays((4, 12, 12, 1), (3, 3, 1, 8), (3, 3, 8, 8))
    parameters = [(0.3 * first, jnp.full(8, 0.1)), (0.1 * second, jnp.full(8, 0.1))]

    def loss(layer, parameters):
        hidden = images
        for kernel, bias in parameters:
            hidden = layer(hidden, kernel, bias)
        return jnp.log(jnp.exp(hidden).sum())

    @functools.partial(jax.jit, static_argnums=0)
    def product(layer, parameters):
        return jax.jvp(jax.grad(functools.partial(loss, layer)), [parameters], [parameters])

    assert_close(product(convolution_pool, parameters), product(by_flax, parameters))


def test_equal_maxima_have_one_derivative_in_every_mode():
    # All outputs of a window are equal: the first gets the gradient, in forward mode and second derivatives, too.
    images, kernel, bias = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)), jnp.zeros(1)

    def total(images):
        return (convolution_pool(images, kernel, bias) ** 2).sum()

    gradient = jax.grad(total)(images)
    expected = jnp.zeros((4, 4)).at[:3, :3].set(18.0)
    assert np.array_equal(gradient[0, :, :, 0], expected)
    assert np.array_equal(jax.jacfwd(total)(images), gradient)
    hessian = jax.hessian(total)(images).reshape(16, 16)
    is_used = (expected > 0).astype(jnp.float32).ravel()
    assert np.array_equal(hessian, 2 * jnp.outer(is_used, is_used))


@pytest.mark.parametrize("side", [4, 5, 13, 28])
def test_the_layer_is_convolution_relu_pool(side):
    (images,) = random_arrays((2, side, side, 3))
    layer = ConvolutionPool(5)
    variables = layer.init(jax.random.key(1), images)
    variables = jax.tree.map(lambda leaf: leaf + 0.1, variables)  # a bias of zero would hide a mistake
    expected = by_flax(images, variables["params"]["kernel"], variables["params"]["bias"])
    np.testing.assert_allclose(layer.apply(variables, images), expected, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("pixel", [(0, 0), (3, 4), (7, 7)])
def test_a_pixel_that_is_not_finite_is_not_lost(bad, pixel):
    # A kernel of both signs, so that no infinity ends as the zero of ReLU.
    images = jnp.ones((1, 8, 8, 1)).at[(0, *pixel, 0)].set(bad)
    kernel = jnp.stack([jnp.ones((3, 3, 1)), -jnp.ones((3, 3, 1))], axis=-1)
    assert not np.isfinite(convolution_pool(images, kernel, jnp.zeros(2))).all()


def test_a_bias_that_is_not_a_number_is_not_lost():
    images, kernel, bias = random_arrays((2, 8, 8, 1), (3, 3, 1, 8), (8,))
    activations = convolution_pool(images, kernel, bias.at[3].set(np.nan))
    assert np.isnan(activations[..., 3]).all()
    assert np.isfinite(jnp.delete(activations, 3, axis=-1)).all()


def test_folds_side_by_side_are_folds_in_turn():
    images, kernels, biases = random_arrays((3, 5, 8, 8, 4), (3, 3, 3, 4, 8), (3, 8))

    def total(kernel, bias, images):
        return (convolution_pool(images, kernel, bias) ** 2).sum()

    gradient = jax.jit(jax.grad(total, argnums=(0, 1, 2)))
    beside = jax.jit(jax.vmap(gradient))(kernels, biases, images)
    for fold in range(3):
        alone = gradient(kernels[fold], biases[fold], images[fold])
        for mine, other in zip(alone, beside, strict=True):
            np.testing.assert_allclose(mine, other[fold], rtol=1e-5, atol=1e-5)
    assert kernels_called(jax.vmap(gradient), kernels, biases, images) == [
        "image_gradient",
        "kernel_gradient",
        "pooled_forward",
    ]


def test_the_gradient_of_folds_side_by_side_sums_over_what_they_share():
    images, kernel, biases = random_arrays((3, 5, 8, 8, 4), (3, 3, 4, 8), (3, 8))

    def total(layer, kernel, images):
        return (jax.vmap(layer, in_axes=(0, None, 0))(images, kernel, biases) ** 2).sum()

    ours = jax.grad(functools.partial(total, convolution_pool), argnums=(0, 1))
    assert_close(
        ours(kernel, images), jax.grad(functools.partial(total, by_flax), argnums=(0, 1))(kernel, images)
    )
    assert len(kernels_called(ours, kernel, images)) == 3


def test_loops_and_rematerialization_run_kernels():
    images, kernel, bias, weights = random_problem(*DEEP)

    def loop(kernel):
        def step(total, scale):
            return total + our_loss(scale * images, kernel, bias, weights), None

        return jax.lax.scan(step, 0.0, jnp.arange(1.0, 4.0))[0]

    scaled = [jax.grad(our_loss, 1)(scale * images, kernel, bias, weights) for scale in (1.0, 2.0, 3.0)]
    assert_close(jax.jit(jax.grad(loop))(kernel), sum(scaled))
    assert kernels_called(jax.grad(loop), kernel) == ["kernel_gradient", "winograd_forward"]
    saved = jax.grad(jax.checkpoint(our_loss), 1)
    assert_close(saved(images, kernel, bias, weights), scaled[0])
    assert set(kernels_called(saved, images, kernel, bias, weights)) == {
        "kernel_gradient",
        "winograd_forward",
    }


def test_images_too_small_for_the_layer_are_refused():
    with pytest.raises(
        RefusedError, match=r"3 by 8 is too small.*larger --image-size or fewer --block-features"
    ):
        ConvolutionPool(5).init(jax.random.key(0), jnp.zeros((1, 3, 8, 1)))


@pytest.mark.parametrize(("image_shape", "kernel_shape"), SHAPES[:2], ids=["shallow", "deep"])
def test_each_platform_gets_its_own_formulation(image_shape, kernel_shape):
    shapes = [
        jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (image_shape, kernel_shape, kernel_shape[-1:])
    ]
    assert "medjax_" in jax.jit(convolution_pool).lower(*shapes).as_text()
    for platform in ("cuda", "tpu"):
        module = jax.export.export(jax.jit(convolution_pool), platforms=(platform,))(*shapes).mlir_module()
        assert "stablehlo.convolution" in module
        assert "custom_call" not in module


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("platform", ["cuda", "tpu", "cpu"])
def test_exported_gradients_call_no_kernel_and_compile_none(platform, dtype):
    shapes = [
        jax.ShapeDtypeStruct(shape, dtype) for shape in ((6, 11, 10, 2), (3, 3, 2, 3), (3,), (6, 4, 4, 3))
    ]
    before = dict(ffi_call._loaded)
    gradient = jax.grad(our_loss, argnums=(0, 1, 2))
    module = jax.export.export(jax.jit(gradient), platforms=(platform,))(*shapes).mlir_module()
    assert module.count("stablehlo.convolution") == 3
    assert "custom_call" not in module
    jax.make_jaxpr(gradient)(*shapes)
    assert ffi_call._loaded == before


def test_batches_of_any_size_can_be_exported():
    _, kernel, bias, _ = random_problem(*DEEP)
    [size] = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((size, 8, 8, 8), jnp.float32)
    gradient = jax.grad(lambda images: (convolution_pool(images, kernel, bias) ** 2).sum())
    exported = jax.export.export(jax.jit(gradient))(images)
    for count in (1, 5):
        (images,) = random_arrays((count, 8, 8, 8))
        assert_close(exported.call(images), gradient(images))


def test_a_program_exported_for_cpus_gives_the_same_gradients():
    arguments = random_problem(*DEEP)
    gradient = jax.jit(jax.grad(our_loss, argnums=(0, 1, 2)))
    expected = gradient(*arguments)  # compiled with kernels first
    exported = jax.export.export(gradient, platforms=("cpu", "cuda"))(*arguments)
    assert_close(exported.call(*arguments), expected)
    assert "custom_call" not in exported.mlir_module()


def test_without_kernels_results_are_the_same(monkeypatch):
    arguments = random_problem(*DEEP)

    def gradients():
        """Kernels that are called, and results, of a function that is compiled anew."""
        function = functools.partial(jax.grad(our_loss, argnums=(0, 1, 2)))
        return kernels_called(function, *arguments), jax.jit(function)(*arguments)

    names, expected = gradients()
    assert len(names) == 3
    monkeypatch.setenv(availability.VARIABLE, "0")
    names, got = gradients()
    assert names == []
    assert_close(got, expected)


def test_bfloat16_trains_on_a_cpu_through_the_twin():
    *arguments, weights = (array.astype(jnp.bfloat16) for array in random_problem(*DEEP))
    availability.warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="CPU kernels are for float32, not bfloat16"):
        gradients = jax.jit(jax.grad(our_loss, argnums=(0, 1, 2)))(*arguments, weights)
    assert {gradient.dtype for gradient in gradients} == {jnp.dtype(jnp.bfloat16)}
    wide = [array.astype(jnp.float32) for array in (*arguments, weights)]
    assert_close([g.astype(jnp.float32) for g in gradients], list(jax.grad(our_loss, (0, 1, 2))(*wide)), 0.05)


def test_arrays_of_two_dtypes_are_promoted():
    images, kernel, bias, _ = random_problem(*DEEP)
    got = convolution_pool(images.astype(jnp.bfloat16), kernel, bias)
    assert got.dtype == jnp.float32
    assert_close(got, convolution_pool(images, kernel, bias), 0.05)
