"""Residual networks (He et al., "Deep Residual Learning for Image Recognition", 2015, https://arxiv.org/abs/1512.03385)."""

from flax import linen as nn
from jaxtyping import Array, Float

from medjax.models.layers import (
    Classifier,
    PooledHead,
    batch_norm,
    conv,
    has_small_stem,
    require_dropout,
    require_stem,
)


def resnet18(num_classes: int, *, dropout: float = 0.0, stem: str = "auto") -> nn.Module:
    """ResNet-18; 11,689,512 parameters for 1,000 classes of color images of 64 or more pixels a side."""
    features = ResNetFeatures((2, 2, 2, 2), stem=require_stem(stem))
    return ResNet(features, PooledHead(num_classes, require_dropout(dropout)))


def resnet50(num_classes: int, *, dropout: float = 0.0, stem: str = "auto") -> nn.Module:
    """ResNet-50, with the stride in the 3 by 3 convolutions as torchvision has it; 25,557,032 parameters likewise."""
    features = ResNetFeatures((3, 4, 6, 3), has_bottlenecks=True, stem=require_stem(stem))
    return ResNet(features, PooledHead(num_classes, require_dropout(dropout)))


class ResNet(Classifier):
    """Residual blocks in four stages; dropout, if any, before the logits."""


class ResNetFeatures(nn.Module):
    """A stem and four stages of residual blocks.

    Images of 64 or more pixels a side are divided by 32: the stem is ImageNet's, 7 by 7 with stride 2 and max-pooling. Smaller
    ones are divided by 8: the stem is CIFAR's, 3 by 3 with stride 1. `stem` names one for all sizes, of `STEMS`.
    """

    blocks: tuple[int, ...]
    has_bottlenecks: bool = False
    stem: str = "auto"

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channel"], *, is_training: bool = False
    ) -> Float[Array, "batch out_height out_width feature"]:
        """Feature maps of images."""
        is_stem_small = has_small_stem(self.stem, images)
        stem = conv(64, 3, name="conv1") if is_stem_small else conv(64, 7, 2, name="conv1")
        x = nn.relu(batch_norm(is_training, name="bn1")(stem(images)))
        if not is_stem_small:
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, count in enumerate(self.blocks):
            for number in range(count):
                stride = 2 if stage and not number else 1
                block = ResidualBlock(
                    64 * 2**stage, stride, self.has_bottlenecks, name=f"layer{stage + 1}_{number}"
                )
                x = block(x, is_training=is_training)
        return x


class ResidualBlock(nn.Module):
    """Two convolutions, or with a bottleneck three, whose result is added to the input; a 1 by 1 one fits the input's shape."""

    width: int
    stride: int
    has_bottleneck: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width feature"], *, is_training: bool
    ) -> Float[Array, "batch out_height out_width out_feature"]:
        """Feature maps of feature maps."""
        width, stride, features = self.width, self.stride, self.width * (4 if self.has_bottleneck else 1)
        layers = (
            ((width, 1, 1), (width, 3, stride), (features, 1, 1))
            if self.has_bottleneck
            else ((width, 3, stride), (features, 3, 1))
        )
        shortcut = x
        if stride > 1 or x.shape[-1] != features:
            shortcut = conv(features, 1, stride, name="downsample_0")(x)
            shortcut = batch_norm(is_training, name="downsample_1")(shortcut)
        for number, layer in enumerate(layers, start=1):
            x = conv(*layer, name=f"conv{number}")(x)
            x = batch_norm(is_training, name=f"bn{number}")(x)
            if number < len(layers):
                x = nn.relu(x)
        return nn.relu(x + shortcut)
