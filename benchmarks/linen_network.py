"""A tree of layers as the Linen module that a user would write: Linen's own layers, called one after the other."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from benchmarks import layers
from benchmarks.layers import Layer

_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "relu6": nn.relu6,
    "gelu": nn.gelu,
    "silu": nn.silu,
    "sigmoid": nn.sigmoid,
}


class LinenNetwork(nn.Module):
    """Layers under Linen's own names, `Conv_0`, `Conv_1`, `BatchNorm_0`, …, counted along the tree."""

    tree: Layer

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Logits."""
        return _call(self.tree, images, train)


def _call(layer: Layer, x: jax.Array, train: bool) -> jax.Array:
    match layer:
        case layers.Chain():
            for each in layer.layers:
                x = _call(each, x, train)
            return x
        case layers.Residual():
            branch = _call(layer.branch, x, train)
            return branch + _call(layer.shortcut, x, train)
        case layers.Gate():
            return x * _call(layer.branch, x, train)
        case layers.Concatenate():
            return jnp.concatenate([_call(each, x, train) for each in layer.branches], axis=-1)
        case layers.Conv():
            return _make_conv(layer)(x)
        case layers.Norm():
            return _make_norm(layer, train)(x)
        case layers.Dense():
            return nn.Dense(layer.features)(x)
        case layers.Activation():
            return _ACTIVATIONS[layer.kind](x)
        case layers.Pool():
            pool = nn.max_pool if layer.kind == "max" else nn.avg_pool
            window, strides = (layer.window,) * 2, (layer.stride,) * 2
            return pool(x, window, strides, [(layer.padding,) * 2] * 2)
        case layers.GlobalMean():
            return x.mean((1, 2), keepdims=layer.keeps_axes)
        case layers.Flatten():
            return x.reshape(len(x), math.prod(x.shape[1:]))
    raise TypeError(f"no layer: {layer}")


def _make_conv(layer: layers.Conv) -> nn.Conv:
    return nn.Conv(
        layer.features,
        (layer.kernel, layer.kernel),
        layer.stride,
        layer.padding,
        kernel_dilation=layer.dilation,
        feature_group_count=layer.groups,
        use_bias=layer.use_bias,
    )


def _make_norm(layer: layers.Norm, train: bool) -> Any:
    if layer.kind == "batch":
        return nn.BatchNorm(use_running_average=not train, momentum=0.9)
    return nn.GroupNorm(layer.groups) if layer.kind == "group" else nn.LayerNorm()
