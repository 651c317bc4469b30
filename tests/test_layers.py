"""Our convolution and pooling against the library's: same values, same gradients, wherever they are lowered."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medjax.errors import RefusedError
from medjax.models.layers import ConvolutionPool, _by_library, _by_slices, _by_winograd, convolution, max_pool

SHAPES = [
    ((2, 28, 28, 1), (3, 3, 1, 32)),
    ((3, 13, 13, 32), (3, 3, 32, 8)),
    ((1, 5, 9, 3), (3, 3, 3, 4)),
    ((2, 6, 6, 2), (1, 5, 2, 3)),
]
FORMULATIONS = [(_by_slices, *shapes) for shapes in SHAPES] + [
    (_by_winograd, image_shape, kernel_shape)
    for image_shape, kernel_shape in (
        *SHAPES[:3],
        ((2, 12, 12, 32), (3, 3, 32, 64)),
        ((2, 3, 4, 8), (3, 3, 8, 2)),
    )
]


def random_arrays(*shapes):
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


@pytest.mark.parametrize(("formulation", "image_shape", "kernel_shape"), FORMULATIONS)
def test_a_cpus_convolution_is_the_librarys(formulation, image_shape, kernel_shape):
    images, kernel = random_arrays(image_shape, kernel_shape)
    np.testing.assert_allclose(formulation(images, kernel), _by_library(images, kernel), atol=1e-4)

    def weighted(function, images, kernel):
        output = function(images, kernel)
        return (output * jnp.arange(output.size).reshape(output.shape) / output.size).sum()

    ours = jax.grad(weighted, argnums=(1, 2))(formulation, images, kernel)
    theirs = jax.grad(weighted, argnums=(1, 2))(_by_library, images, kernel)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (1, 7, 9, 2), (2, 2, 3, 1)])
@pytest.mark.parametrize("has_ties", [False, True])
def test_max_pool_is_flaxs(shape, has_ties):
    (images,) = random_arrays(shape)
    if has_ties:
        images = jnp.round(images)

    def librarys(images):
        return nn.max_pool(images, (2, 2), strides=(2, 2))

    ours, our_gradient = jax.vjp(max_pool, images)
    theirs, their_gradient = jax.vjp(librarys, images)
    assert np.array_equal(ours, theirs)
    weights = jnp.arange(1.0, ours.size + 1).reshape(ours.shape)
    assert np.array_equal(our_gradient(weights)[0], their_gradient(weights)[0])


@pytest.mark.parametrize("side", [4, 5, 13, 28])
def test_convolution_pool_is_convolution_relu_pool(side):
    (images,) = random_arrays((2, side, side, 3))
    layer = ConvolutionPool(5)
    variables = layer.init(jax.random.key(1), images)
    variables = jax.tree.map(lambda leaf: leaf + 0.1, variables)  # a bias of zero would hide a mistake
    reference = nn.Conv(5, (3, 3), padding="VALID").apply(variables, images)
    expected = nn.max_pool(nn.relu(reference), (2, 2), strides=(2, 2))
    np.testing.assert_allclose(layer.apply(variables, images), expected, atol=1e-5)


def test_a_deep_kernel_takes_two_thirds_of_the_multiplications():
    def flops(channels):
        shapes = jnp.zeros((4, 12, 12, channels)), jnp.zeros((3, 3, channels, 64))
        return jax.jit(convolution).lower(*shapes).compile().cost_analysis()["flops"] / channels

    assert flops(32) < 0.75 * flops(4)


def test_images_too_small_for_the_layer_are_refused():
    with pytest.raises(RefusedError, match="3 by 8 is too small"):
        ConvolutionPool(5).init(jax.random.key(0), jnp.zeros((1, 3, 8, 1)))


@pytest.mark.parametrize("shapes", SHAPES[:2], ids=["shallow", "deep"])
def test_each_platform_gets_its_own_formulation(shapes):
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    for platform, is_library in (("cpu", False), ("cuda", True), ("tpu", True)):
        exported = jax.export.export(jax.jit(convolution), platforms=(platform,))(*shapes)
        assert ("stablehlo.convolution" in exported.mlir_module()) == is_library, platform
