"""What the networks that others published have in common: convolutions and batch norm as PyTorch has them, and a head.

Padding is PyTorch's: the same number of zeros on both sides. Batch norm adds 1e-5 to a variance and keeps 0.9 of its running
averages (PyTorch calls that a momentum of 0.1). Weights start as torchvision starts them: convolutions from a normal
distribution by their outputs (He et al., 2015, https://arxiv.org/abs/1502.01852), dense layers evenly.
"""

from typing import Any

from flax import linen as nn
from jaxtyping import Array, Float

from medjax.errors import refuse

SMALL_SIDE = 64
"""Networks for ImageNet reduce images with fewer pixels a side less than they reduce larger ones."""

STEMS = ("auto", "imagenet", "small")
"""By the size of the images; ImageNet's, 7 by 7 with stride 2 and max-pooling; CIFAR's, 3 by 3 with stride 1."""

OUTPUT_SCALED = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
INPUT_SCALED = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
EVENLY = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def is_small(images: Float[Array, "batch height width channel"]) -> bool:
    """Whether the images have fewer than `SMALL_SIDE` pixels along a side."""
    return min(images.shape[1:3]) < SMALL_SIDE


def has_small_stem(stem: str, images: Float[Array, "batch height width channel"]) -> bool:
    """Whether a stem of `STEMS` is the small one for these images."""
    return is_small(images) if stem == "auto" else stem == "small"


def conv(
    features: int, kernel: int, stride: int = 1, *, use_bias: bool = False, name: str | None = None
) -> nn.Conv:
    """A square convolution that keeps the side, or divides it by the stride."""
    return nn.Conv(
        features,
        (kernel, kernel),
        strides=stride,
        padding=kernel // 2,
        use_bias=use_bias,
        kernel_init=OUTPUT_SCALED,
        name=name,
    )


def batch_norm(is_training: bool, *, epsilon: float = 1e-5, name: str | None = None) -> nn.BatchNorm:
    """Batch norm by the batch's statistics in training, by their running averages otherwise."""
    return nn.BatchNorm(use_running_average=not is_training, momentum=0.9, epsilon=epsilon, name=name)


def halve(
    images: Float[Array, "batch height width feature"], *, kind: str = "max"
) -> Float[Array, "batch half_height half_width feature"]:
    """The largest (or with `kind` "average" the mean) of each 2 by 2; maps with a side of one pixel stay as they are."""
    if min(images.shape[1:3]) < 2:
        return images
    pool = nn.max_pool if kind == "max" else nn.avg_pool
    return pool(images, (2, 2), strides=(2, 2))


class PooledHead(nn.Module):
    """Mean over all places, dropout, dense."""

    num_classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, features: Float[Array, "batch height width feature"], *, is_training: bool = False
    ) -> Float[Array, "batch class"]:
        """Logits of feature maps."""
        pooled = features.mean((1, 2))
        pooled = nn.Dropout(self.dropout, deterministic=not is_training, name="dropout")(pooled)
        return nn.Dense(self.num_classes, kernel_init=EVENLY, name="logits")(pooled)


class Classifier(nn.Module):
    """Two parts, one after the other: `features`, from images to feature maps, and `head`, from those to logits."""

    features: nn.Module
    head: nn.Module

    def __call__(
        self, images: Float[Array, "batch height width channel"], *, is_training: bool = False
    ) -> Float[Array, "batch class"]:
        """Logits of images; training needs the "dropout" key collection."""
        return self.head(self.features(images, is_training=is_training), is_training=is_training)


def require_stem(stem: Any) -> str:
    """One of `STEMS`; RefusedError for anything else."""
    if stem not in STEMS:
        raise refuse("--model-set stem", f"is {stem!r}", f"one of {', '.join(STEMS)}")
    return stem


def require_dropout(dropout: Any) -> float:
    """The fraction, checked; RefusedError unless it is a number from 0 to below 1."""
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise refuse("--model-set dropout", f"{dropout!r} is no fraction", "at least 0 and below 1")
    return float(dropout)
