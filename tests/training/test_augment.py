"""The warp against SciPy, and the random warp against the ranges it promises."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax.training.augment import affine_warp, random_affine

IMAGE = np.random.default_rng(0).random((28, 20, 3)).astype(np.float32)


def turn(degrees):
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, -sine], [sine, cosine]])


MATRICES = {
    "identity": (np.eye(2), np.zeros(2)),
    "rotation": (turn(10), np.zeros(2)),
    "shift": (np.eye(2), np.array([2.8, -1.3])),
    "zoom": (np.diag([0.9, 1.1]), np.zeros(2)),
    "all": (turn(-7) @ np.diag([1.05, 0.93]), np.array([-1.5, 0.7])),
    "far outside": (np.eye(2) * 3, np.array([40.0, -40.0])),
}


@pytest.mark.parametrize("name", MATRICES)
def test_warp_is_scipys(name):
    assert_warp_is_scipys(name)


@pytest.mark.gpu
@pytest.mark.parametrize("name", MATRICES)
def test_on_an_accelerator_warp_is_scipys_too(accelerator, name):
    assert_warp_is_scipys(name)


def assert_warp_is_scipys(name):
    matrix, offset = MATRICES[name]
    centre = (np.array(IMAGE.shape[:2]) - 1) / 2
    expected = np.stack(
        [
            ndimage.affine_transform(
                IMAGE[..., channel], matrix, offset=centre - matrix @ centre + offset, order=1, mode="nearest"
            )
            for channel in range(3)
        ],
        axis=-1,
    )
    warped = affine_warp(
        jnp.asarray(IMAGE), jnp.asarray(matrix, jnp.float32), jnp.asarray(offset, jnp.float32)
    )
    np.testing.assert_allclose(warped, expected, atol=1e-4)


def test_under_vmap_and_jit_an_image_warps_as_alone():
    keys = jax.random.split(jax.random.key(0), 5)
    images = jnp.stack([jnp.asarray(IMAGE) * scale for scale in (0.2, 0.4, 0.6, 0.8, 1.0)])

    def warp(key, image):
        return random_affine(key, image, rotation=10.0, shift=0.1, zoom=0.1)

    batched = jax.jit(jax.vmap(warp))(keys, images)
    for row in range(5):
        np.testing.assert_allclose(batched[row], warp(keys[row], images[row]), atol=1e-4)


def test_ranges_of_zero_change_nothing():
    image = jnp.asarray(IMAGE)
    same = random_affine(jax.random.key(0), image, rotation=0.0, shift=0.0, zoom=0.0)
    np.testing.assert_allclose(same, image, atol=1e-5)


def centre_of_mass(image):
    return np.array(ndimage.center_of_mass(np.asarray(image[..., 0])))


@pytest.mark.parametrize(("shift", "largest"), [(0.1, 4.1), (0.0, 1e-3)])
def test_shift_stays_in_its_range_and_uses_it(shift, largest):
    image = jnp.zeros((41, 41, 1)).at[18:23, 18:23].set(1.0)
    keys = jax.random.split(jax.random.key(1), 200)
    moved = jax.vmap(lambda key: random_affine(key, image, rotation=0.0, shift=shift, zoom=0.0))(keys)
    distances = np.abs([centre_of_mass(each) - 20 for each in moved])
    assert distances.max() <= largest
    assert distances.max() >= 0.9 * largest - 1e-3


def test_rotation_stays_in_its_range_and_uses_it():
    image = jnp.zeros((41, 41, 1)).at[20, 22:40].set(1.0)  # a hand of a clock, at three
    keys = jax.random.split(jax.random.key(2), 200)
    turned = jax.vmap(lambda key: random_affine(key, image, rotation=10.0, shift=0.0, zoom=0.0))(keys)
    offsets = np.array([centre_of_mass(each) - 20 for each in turned])
    angles = np.degrees(np.arctan2(offsets[:, 0], offsets[:, 1]))
    assert 9 < np.abs(angles).max() < 10.2
    assert angles.min() < -9
    assert angles.max() > 9


def test_zoom_is_drawn_apart_for_each_axis():
    image = jnp.zeros((41, 41, 1)).at[10:31, 10:31].set(1.0)
    keys = jax.random.split(jax.random.key(3), 200)
    zoomed = jax.vmap(lambda key: random_affine(key, image, rotation=0.0, shift=0.0, zoom=0.1))(keys)
    heights = np.array(zoomed[:, :, 20, 0].sum(1))
    widths = np.array(zoomed[:, 20, :, 0].sum(1))
    assert abs(np.corrcoef(heights, widths)[0, 1]) < 0.2
    for sides in (heights, widths):
        assert 21 / 1.1 - 0.3 <= sides.min() < 19.6
        assert 22.8 < sides.max() <= 21 / 0.9 + 0.3
