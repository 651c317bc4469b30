"""The report's convolutional network, and what every model here offers: `features` and a `head`."""

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from medjax.models.convolution_pool import ConvolutionPool


class CNN(nn.Module):
    """Blocks of convolution and pooling, one hidden layer or none, dropout, logits.

    With two blocks, of 32 and 64 features, and a hidden layer it is the report's network: for 28 by 28 gray images and
    six classes 224,518 parameters. Without a hidden layer (`hidden_units` 0) it is the article's, as we read its seven
    layers: for 32 by 32 gray images 32,646 parameters. Weights start as Keras starts them (Glorot uniform, zero biases):
    both were written in Keras.

    With `centre`, pixels are mapped from [0, 1] to [-2, 2] first, which spares the first layer from learning the mean.

    Sources: Molina, "Medical MNIST Data Set Exploration"; "Disease Classification using Medical MNIST".
    """

    num_classes: int
    dropout: float = 0.5
    block_features: tuple[int, ...] = (32, 64)
    hidden_units: int = 128
    centre: bool = False

    def setup(self) -> None:
        """Build the two parts."""
        self.features = ConvolutionFeatures(self.block_features)
        self.head = DenseHead(self.num_classes, self.hidden_units, self.dropout)

    def __call__(
        self, images: Float[Array, "batch height width channel"], *, is_training: bool = False
    ) -> Float[Array, "batch class"]:
        """Logits of images in [0, 1]; training needs the "dropout" key collection."""
        if self.centre:
            images = 4 * images - 2
        return self.head(self.features(images), is_training=is_training)


class ConvolutionFeatures(nn.Module):
    """Blocks of convolution and pooling, one after the other."""

    block_features: tuple[int, ...]

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch out_height out_width feature"]:
        """Feature maps of images in [0, 1]."""
        for index, features in enumerate(self.block_features):
            images = ConvolutionPool(features, name=f"block_{index}")(images)
        return images


class DenseHead(nn.Module):
    """Flatten, dense with ReLU (left out where `hidden_units` is 0), dropout, dense."""

    num_classes: int
    hidden_units: int
    dropout: float

    @nn.compact
    def __call__(
        self, features: Float[Array, "batch height width feature"], *, is_training: bool = False
    ) -> Float[Array, "batch class"]:
        """Logits of feature maps."""
        hidden = features.reshape(features.shape[0], -1)
        if self.hidden_units:
            hidden = jax.nn.relu(_dense(self.hidden_units, "hidden")(hidden))
        hidden = nn.Dropout(self.dropout, deterministic=not is_training, name="dropout")(hidden)
        return _dense(self.num_classes, "logits")(hidden)


def _dense(units: int, name: str) -> nn.Dense:
    return nn.Dense(units, kernel_init=nn.initializers.glorot_uniform(), name=name)
