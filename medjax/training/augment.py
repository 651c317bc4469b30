"""Affine augmentation of one image: the deterministic warp, then its random version.

Images are floats of any range, (height, width, channel). Coordinates are in pixels, row before column. Rotation and
zoom are about the image's centre.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key


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
