"""What the layers of a Linen network return on the way to its logits: their shapes, and their maps with a change added."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Float32

from medjax.errors import refuse
from medjax.models.network import Network, Variables, abstract_variables

_KEY = 0  # as in evaluation


@functools.lru_cache(maxsize=32)
def layer_shapes(network: Network, image_shape: tuple[int, ...]) -> Mapping[str, tuple[int, ...]]:
    """Shapes of what the layers return for one image, by their paths ("features/block_0"), in the order of their calls.

    Only of layers that are called once and return one array of floats. Empty for networks that are no Linen module.
    Computes nothing.
    """
    if network.module is None:
        return {}
    shapes: dict[str, tuple[int, ...]] = {}
    repeated: set[str] = set()

    def record(path: str, output: Any) -> Any:
        is_array = hasattr(output, "shape") and jnp.issubdtype(output.dtype, jnp.floating)
        if path in shapes or not is_array:
            repeated.add(path)
        if is_array:
            shapes[path] = output.shape[1:]
        return output

    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    variables = abstract_variables(network, image_shape)
    jax.eval_shape(lambda variables, images: _apply(network, variables, images, record), variables, images)
    return {path: shape for path, shape in shapes.items() if path and path not in repeated}


def change_layer(
    network: Network,
    variables: Variables,
    images: Float32[Array, "n height width channel"],
    layer: str,
    change: Float[Array, "n ..."],
) -> tuple[Float[Array, "n class"], Float[Array, "n ..."]]:
    """Logits in evaluation mode with `change` added to what a layer returns, and what it returned.

    The gradient by `change` is that by the layer's maps. RefusedError for a layer that the network does not have.
    """
    known = layer_shapes(network, images.shape[1:])
    if layer not in known:
        named = ", ".join(list(known)[-8:]) or "none: it is no Linen module"
        raise refuse(
            f"--layer {layer}", f"network {network.name} has no such layer", f"its last ones are {named}"
        )
    returned: list[Array] = []

    def add(path: str, output: Any) -> Any:
        if path != layer:
            return output
        returned.append(output)
        return output + change.astype(output.dtype)

    return _apply(network, variables, images, add), returned[0]


def _apply(
    network: Network, variables: Variables, images: Any, see: Callable[[str, Any], Any]
) -> Float[Array, "n class"]:
    """Logits, with `see(path, output)` in the place of what each layer returns."""

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        output = call(*args, **kwargs)
        is_call = context.method_name == "__call__"
        return see("/".join(context.module.path), output) if is_call else output

    with nn.intercept_methods(intercept):
        return network.apply(variables, images, is_training=False, key=jax.random.key(_KEY))[0]
