"""VGG (Simonyan and Zisserman, "Very Deep Convolutional Networks", 2014, https://arxiv.org/abs/1409.1556)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from medjax.models.layers import EVENLY, Classifier, batch_norm, conv, halve, require_dropout

HEAD_SIDE = 7  # of the maps that the head of large images takes: a 32nd of 224 pixels


def vgg16(num_classes: int, *, dropout: float = 0.5) -> nn.Module:
    """VGG-16 with batch norm; 138,365,992 parameters for 1,000 classes of color images of 64 or more pixels a side."""
    return VGG(VGGFeatures(), VGGHead(num_classes, require_dropout(dropout)))


class VGG(Classifier):
    """Five stages of convolutions, and a head of up to three dense layers with dropout between them."""


class VGGFeatures(nn.Module):
    """Thirteen convolutions of 3 by 3, with max-pooling after each stage; layers are numbered as in torchvision.

    Images are divided by 32; the last pooling is left out where only one pixel a side is left, below 32.
    """

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channel"], *, is_training: bool = False
    ) -> Float[Array, "batch out_height out_width feature"]:
        """Feature maps of images."""
        x, index = images, 0
        for features, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                x = conv(features, 3, use_bias=True, name=f"layer_{index}")(x)
                x = nn.relu(batch_norm(is_training, name=f"layer_{index + 1}")(x))
                index += 3  # torchvision counts the ReLU, and each max-pooling
            x, index = halve(x), index + 1
        return x


class VGGHead(nn.Module):
    """Dropout and dense layers.

    Maps of more than one pixel go through two hidden layers of 4,096 units, after they are brought to 7 by 7 as torchvision
    does it, so that the head has one size for all images. From maps of a single pixel, of images below 64, the logits come
    directly: 119 million weights for 512 numbers would only repeat them 49 times.
    """

    num_classes: int
    dropout: float

    @nn.compact
    def __call__(
        self, features: Float[Array, "batch height width feature"], *, is_training: bool = False
    ) -> Float[Array, "batch class"]:
        """Logits of feature maps."""
        has_hidden_layers = max(features.shape[1:3]) > 1
        x = resize_by_means(features, HEAD_SIDE) if has_hidden_layers else features
        x = x.reshape(len(x), -1)
        for number in range(2 * has_hidden_layers):
            x = nn.relu(nn.Dense(4096, kernel_init=nn.initializers.normal(0.01), name=f"hidden_{number}")(x))
            x = nn.Dropout(self.dropout, deterministic=not is_training)(x)
        if not has_hidden_layers:
            x = nn.Dropout(self.dropout, deterministic=not is_training)(x)
        return nn.Dense(self.num_classes, kernel_init=EVENLY, name="logits")(x)


def resize_by_means(
    maps: Float[Array, "batch height width feature"], side: int
) -> Float[Array, "batch side side feature"]:
    """Maps of another side, each pixel the mean of those that it covers (PyTorch's adaptive average pooling)."""
    height, width = maps.shape[1:3]
    if (height, width) == (side, side):
        return maps
    rows, columns = _means(height, side), _means(width, side)
    means = jnp.einsum("rh,bhwf,cw->brcf", rows, maps, columns, precision=jax.lax.Precision.HIGHEST)
    return means.astype(maps.dtype)  # which may be bfloat16


def _means(length: int, parts: int) -> np.ndarray:
    """A matrix whose rows take the means of `parts` neighboring, maybe overlapping, spans of `length` numbers."""
    matrix = np.zeros((parts, length), np.float32)
    for part in range(parts):
        start, stop = part * length // parts, -(-(part + 1) * length // parts)
        matrix[part, start:stop] = 1 / (stop - start)
    return matrix
