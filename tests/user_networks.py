"""Networks as users bring them: none of them knows medjax. Each is made by a function of the number of classes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx


def linen_sequential(num_classes):
    """No training flag, and no class of its own."""
    return nn.Sequential(
        [nn.Conv(4, (3, 3)), nn.relu, lambda x: x.reshape(len(x), -1), nn.Dense(num_classes)]
    )


class TrainFlag(nn.Module):
    """The flag is called `train` and has no default."""

    num_outputs: int

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Conv(4, (3, 3))(x)).mean((1, 2))
        return nn.Dense(self.num_outputs)(nn.Dropout(0.2, deterministic=not train)(x))


class Deterministic(nn.Module):
    """The flag is called `deterministic`."""

    outputs: int

    @nn.compact
    def __call__(self, x, *, deterministic=True):
        x = nn.Dropout(0.1, deterministic=deterministic)(nn.avg_pool(x, (2, 2), strides=(2, 2)))
        return nn.Dense(self.outputs)(x.reshape(len(x), -1))


class Block(nn.Module):
    """A residual block."""

    features: int
    norm: functools.partial

    @nn.compact
    def __call__(self, x):
        y = nn.relu(self.norm()(nn.Conv(self.features, (3, 3), use_bias=False)(x)))
        y = self.norm()(nn.Conv(self.features, (3, 3), use_bias=False)(y))
        return nn.relu(x + y)


class BatchNormResNet(nn.Module):
    """A ResNet with batch statistics."""

    outputs: int

    @nn.compact
    def __call__(self, x, training: bool = False):
        norm = functools.partial(nn.BatchNorm, use_running_average=not training, momentum=0.9)
        x = nn.relu(norm()(nn.Conv(4, (3, 3), strides=(2, 2))(x)))
        x = Block(4, norm)(x)
        return nn.Dense(self.outputs)(x.mean((1, 2)))


class GroupNormResNet(nn.Module):
    """A ResNet without state."""

    outputs: int

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), strides=(2, 2))(x)
        x = Block(4, functools.partial(nn.GroupNorm, num_groups=2))(x)
        return nn.Dense(self.outputs)(x.mean((1, 2)))


class Spectral(nn.Module):
    """A state in a collection that is updated in training: the singular vectors of spectral normalization."""

    outputs: int

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.SpectralNorm(nn.Conv(4, (3, 3)))(x, update_stats=train)
        return nn.Dense(self.outputs)(nn.relu(x).mean((1, 2)))


class OwnStream(nn.Module):
    """Noise from a random stream of its own."""

    outputs: int

    @nn.compact
    def __call__(self, x, is_training=False):
        if is_training:
            x = x + 0.1 * jax.random.normal(self.make_rng("noise"), x.shape)
        return nn.Dense(self.outputs)(x.reshape(len(x), -1))


class OwnCollection(nn.Module):
    """A counter and a running mean of the images in collections of its own."""

    outputs: int

    @nn.compact
    def __call__(self, x, train=False):
        seen = self.variable("counters", "batches", lambda: jnp.zeros((), jnp.int32))
        mean = self.variable("moments", "mean", lambda: jnp.zeros(x.shape[-1]))
        if train and not self.is_initializing():
            seen.value += 1
            mean.value = 0.9 * mean.value + 0.1 * x.mean((0, 1, 2))
        x = nn.relu(nn.Conv(4, (3, 3))(x - mean.value))
        return nn.Dense(self.outputs)(x.mean((1, 2)))


class BFloat16(nn.Module):
    """Computes in bfloat16, and keeps its parameters so."""

    outputs: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)(x))
        return nn.Dense(self.outputs, dtype=jnp.bfloat16)(x.mean((1, 2)))


class Attention(nn.Module):
    """A small vision transformer, whose position embedding belongs to no layer."""

    outputs: int

    @nn.compact
    def __call__(self, x, deterministic):
        x = nn.Conv(8, (7, 7), strides=(7, 7))(x).reshape(len(x), -1, 8)
        x = x + self.param("positions", nn.initializers.normal(0.02), (1, *x.shape[1:]))
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(2, dropout_rate=0.1)(y, deterministic=deterministic)
        return nn.Dense(self.outputs)(nn.LayerNorm()(x).mean(1))


class FlagAsField(nn.Module):
    """The flag is a field of the module."""

    outputs: int
    deterministic: bool = True

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(8)(x.reshape(len(x), -1)))
        return nn.Dense(self.outputs)(nn.Dropout(0.2, deterministic=self.deterministic)(x))


class NnxCNN(nnx.Module):
    """An NNX network with batch statistics and dropout."""

    def __init__(self, outputs, *, rngs):
        self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, outputs, rngs=rngs)])

    def __call__(self, x):
        x = self.dropout(nnx.relu(self.norm(self.conv(x))).mean((1, 2)))
        return self.layers[1](nnx.relu(self.layers[0](x)))


def nnx_factory(num_classes):
    """Draws its weights anew for each fold."""
    return functools.partial(NnxCNN, num_classes)


def plain_functions(num_classes):
    """Parameters as a list of tuples, as Equinox and plain JAX have trees of any kind."""

    def init(key, image_shape):
        first, second = jax.random.split(key)
        size = int(np.prod(image_shape))
        return [
            (0.05 * jax.random.normal(first, (size, 8)), jnp.zeros(8)),
            (0.3 * jax.random.normal(second, (8, num_classes)), jnp.zeros(num_classes)),
        ]

    def apply(parameters, images):
        (first, first_bias), (second, second_bias) = parameters
        hidden = jax.nn.relu(images.reshape(len(images), -1) @ first + first_bias)
        return hidden @ second + second_bias

    return init, apply


@jax.tree_util.register_pytree_node_class
class Affine:
    """A tree of the user's own, as Equinox's modules are."""

    def __init__(self, weight, bias):
        self.weight, self.bias = weight, bias

    def __call__(self, x):
        return x @ self.weight + self.bias

    def tree_flatten(self):
        return (self.weight, self.bias), None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        return cls(*leaves)


def stateful_functions(num_classes):
    """Two functions over `Variables`, that use the key and the flag and keep a state."""
    from medjax import Variables

    def init(key, image_shape):
        size = int(np.prod(image_shape))
        parameters = Affine(0.05 * jax.random.normal(key, (size, num_classes)), jnp.zeros(num_classes))
        return Variables(parameters, {"mean": jnp.zeros(())})

    def apply(variables, images, *, is_training, key):
        mean = variables.state["mean"]
        if is_training:
            mean = 0.9 * mean + 0.1 * images.mean()
            images = images * jax.random.bernoulli(key, 0.9, images.shape)
        return variables.parameters((images - mean).reshape(len(images), -1)), {"mean": mean}

    return init, apply


NETWORKS = {
    "Linen Sequential": linen_sequential,
    "Linen train flag": TrainFlag,
    "Linen deterministic flag": Deterministic,
    "Linen flag as a field": FlagAsField,
    "Linen BatchNorm ResNet": BatchNormResNet,
    "Linen GroupNorm ResNet": GroupNormResNet,
    "Linen SpectralNorm": Spectral,
    "Linen own random stream": OwnStream,
    "Linen own collections": OwnCollection,
    "Linen bfloat16": BFloat16,
    "Linen attention": Attention,
    "NNX BatchNorm and Dropout": nnx_factory,
    "plain functions": plain_functions,
    "functions with state": stateful_functions,
}
STATEFUL = (
    "Linen BatchNorm ResNet",
    "Linen SpectralNorm",
    "Linen own collections",
    "NNX BatchNorm and Dropout",
    "functions with state",
)
