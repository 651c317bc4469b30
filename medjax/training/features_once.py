"""What frozen features make of each image, computed once and kept on the device: the head is trained on that alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from medjax.models.fused_layers import fuse_layers
from medjax.models.network import Network, Variables, in_bfloat16
from medjax.models.parts import head_network, put_head, split_parts
from medjax.training.batching import pad_indices, take_batch
from medjax.training.compilation import EXACT, Numerics, compile_program
from medjax.training.fold_plan import evaluation_batch
from medjax.training.inputs import FeatureMaps


class Probe(NamedTuple):
    """A head to be trained, and what it is given."""

    network: Network  # of feature maps; its variables are the head's
    maps: FeatureMaps
    complete: Callable[[Variables], Variables]  # the whole network's variables, of the head's


def map_shape(network: Network, image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what the head is given of one image. Computes nothing."""
    parts = split_parts(network, image_shape, "--freeze features")
    shapes = jax.eval_shape(
        lambda key: parts.features(network.init(key, image_shape), jnp.zeros((1, *image_shape))),
        jax.random.key(0),
    )
    return shapes.shape[1:]


def make_probe(network: Network, images: Array, labels: Array, *, numerics: Numerics = EXACT) -> Probe:
    """Compute the features of all images (uint8); those of `network` must not depend on the key that it starts from."""
    image_shape = images.shape[1:]
    parts = split_parts(network, image_shape, "--freeze features")
    variables = jax.jit(lambda key: network.init(key, image_shape))(jax.random.key(0))

    def features(
        variables: Variables, images: Array, *, is_training: bool, key: Any
    ) -> tuple[Array, dict[str, Any]]:
        del is_training, key
        return parts.features(variables, images), {}

    fused = fuse_layers(in_bfloat16(features) if numerics.compute == "bf16" else features)
    batch_size = evaluation_batch()

    def compute(variables: Variables, images: Array, rows: Array) -> Array:
        batch = take_batch(images, jnp.zeros(len(images), jnp.int32), rows, jnp.int32(0), batch_size)
        return fused(variables, batch.images, is_training=False, key=None)[0].astype(jnp.float32)

    program = compile_program(compute, numerics=numerics)
    rows = pad_indices(np.arange(len(images)), batch_size).reshape(-1, batch_size)
    maps = jnp.concatenate([program(variables, images, each) for each in rows])[: len(images)]
    frozen = jax.device_get(variables)
    return Probe(
        head_network(network, image_shape),
        FeatureMaps(maps, labels),
        lambda head: put_head(frozen, head),
    )
