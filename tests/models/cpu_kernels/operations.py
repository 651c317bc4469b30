"""Operations drawn at random, each with its gradients, computed as JAX lowers them and as `fast_convolutions` does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from medjax.models.cpu_kernels.lowering import fast_convolutions


def draw(seed, kind):
    """A function of images and weights, and these: pooling, or a convolution, plain or of the kind."""
    random = np.random.default_rng(seed)
    sides, strides, dilation = (
        tuple(int(number) for number in random.integers(1, most, 2)) for most in (6, 4, 3)
    )
    if kind == "winograd":
        sides, strides = (3, 3), (1, 1)
    if kind in ("max_pool", "sum_pool", "winograd"):
        dilation = (1, 1)
    height, width = (
        int(random.integers((side - 1) * spread + 1, (side - 1) * spread + 20))
        for side, spread in zip(sides, dilation, strict=True)
    )
    channels = int(random.choice([16, 24, 64] if kind == "winograd" else [1, 2, 3, 5, 8, 16, 20, 48]))
    features = int(
        random.choice([16, 33, 48, 64, 128] if kind == "winograd" else [1, 3, 8, 10, 16, 33, 48, 64])
    )
    groups = 1
    if kind == "depthwise":
        features = groups = channels
    if kind == "grouped":
        groups = int(random.choice([2, 3, 8]))
        channels, features = groups * channels, groups * features
    # The last kind of padding may cut a row off; JAX's own pooling takes no such padding.
    cut = 0 if "pool" in kind else -1
    around = [
        (int(random.integers(0, side)), cut if length > side * spread else 0)
        for side, length, spread in zip(sides, (height, width), dilation, strict=True)
    ]
    padding = ["SAME", "VALID", around][seed % 3]
    images = random.normal(size=(int(random.integers(1, 9)), height, width, channels)).astype(np.float32)
    weights = random.normal(size=(*sides, channels // groups, features))
    layout = "NHWC" if seed % 2 else "NCHW"
    if layout == "NCHW":
        images = images.transpose(0, 3, 1, 2)
    if "pool" in kind:
        start, reduce = (-jnp.inf, lax.max) if kind == "max_pool" else (0.0, lax.add)
        return functools.partial(_pool, start, reduce, layout, sides, strides, padding), (np.round(images),)
    convolve = functools.partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding=padding,
        rhs_dilation=dilation,
        dimension_numbers=(layout, "HWIO", layout),
        feature_group_count=groups,
    )
    return convolve, (images, weights.astype(np.float32))


def _pool(start, reduce, layout, sides, strides, padding, images):
    def filled(pair, other):
        return (other, *pair, other) if layout == "NHWC" else (other, other, *pair)

    if not isinstance(padding, str):
        padding = filled(padding, (0, 0))
    return lax.reduce_window(images, start, reduce, filled(sides, 1), filled(strides, 1), padding)


def with_gradients(function):
    """A function that returns outputs and gradients of all arguments, for gradients of ones and twos."""

    def computed(*arrays):
        outputs, pull_back = jax.vjp(function, *arrays)
        gradient = 1.0 + (jnp.arange(outputs.size) % 2).reshape(outputs.shape).astype(outputs.dtype)
        return (outputs, *pull_back(gradient))

    return computed


def largest_difference(operations):
    """Of all results of some operations, the largest difference between both ways, relative to the largest number."""
    functions = [with_gradients(function) for function, _ in operations]
    arrays = [arguments for _, arguments in operations]

    def together(arrays):
        return [function(*each) for function, each in zip(functions, arrays, strict=True)]

    expected = jax.jit(together)(arrays)
    with fast_convolutions():
        found = jax.jit(lambda arrays: together(arrays))(arrays)
    differences = [
        np.max(np.abs(mine - its), initial=0) / (1e-9 + np.max(np.abs(its), initial=0))
        for mine, its in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    ]
    return max(differences)
