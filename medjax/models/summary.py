"""What a network is made of: one row a layer."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from medjax.models.network import Network, abstract_variables


class LayerSummary(NamedTuple):
    """One layer of a network."""

    layer: str  # its path in the network
    kind: str  # its class, of a convolution its kernel and stride too; empty where the network does not tell
    output_shape: tuple[int, ...]  # for one image; empty where the network does not tell
    parameters: int  # trained numbers


def summarize_network(network: Network, image_shape: tuple[int, ...]) -> list[LayerSummary]:
    """The layers of a network for one image of (height, width, channel). Computes nothing.

    Of a Linen module those that it calls, in order; of any other network the innermost groups of its parameters.
    """
    if network.module is not None:
        return _summarize_module(network, image_shape)
    parameters = abstract_variables(network, image_shape).parameters
    sizes: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(parameters)[0]:
        layer = "/".join(jax.tree_util.keystr((entry,), simple=True) for entry in path[:-1])
        sizes[layer] = sizes.get(layer, 0) + leaf.size
    return [LayerSummary(layer, "", (), size) for layer, size in sizes.items()]


def _summarize_module(network: Network, image_shape: tuple[int, ...]) -> list[LayerSummary]:
    rows: list[LayerSummary] = []

    def record(call, args, kwargs, context):
        output = call(*args, **kwargs)
        if context.method_name == "__call__":
            # A layer may return several arrays, or none.
            shape = jnp.shape(output)[1:] if hasattr(output, "shape") else ()
            rows.append(_summarize_layer(context.module, shape))
        return output

    with nn.intercept_methods(record):
        jax.eval_shape(lambda key: network.init(key, image_shape), jax.random.key(0))
    seen: dict[str, LayerSummary] = {}
    for row in rows:  # a layer that is called again is shown once
        seen.setdefault(row.layer, row)
    innermost = [row for row in seen.values() if not any(_is_inside(other, row.layer) for other in seen)]
    return _with_direct_parameters(network, image_shape, innermost)


def _with_direct_parameters(
    network: Network, image_shape: tuple[int, ...], rows: list[LayerSummary]
) -> list[LayerSummary]:
    """The rows, and one for parameters that belong to a module with layers inside, such as a position embedding."""
    parameters = abstract_variables(network, image_shape).parameters
    total = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    rest = total - sum(row.parameters for row in rows)
    return [*rows, LayerSummary("(other parameters)", "", (), rest)] if rest else rows


def _summarize_layer(module: nn.Module, output_shape: tuple[int, ...]) -> LayerSummary:
    arrays = jax.tree.leaves(module.variables.get("params", {}))
    return LayerSummary(
        "/".join(module.path), _kind(module), output_shape, sum(array.size for array in arrays)
    )


def _kind(module: nn.Module) -> str:
    """The class; of a convolution also its kernel and stride, which tell the stem for small images from that for large ones."""
    name = type(module).__name__
    if not isinstance(module, nn.Conv):
        return name
    kernel = "×".join(map(str, np.atleast_1d(module.kernel_size)))
    strides = np.atleast_1d(1 if module.strides is None else module.strides)
    return f"{name} {kernel}, stride {'×'.join(map(str, sorted(set(strides.tolist()))))}"


def _is_inside(inner: str, outer: str) -> bool:
    return inner != outer and (outer == "" or inner.startswith(outer + "/"))
