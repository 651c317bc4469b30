"""A network that starts from given weights, and one that scales its input as they were trained."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from medjax.models.network import Network, Variables, abstract_variables


class InputScaling(NamedTuple):
    """What is done to pixels of 0 to 1 first: (pixel - mean) / deviation, with a number a channel of color images."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def of_channels(self, num_channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of each channel; for gray and other images all have the average of the colors'.

        A gray image stands for three equal channels. Where weights of the first convolution are summed for it, this is
        exactly what they would have made of those if the deviations are equal, and within 2 % of it for ImageNet's.
        """
        if num_channels == len(self.mean):
            return np.array(self.mean, np.float32), np.array(self.deviation, np.float32)
        mean, deviation = np.mean(self.mean), np.mean(self.deviation)
        return np.full(num_channels, mean, np.float32), np.full(num_channels, deviation, np.float32)


def scale_input(network: Network, scaling: InputScaling) -> Network:
    """The network with `scaling` before it, in training and evaluation alike."""

    def apply(
        variables: Variables,
        images: Float[Array, "batch height width channel"],
        *,
        is_training: bool,
        key: Key[Array, ""],
    ) -> tuple[Array, PyTree]:
        mean, deviation = scaling.of_channels(images.shape[-1])
        scaled = ((images - mean) / deviation).astype(images.dtype)  # which may be bfloat16
        return network.apply(variables, scaled, is_training=is_training, key=key)

    return dataclasses.replace(network, apply=apply)


def missing_variables(network: Network, image_shape: tuple[int, ...]) -> Variables:
    """Variables that are not numbers, for `start_from`: those that stay so are drawn."""

    def fill(leaf: Any) -> Array:
        is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.full(leaf.shape, jnp.nan if is_float else 0, leaf.dtype)

    return jax.tree.map(fill, abstract_variables(network, image_shape))


def start_from(network: Network, given: Variables) -> Network:
    """The network with `given` as its first variables; arrays that are not numbers (NaN) are drawn as ever.

    `given` has the structure and the shapes of the network's variables.
    """
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(given)]
    is_given = [not (leaf.dtype.kind == "f" and np.isnan(leaf).any()) for leaf in leaves]
    taken = [leaf for leaf, is_taken in zip(leaves, is_given, strict=True) if is_taken]

    def init(key: Key[Array, ""], image_shape: tuple[int, ...]) -> Variables:
        drawn, structure = jax.tree.flatten(network.init(key, image_shape))
        shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in taken]
        # Handed over when the program runs: as constants in it they would be compiled, hundreds of megabytes for VGG.
        handed = iter(jax.pure_callback(lambda: taken, shapes, vmap_method="sequential"))
        chosen = [next(handed) if is_taken else leaf for is_taken, leaf in zip(is_given, drawn, strict=True)]
        return jax.tree.unflatten(structure, chosen)

    return dataclasses.replace(network, init=init)
