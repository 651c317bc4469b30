"""DenseNet (Huang et al., "Densely Connected Convolutional Networks", 2016, https://arxiv.org/abs/1608.06993)."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from medjax.models.layers import (
    Classifier,
    PooledHead,
    batch_norm,
    conv,
    halve,
    has_small_stem,
    require_dropout,
    require_stem,
)

GROWTH = 32  # features that each layer adds


def densenet121(num_classes: int, *, dropout: float = 0.0, stem: str = "auto") -> nn.Module:
    """DenseNet-121; 7,978,856 parameters for 1,000 classes of color images of 64 or more pixels a side."""
    features = DenseNetFeatures((6, 12, 24, 16), require_stem(stem))
    return DenseNet(features, PooledHead(num_classes, require_dropout(dropout)))


class DenseNet(Classifier):
    """Blocks of layers that are each given all maps before them; dropout, if any, before the logits."""


class DenseNetFeatures(nn.Module):
    """A stem, and dense blocks with transitions between them.

    Images of 64 or more pixels a side are divided by 32: the stem is ImageNet's, 7 by 7 with stride 2 and max-pooling. Smaller
    ones are divided by 8: the stem is 3 by 3 with stride 1, as the article has it for CIFAR. `stem` names one for all sizes,
    of `STEMS`.
    """

    blocks: tuple[int, ...]
    stem: str = "auto"

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channel"], *, is_training: bool = False
    ) -> Float[Array, "batch out_height out_width feature"]:
        """Feature maps of images."""
        is_stem_small, width = has_small_stem(self.stem, images), 2 * GROWTH
        stem = conv(width, 3, name="conv0") if is_stem_small else conv(width, 7, 2, name="conv0")
        x = nn.relu(batch_norm(is_training, name="norm0")(stem(images)))
        if not is_stem_small:
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, count in enumerate(self.blocks):
            if stage:
                x = Transition(name=f"transition{stage}")(x, is_training=is_training)
            for number in range(count):
                layer = DenseLayer(name=f"denseblock{stage + 1}_denselayer{number + 1}")
                x = layer(x, is_training=is_training)
        return nn.relu(batch_norm(is_training, name="norm5")(x))


class DenseLayer(nn.Module):
    """Adds `GROWTH` maps to those that it is given."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width feature"], *, is_training: bool
    ) -> Float[Array, "batch height width more_features"]:
        """The maps and the new ones."""
        new = nn.relu(batch_norm(is_training, name="norm1")(x))
        new = conv(4 * GROWTH, 1, name="conv1")(new)
        new = nn.relu(batch_norm(is_training, name="norm2")(new))
        return jnp.concatenate((x, conv(GROWTH, 3, name="conv2")(new)), axis=-1)


class Transition(nn.Module):
    """Halves the number of maps and their sides."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width feature"], *, is_training: bool
    ) -> Float[Array, "batch half_height half_width half_feature"]:
        """Feature maps of feature maps."""
        x = nn.relu(batch_norm(is_training, name="norm")(x))
        return halve(conv(x.shape[-1] // 2, 1, name="conv")(x), kind="average")
