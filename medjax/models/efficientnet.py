"""EfficientNet-Lite0: EfficientNet (Tan and Le, 2019, https://arxiv.org/abs/1905.11946) for small devices.

Lite (Liu, 2020, https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html) has no squeeze
and excitation, and ReLU6 in place of swish. Whole branches are never dropped here.
"""

from flax import linen as nn
from jaxtyping import Array, Float

from medjax.errors import refuse
from medjax.models.layers import (
    INPUT_SCALED,
    OUTPUT_SCALED,
    Classifier,
    PooledHead,
    batch_norm,
    is_small,
    require_dropout,
)

# Expansion, kernel, stride of the first block, features and number of blocks of each stage.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
EPSILON = {"tensorflow": 1e-3, "pytorch": 1e-5}


def efficientnet_lite0(num_classes: int, *, dropout: float = 0.2, framework: str = "tensorflow") -> nn.Module:
    """EfficientNet-Lite0; 4,652,008 parameters for 1,000 classes of color images.

    `framework` says whose padding and epsilon of batch norm its convolutions have: "tensorflow", as it was published, with more
    zeros after an image than before it where a stride leaves no other choice, and 1e-3; or "pytorch", as many zeros on both
    sides, and 1e-5. Weights work with those that they were trained with: TensorFlow's own, also under PyTorch's names
    (`tf_efficientnet_lite0` in timm), with the first, timm's `efficientnet_lite0` with the second.
    """
    if framework not in EPSILON:
        raise refuse("--model-set framework", f"is {framework!r}", f"one of {', '.join(EPSILON)}")
    return EfficientNet(EfficientNetFeatures(framework), PooledHead(num_classes, require_dropout(dropout)))


class EfficientNet(Classifier):
    """Inverted residual blocks; dropout before the logits."""


class EfficientNetFeatures(nn.Module):
    """A stem, sixteen blocks and a last convolution.

    Images of 64 or more pixels a side are divided by 32, smaller ones by 16: their stem has no stride, with the same weights.
    """

    framework: str

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channel"], *, is_training: bool = False
    ) -> Float[Array, "batch out_height out_width feature"]:
        """Feature maps of images."""
        stem = _conv(32, 3, 1 if is_small(images) else 2, self.framework, "stem_conv")
        x = _norm_relu6(stem(images), self.framework, "stem_norm", is_training)
        index = 0
        for expansion, kernel, first_stride, features, count in STAGES:
            for number in range(count):
                stride = 1 if number else first_stride
                block = InvertedBlock(
                    expansion, kernel, stride, features, self.framework, name=f"block_{index}"
                )
                x, index = block(x, is_training=is_training), index + 1
        x = _conv(1280, 1, 1, self.framework, "last_conv")(x)
        return _norm_relu6(x, self.framework, "last_norm", is_training)


class InvertedBlock(nn.Module):
    """More features by a 1 by 1 convolution, a depthwise one, fewer features; the input is added where shapes allow."""

    expansion: int
    kernel: int
    stride: int
    features: int
    framework: str

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width feature"], *, is_training: bool
    ) -> Float[Array, "batch out_height out_width out_feature"]:
        """Feature maps of feature maps."""
        shortcut, framework, inner = x, self.framework, self.expansion * x.shape[-1]
        if self.expansion > 1:
            x = _conv(inner, 1, 1, framework, "expand_conv")(x)
            x = _norm_relu6(x, framework, "expand_norm", is_training)
        x = _conv(inner, self.kernel, self.stride, framework, "depthwise_conv", groups=inner)(x)
        x = _norm_relu6(x, framework, "depthwise_norm", is_training)
        x = _conv(self.features, 1, 1, framework, "project_conv")(x)
        x = batch_norm(is_training, epsilon=EPSILON[framework], name="project_norm")(x)
        return x + shortcut if x.shape == shortcut.shape else x


def _conv(features: int, kernel: int, stride: int, framework: str, name: str, *, groups: int = 1) -> nn.Conv:
    return nn.Conv(
        features,
        (kernel, kernel),
        strides=stride,
        padding="SAME" if framework == "tensorflow" else kernel // 2,
        feature_group_count=groups,
        use_bias=False,
        # Outputs of a depthwise convolution are counted for each feature by itself, as its inputs are.
        kernel_init=INPUT_SCALED if groups > 1 else OUTPUT_SCALED,
        name=name,
    )


def _norm_relu6(x: Float[Array, "..."], framework: str, name: str, is_training: bool) -> Float[Array, "..."]:
    return nn.relu6(batch_norm(is_training, epsilon=EPSILON[framework], name=name)(x))
