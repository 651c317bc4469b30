"""Random changes of one training image: pure functions of a key and an image, (height, width, channel).

Warps, flips and turns take floats of any range; the others take and return gray levels of 0 to 1. Coordinates are in
pixels, row before column. Mixup needs a second image, and takes a whole batch.
"""

import functools
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from medjax.config import AugmentConfig
from medjax.errors import refuse

BRIGHTNESS = 0.2
"""Largest change of all gray levels, either way, of 0 to 1."""
CONTRAST = 0.3
"""Largest change of the distances from the image's mean, either way, as a fraction."""
NOISE = 0.05
"""Largest standard deviation of the noise, in gray levels of 0 to 1."""
BLUR = 1.0
"""Largest standard deviation of the Gaussian kernel, in pixels."""
CUTOUT = 0.4
"""Side of the square that is cut out, as a fraction of the image's."""
MIXUP = 0.2
"""The parameter of mixup's Beta distribution, as for the small sets of its paper."""

Augment = Callable[
    [Key[Array, ""], Float[Array, "height width channel"]], Float[Array, "height width channel"]
]


def affine_warp(
    image: Float[Array, "height width channel"],
    matrix: Float[Array, "2 2"],
    offset: Float[Array, "2"],
) -> Float[Array, "height width channel"]:
    """Each output pixel p takes the input at matrix · (p - centre) + centre + offset.

    Bilinear interpolation; beyond the border the nearest pixel of the image is taken.
    """
    height, width, _ = image.shape
    centre = jnp.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")) - centre
    # By default accelerators round the factors, a TPU to 8 bits: at 64 by 64 that moves coordinates by up to 1/16 pixel.
    rotated = jnp.einsum("ij,jhw->ihw", matrix, grid, precision=lax.Precision.HIGHEST)
    coordinates = list(rotated + centre + offset[:, None, None])
    return jax.vmap(
        lambda channel: jax.scipy.ndimage.map_coordinates(channel, coordinates, order=1, mode="nearest"),
        in_axes=-1,
        out_axes=-1,
    )(image)


def random_affine(
    key: Key[Array, ""],
    image: Float[Array, "height width channel"],
    *,
    rotation: float,
    shift: float,
    zoom: float,
) -> Float[Array, "height width channel"]:
    """Rotate by up to `rotation` degrees, shift by up to `shift` of each side, zoom each axis by up to `zoom`.

    All three are one resampling. Each amount is uniform over its symmetric range, as in Keras's
    ImageDataGenerator, which the report used, and the three are composed in its order: zoom, shift, rotation from
    output to input coordinates. A zoom factor above 1 shrinks the content.
    """
    angle_key, shift_key, zoom_key = jax.random.split(key, 3)
    largest = math.radians(rotation)
    angle = jax.random.uniform(angle_key, minval=-largest, maxval=largest)
    sides = jnp.array(image.shape[:2], jnp.float32)
    offset = sides * jax.random.uniform(shift_key, (2,), minval=-shift, maxval=shift)
    factors = jax.random.uniform(zoom_key, (2,), minval=1 - zoom, maxval=1 + zoom)
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    matrix = jnp.array([[cosine, -sine], [sine, cosine]])
    return affine_warp(image, matrix * factors, jnp.matmul(matrix, offset, precision=lax.Precision.HIGHEST))


def random_flip(
    key: Key[Array, ""], image: Float[Array, "height width channel"]
) -> Float[Array, "height width channel"]:
    """Mirror left and right, of every second image. A mirrored hand or heart may have another label."""
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def quarter_turn(
    image: Float[Array, "height width channel"], turns: Any
) -> Float[Array, "height width channel"]:
    """Turn counterclockwise by 90 degrees as often as `turns` (0 to 3) says; the number may be traced."""
    if image.shape[0] != image.shape[1]:
        remedy = "leave quarter-turns out, or give square images"
        raise refuse("quarter-turns", f"images of {image.shape[0]} by {image.shape[1]} pixels", remedy)
    image = jnp.where(turns % 2 == 1, image.swapaxes(0, 1), image)
    image = jnp.where((turns == 1) | (turns == 2), image[::-1], image)
    return jnp.where((turns == 2) | (turns == 3), image[:, ::-1], image)


def random_quarter_turn(
    key: Key[Array, ""], image: Float[Array, "height width channel"]
) -> Float[Array, "height width channel"]:
    """Turn by 0, 90, 180 or 270 degrees, each as often. Which way up an image is may be its label."""
    return quarter_turn(image, jax.random.randint(key, (), 0, 4))


def random_brightness(
    key: Key[Array, ""], image: Float[Array, "height width channel"], *, limit: float = BRIGHTNESS
) -> Float[Array, "height width channel"]:
    """Add a number between -`limit` and `limit` to all gray levels."""
    return jnp.clip(image + jax.random.uniform(key, minval=-limit, maxval=limit), 0, 1)


def random_contrast(
    key: Key[Array, ""], image: Float[Array, "height width channel"], *, limit: float = CONTRAST
) -> Float[Array, "height width channel"]:
    """Multiply the distances from the mean of the image by a factor between 1 - `limit` and 1 + `limit`."""
    factor = jax.random.uniform(key, minval=1 - limit, maxval=1 + limit)
    return jnp.clip(image.mean() + factor * (image - image.mean()), 0, 1)


def random_noise(
    key: Key[Array, ""], image: Float[Array, "height width channel"], *, limit: float = NOISE
) -> Float[Array, "height width channel"]:
    """Add Gaussian noise, of a standard deviation drawn between 0 and `limit`."""
    deviation_key, noise_key = jax.random.split(key)
    deviation = jax.random.uniform(deviation_key, maxval=limit)
    return jnp.clip(image + deviation * jax.random.normal(noise_key, image.shape), 0, 1)


def gaussian_blur(
    image: Float[Array, "height width channel"], deviation: Any, *, radius: int
) -> Float[Array, "height width channel"]:
    """Convolve with a Gaussian of this standard deviation in pixels, cut off beyond `radius` pixels.

    Beyond the border the nearest pixel of the image is taken.
    """
    distances = jnp.arange(-radius, radius + 1)
    # A deviation of 0 leaves the image as it is.
    weights = jnp.exp(-0.5 * (distances / jnp.maximum(deviation, 1e-3)) ** 2)
    weights = weights / weights.sum()
    for axis in (0, 1):
        side = image.shape[axis]
        border = [(radius, radius) if each == axis else (0, 0) for each in range(3)]
        padded = jnp.pad(image, border, mode="edge")
        # Sums of shifted images, because a convolution inside a loop is slow on a CPU.
        image = sum(
            (
                weight * lax.slice_in_dim(padded, start, start + side, axis=axis)
                for start, weight in enumerate(weights)
            ),
            jnp.zeros_like(image),
        )
    return image


def random_blur(
    key: Key[Array, ""], image: Float[Array, "height width channel"], *, limit: float = BLUR
) -> Float[Array, "height width channel"]:
    """Blur by a Gaussian whose standard deviation is drawn between 0 and `limit` pixels."""
    return gaussian_blur(image, jax.random.uniform(key, maxval=limit), radius=math.ceil(3 * limit))


def random_cutout(
    key: Key[Array, ""], image: Float[Array, "height width channel"], *, side: float = CUTOUT
) -> Float[Array, "height width channel"]:
    """Replace a rectangle of `side` of each of the image's sides by the image's mean; its center is any pixel.

    Reference: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017,
    https://arxiv.org/abs/1708.04552.
    """
    sides = jnp.array(image.shape[:2])
    center = jax.random.uniform(key, (2,)) * sides
    is_cut = [
        jnp.abs(jnp.arange(length) + 0.5 - center[axis]) < side * length / 2
        for axis, length in enumerate(image.shape[:2])
    ]
    return jnp.where((is_cut[0][:, None] & is_cut[1])[..., None], image.mean(axis=(0, 1)), image)


AUGMENTATIONS: dict[str, Augment] = {
    "flip": random_flip,
    "quarter-turns": random_quarter_turn,
    "brightness": random_brightness,
    "contrast": random_contrast,
    "blur": random_blur,
    "noise": random_noise,
    "cutout": random_cutout,
}
"""The augmentations of one image that need no settings, by name, in the order in which they are applied."""


def in_turn(augmentations: Sequence[Augment]) -> Augment | None:
    """One augmentation after the other, each with a key of its own; a single one as it is; None for none."""
    if len(augmentations) < 2:
        return augmentations[0] if augmentations else None

    def augment(
        key: Key[Array, ""], image: Float[Array, "height width channel"]
    ) -> Float[Array, "height width channel"]:
        for each, own_key in zip(augmentations, jax.random.split(key, len(augmentations)), strict=True):
            image = each(own_key, image)
        return image

    return augment


def make_augment(
    names: Collection[str],
    *,
    rotation: float = AugmentConfig.rotation,
    shift: float = AugmentConfig.shift,
    zoom: float = AugmentConfig.zoom,
) -> Augment | None:
    """The augmentations with these names in turn, whatever their order; None if there is none.

    `affine`, which comes first, is `random_affine` within these limits; `mixup` is left to `mix_batch`.
    """
    affine = functools.partial(random_affine, rotation=rotation, shift=shift, zoom=zoom)
    named = [augment for name, augment in AUGMENTATIONS.items() if name in names]
    return in_turn([affine, *named] if "affine" in names else named)


def mix_batch(
    key: Key[Array, ""], images: Float[Array, "batch height width channel"], *, alpha: float = MIXUP
) -> Float[Array, "batch height width channel"]:
    """Mixup: blend each image with the next of the batch, which is in random order; each keeps its label.

    Mixup blends the labels as well, with a weight of Beta(alpha, alpha). Its mean loss is linear in the label and
    symmetric in the two images, so its expectation, and that of its gradient, is the same where the label stays that of
    the image whose weight is drawn from Beta(alpha + 1, alpha).

    Reference: Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", 2018,
    https://arxiv.org/abs/1710.09412.
    """
    weights = jax.random.beta(key, alpha + 1, alpha, (len(images), 1, 1, 1))
    return weights * images + (1 - weights) * jnp.roll(images, 1, axis=0)
