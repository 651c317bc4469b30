"""What a model is made of: one row a layer."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn


class LayerSummary(NamedTuple):
    """One layer of a model."""

    layer: str  # where it stands in the model
    kind: str  # its class
    output_shape: tuple[int, ...]  # of one image
    parameters: int  # trained numbers


def summarize_model(model: nn.Module, image_shape: tuple[int, ...]) -> list[LayerSummary]:
    """The layers that `model` runs on one image of (height, width, channel), in order; computes nothing."""
    rows: list[LayerSummary] = []

    def record(call, args, kwargs, context):
        output = call(*args, **kwargs)
        if context.method_name == "__call__":
            rows.append(_summarize_layer(context.module, output.shape[1:]))
        return output

    def run() -> None:
        model.init(jax.random.key(0), jnp.zeros((1, *image_shape)))

    with nn.intercept_methods(record):
        jax.eval_shape(run)
    return [row for row in rows if not any(_is_inside(other.layer, row.layer) for other in rows)]


def _summarize_layer(module: nn.Module, output_shape: tuple[int, ...]) -> LayerSummary:
    arrays = jax.tree.leaves(module.variables.get("params", {}))
    return LayerSummary(
        "/".join(module.path), type(module).__name__, output_shape, sum(array.size for array in arrays)
    )


def _is_inside(inner: str, outer: str) -> bool:
    return inner != outer and (outer == "" or inner.startswith(outer + "/"))
