"""The networks of `benchmarks.networks`, as they were published but for the head's number of classes; without dropout."""

from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.layers import (
    Activation,
    Chain,
    Concatenate,
    Conv,
    Dense,
    Flatten,
    GlobalMean,
    Layer,
    Norm,
    Pool,
    Residual,
)
from medjax.models.efficientnet import STAGES

NUM_CLASSES = 6
RELU = Activation("relu")
BATCH_NORM = Norm("batch")


class Architecture(NamedTuple):
    """A network with the images that it is trained on."""

    tree: Layer
    side: int  # of the images, in pixels
    channels: int
    batch_size: int
    goal: float  # medjax over PyTorch in training


def make_architectures() -> dict[str, Architecture]:
    """By name."""
    wide = make_resnet(64, (2, 2, 2, 2))
    narrow = make_resnet(16, (2, 2, 2))
    return {
        "report-cnn-b32": Architecture(make_report_cnn(), 28, 1, 32, 1.5),
        "report-cnn-b128": Architecture(make_report_cnn(), 28, 1, 128, 1.5),
        "resnet-w16-28": Architecture(narrow, 28, 1, 64, 1.0),
        "resnet-w16-64": Architecture(narrow, 64, 1, 64, 1.0),
        "resnet18-28": Architecture(wide, 28, 3, 64, 1.0),
        "convnext-28": Architecture(make_convnext((48, 96, 192), (2, 2, 2), patch=2), 28, 1, 64, 1.0),
        "densenet121-64": Architecture(make_densenet(32, (6, 12, 24, 16)), 64, 3, 64, 0.9),
        "vgg16-64": Architecture(make_vgg(), 64, 3, 32, 0.9),
        "efficientnet-lite0-64": Architecture(make_efficientnet_lite(), 64, 3, 64, 0.9),
    }


def make_report_cnn() -> Chain:
    """The built-in network's layers, one by one."""
    blocks = [
        layer
        for features in (32, 64)
        for layer in (Conv(features, padding="VALID", use_bias=True), RELU, Pool("max"))
    ]
    return Chain((*blocks, Flatten(), Dense(128), RELU, Dense(NUM_CLASSES)))


def make_resnet(width: int, blocks: tuple[int, ...]) -> Chain:
    """A ResNet of basic blocks with a stem for small images (He et al., 2015, https://arxiv.org/abs/1512.03385)."""
    parts: list[Layer] = [Conv(width), BATCH_NORM, RELU]
    channels = width
    for stage, count in enumerate(blocks):
        for number in range(count):
            features, stride = width * 2**stage, 2 if stage and not number else 1
            branch = (Conv(features, 3, stride, 1), BATCH_NORM, RELU, Conv(features), BATCH_NORM)
            is_same = (stride, features) == (1, channels)
            shortcut = () if is_same else (Conv(features, 1, stride, 0), BATCH_NORM)
            parts += [Residual(Chain(branch), Chain(shortcut)), RELU]
            channels = features
    return Chain((*parts, GlobalMean(), Dense(NUM_CLASSES)))


def make_densenet(growth: int, blocks: tuple[int, ...]) -> Chain:
    """DenseNet with bottlenecks, halved between blocks (Huang et al., 2016, https://arxiv.org/abs/1608.06993)."""
    channels = 2 * growth
    parts: list[Layer] = [Conv(channels, 7, 2, 3), BATCH_NORM, RELU, Pool("max", 3, 2, 1)]
    for stage, count in enumerate(blocks):
        if stage:
            channels //= 2
            parts += [BATCH_NORM, RELU, Conv(channels, 1), Pool("average")]
        for _ in range(count):
            new = (BATCH_NORM, RELU, Conv(4 * growth, 1), BATCH_NORM, RELU, Conv(growth))
            parts.append(Concatenate((Chain(()), Chain(new))))
            channels += growth
    return Chain((*parts, BATCH_NORM, RELU, GlobalMean(), Dense(NUM_CLASSES)))


def make_vgg() -> Chain:
    """VGG-16 with batch norm (Simonyan and Zisserman, 2014, https://arxiv.org/abs/1409.1556)."""
    parts: list[Layer] = []
    for features, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        parts += [Conv(features, use_bias=True), BATCH_NORM, RELU] * count + [Pool("max")]
    return Chain((*parts, Flatten(), Dense(4096), RELU, Dense(4096), RELU, Dense(NUM_CLASSES)))


def make_efficientnet_lite() -> Chain:
    """EfficientNet-Lite0: no squeeze-and-excitation, ReLU6 (https://arxiv.org/abs/1905.11946; Lite: Liu, 2020)."""
    relu6 = Activation("relu6")
    channels = 32
    parts: list[Layer] = [Conv(channels, 3, 2, 1), BATCH_NORM, relu6]
    for expansion, kernel, first_stride, features, count in STAGES:
        for number in range(count):
            stride, inner = 1 if number else first_stride, channels * expansion
            expand = (Conv(inner, 1), BATCH_NORM, relu6) if expansion > 1 else ()
            depthwise = (Conv(inner, kernel, stride, kernel // 2, groups=inner), BATCH_NORM, relu6)
            block = Chain((*expand, *depthwise, Conv(features, 1), BATCH_NORM))
            parts.append(Residual(block) if (stride, features) == (1, channels) else block)
            channels = features
    return Chain((*parts, Conv(1280, 1), BATCH_NORM, relu6, GlobalMean(), Dense(NUM_CLASSES)))


def make_convnext(widths: tuple[int, ...], blocks: tuple[int, ...], *, patch: int) -> Chain:
    """ConvNeXt without its scale of each branch (Liu et al., 2022, https://arxiv.org/abs/2201.03545)."""

    def stages() -> Iterator[Layer]:
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            if stage:
                yield from (Norm("layer"), Conv(width, 2, 2, "VALID", use_bias=True))
            depthwise = Conv(width, 7, groups=width, use_bias=True)
            hidden = (Dense(4 * width), Activation("gelu"))
            yield from [Residual(Chain((depthwise, Norm("layer"), *hidden, Dense(width))))] * count

    stem = (Conv(widths[0], patch, patch, "VALID", use_bias=True), Norm("layer"))
    return Chain((*stem, *stages(), GlobalMean(), Norm("layer"), Dense(NUM_CLASSES)))
