"""Maps of many images: one compiled program a method, batch by batch."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

from medjax.errors import refuse
from medjax.explain.grad_cam import grad_cam, require_layer
from medjax.explain.gradients import input_gradient, integrated_gradients
from medjax.models.network import Network, Variables
from medjax.records import Images
from medjax.training.compilation import compile_program

MethodName = Literal["grad-cam", "integrated-gradients", "gradient"]
METHODS: tuple[MethodName, ...] = get_args(MethodName)
MAX_STEPS = 10_000
_BATCH = 16


class Maps(NamedTuple):
    """What moves the answers of a network, of one class for each image."""

    # By grad-cam and gradient at least 0; by integrated-gradients negative where pixels speak against the class.
    maps: Float32[np.ndarray, "n height width"]
    # Of integrated-gradients: the difference of logits that the map should sum to, and how much it lacks; else None.
    change: Float32[np.ndarray, "n"] | None = None
    gap: Float32[np.ndarray, "n"] | None = None


Explainer = Callable[[Variables, Images, Int32[np.ndarray, "n"]], Maps]
"""(variables, images, a class for each) -> maps."""


def make_explainer(
    network: Network,
    image_shape: tuple[int, ...],
    method: MethodName = "grad-cam",
    *,
    layer: str | None = None,
    steps: int = 32,
    batch_size: int | None = None,
) -> Explainer:
    """A function that makes maps of images (uint8 or uint16), compiled at its first call.

    Several channels are put together: `gradient` takes the largest absolute value, `integrated-gradients` (from black, in so
    many `steps`) the sum. `layer` is of `grad-cam`. RefusedError for a network that the method cannot explain.
    """
    if method not in METHODS:
        raise refuse("method", f"is {method!r}", f"one of {', '.join(METHODS)}")
    if not 1 <= steps <= MAX_STEPS:
        raise refuse("--steps", f"is {steps}", f"1 to {MAX_STEPS:,}")
    if method == "grad-cam":
        layer = require_layer(network, image_shape, layer)
    program = compile_program(functools.partial(_explain, network, method, layer, steps))

    def explain(variables: Variables, images: Images, classes: Int32[np.ndarray, "n"]) -> Maps:
        if not len(images):
            return Maps(np.zeros(images.shape[:3], np.float32))
        variables = jax.tree.map(jnp.asarray, variables)
        size = batch_size or min(_BATCH, len(images))
        results = []
        for start in range(0, len(images), size):
            # The last batch is filled up, so that there is one program.
            rows = np.arange(start, start + size) % len(images)
            results.append(program(variables, images[rows], classes[rows]))
        whole = [np.concatenate(parts)[: len(images)] for parts in zip(*jax.device_get(results), strict=True)]
        return Maps(*whole)

    return explain


def _explain(
    network: Network,
    method: MethodName,
    layer: str | None,
    steps: int,
    variables: Variables,
    images: Any,
    classes: Int32[Array, "n"],
) -> tuple[Array, ...]:
    pixels = images.astype(jnp.float32) / jnp.iinfo(images.dtype).max
    if method == "grad-cam":
        return (grad_cam(network, variables, pixels, classes, layer=layer),)
    if method == "gradient":
        return (jnp.abs(input_gradient(network, variables, pixels, classes)).max(-1),)
    found = integrated_gradients(network, variables, pixels, classes, steps=steps)
    return found.attributions.sum(-1), found.change, found.gap
