"""Our layer against the library's: same values, same gradients, wherever it is lowered."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import RefusedError
from medjax.models.convolution_pool import ConvolutionPool, convolution_pool
from tests.models.cpu_kernels.test_twins import SHAPES, by_flax, random_arrays


@pytest.mark.parametrize(("image_shape", "kernel_shape"), SHAPES)
def test_values_and_gradients_are_the_librarys(image_shape, kernel_shape):
    images, kernel, bias, weights = random_arrays(
        image_shape,
        kernel_shape,
        kernel_shape[-1:],
        jax.eval_shape(by_flax, *map(jnp.zeros, (image_shape, kernel_shape, kernel_shape[-1:]))).shape,
    )
    ours, our_gradients = jax.vjp(jax.jit(convolution_pool), images, kernel, bias)
    theirs, their_gradients = jax.vjp(jax.jit(by_flax), images, kernel, bias)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    for mine, other in zip(our_gradients(weights), their_gradients(weights), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-3)


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
def test_a_number_that_is_not_finite_is_not_lost(bad, pixel):
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
        assert "medjax_" not in module
