"""Grad-CAM: the feature maps of a layer, each weighted by how much the logit of a class grows with it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int32

from medjax.errors import refuse
from medjax.models.layer_maps import change_layer, layer_shapes
from medjax.models.network import Network, Variables

_FEATURES = "features"
# The logits of a vision transformer are made of one token: the patches have no part in them after the last attention.
_LAYERS = {"VisionTransformer": "features/block_11/norm1"}


def grad_cam(
    network: Network,
    variables: Variables,
    images: Float32[Array, "n height width channel"],
    classes: Int32[Array, "n"],
    *,
    layer: str | None = None,
) -> Float32[Array, "n height width"]:
    """Where the maps of a layer speak for a class: at least 0, in logits, stretched over the images (0 to 1).

    `layer` is the path of a layer that returns (n, height, width, feature), or (n, token, feature) with a token for each
    patch and maybe one before them; by default `find_layer` names it. RefusedError for one that there is not, or that
    returns no such maps.

    Source: Selvaraju et al., "Grad-CAM", 2016, https://arxiv.org/abs/1610.02391.
    """
    image_shape = images.shape[1:]
    layer = require_layer(network, image_shape, layer)
    shape = layer_shapes(network, image_shape)[layer]

    def score(change: Array) -> tuple[Array, Array]:
        logits, maps = change_layer(network, variables, images, layer, change)
        return logits.astype(jnp.float32)[jnp.arange(len(images)), classes].sum(), maps

    change = jnp.zeros((len(images), *shape), jnp.float32)
    gradient, maps = jax.grad(score, has_aux=True)(change)
    gradient, maps = (_as_grid(each.astype(jnp.float32), image_shape) for each in (gradient, maps))
    weighted = (maps * gradient.mean((1, 2), keepdims=True)).sum(-1)
    return jax.image.resize(jax.nn.relu(weighted), images.shape[:3], "linear")


def find_layer(network: Network, image_shape: tuple[int, ...]) -> str | None:
    """The layer that Grad-CAM looks at by default; None for a network without a module `features` that has maps.

    It is that module, or, where its output is of a single place, the last layer in it with more.
    """
    shapes = layer_shapes(network, image_shape)
    if (named := _LAYERS.get(network.name)) in shapes:
        return named
    inside = [path for path in shapes if path == _FEATURES or path.startswith(f"{_FEATURES}/")]
    usable = [path for path in inside if _grid_of(shapes[path], image_shape) is not None]
    # A module returns after the layers in it, so it is the last.
    return usable[-1] if usable and _FEATURES in shapes else None


def require_layer(network: Network, image_shape: tuple[int, ...], layer: str | None) -> str:
    """The layer, by default that of `find_layer`; RefusedError where there is none with maps."""
    shapes = layer_shapes(network, image_shape)
    usable = [path for path in shapes if _grid_of(shapes[path], image_shape) is not None]
    found = find_layer(network, image_shape) if layer is None else layer
    if found in usable:
        return found
    gradients = "use integrated-gradients or gradient"
    remedy = f"name another: {', '.join(usable[-6:])}" if usable else gradients
    if layer is not None:
        raise refuse(f"--layer {layer}", f"is no layer of network {network.name} with maps of places", remedy)
    remedy = f"name a layer, as --layer {usable[-1]}; or {gradients}" if usable else gradients
    raise refuse("grad-cam", f"network {network.name} has no module features with maps of places", remedy)


def _grid_of(shape: tuple[int, ...], image_shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Height and width of the maps that have this shape for one image; None for no maps, or maps of a single place."""
    if len(shape) == 3 and shape[0] * shape[1] > 1:
        return shape[0], shape[1]
    if len(shape) != 2:
        return None
    for patches in (shape[0], shape[0] - 1):
        height = round((patches * image_shape[0] / image_shape[1]) ** 0.5)
        if patches > 1 and height and patches % height == 0:
            return height, patches // height
    return None


def _as_grid(
    maps: Float[Array, "n ..."], image_shape: tuple[int, ...]
) -> Float[Array, "n height width feature"]:
    """Maps, or the patches among tokens, by their places."""
    grid = _grid_of(maps.shape[1:], image_shape)
    assert grid is not None  # `require_layer` has seen it
    if maps.ndim == 4:
        return maps
    return maps[:, -grid[0] * grid[1] :].reshape(len(maps), *grid, -1)
