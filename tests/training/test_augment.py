"""The warp against SciPy, and the random warp against the ranges it promises."""

import math
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax.config import AugmentationName
from medjax.errors import RefusedError
from medjax.training.augment import (
    AUGMENTATIONS,
    affine_warp,
    gaussian_blur,
    in_turn,
    make_augment,
    mix_batch,
    quarter_turn,
    random_affine,
    random_blur,
    random_brightness,
    random_contrast,
    random_cutout,
    random_flip,
    random_noise,
    random_quarter_turn,
)

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


SQUARE = jnp.asarray(IMAGE[:20])
KEYS = jax.random.split(jax.random.key(4), 200)


def drawn(augment, image):
    return np.asarray(jax.vmap(augment, in_axes=(0, None))(KEYS, image))


def test_half_of_the_images_are_mirrored():
    is_mirrored = [np.array_equal(each, IMAGE[:, ::-1]) for each in drawn(random_flip, jnp.asarray(IMAGE))]
    is_same = [np.array_equal(each, IMAGE) for each in drawn(random_flip, jnp.asarray(IMAGE))]
    assert np.array_equal(is_mirrored, np.logical_not(is_same))
    assert 70 < sum(is_mirrored) < 130


@pytest.mark.parametrize("turns", range(4))
def test_a_quarter_turn_is_numpys(turns):
    assert np.array_equal(quarter_turn(SQUARE, jnp.int32(turns)), np.rot90(SQUARE, turns))


def test_quarter_turns_are_all_drawn_and_need_a_square():
    found = drawn(random_quarter_turn, SQUARE)
    counts = [sum(np.array_equal(each, np.rot90(SQUARE, turns)) for each in found) for turns in range(4)]
    assert sum(counts) == 200
    assert min(counts) > 25
    with pytest.raises(RefusedError, match="quarter-turns: images of 28 by 20 pixels"):
        random_quarter_turn(KEYS[0], jnp.asarray(IMAGE))


def test_brightness_adds_one_number_within_its_limit():
    image = 0.4 + 0.2 * SQUARE
    added = drawn(random_brightness, image) - np.asarray(image)
    assert np.ptp(added, axis=(1, 2, 3)).max() < 1e-6
    assert -0.2 <= added.min() < -0.19
    assert 0.19 < added.max() <= 0.2


def test_contrast_scales_about_the_mean_within_its_limit():
    image = 0.3 + 0.3 * SQUARE
    found = drawn(random_contrast, image)
    factors = found.std(axis=(1, 2, 3)) / np.asarray(image).std()
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), image.mean(), atol=1e-5)
    assert 0.7 <= factors.min() < 0.71
    assert 1.29 < factors.max() <= 1.3 + 1e-5


def test_noise_has_up_to_its_standard_deviation():
    deviations = drawn(random_noise, jnp.full((20, 20, 1), 0.5)).std(axis=(1, 2, 3))
    assert deviations.min() < 0.005
    assert 0.045 < deviations.max() < 0.055


def test_blur_is_scipys_and_none_leaves_the_image():
    expected = ndimage.gaussian_filter(IMAGE, (0.8, 0.8, 0), mode="nearest", radius=3)
    np.testing.assert_allclose(gaussian_blur(jnp.asarray(IMAGE), 0.8, radius=3), expected, atol=1e-5)
    np.testing.assert_array_equal(gaussian_blur(jnp.asarray(IMAGE), 0.0, radius=3), IMAGE)
    roughness = np.abs(np.diff(drawn(random_blur, SQUARE), axis=1)).mean(axis=(1, 2, 3))
    assert roughness.min() < 0.5 * roughness.max()


def test_cutout_takes_a_square_away_that_the_border_may_cut():
    is_cut = (drawn(random_cutout, SQUARE) != np.asarray(SQUARE)).any(axis=-1)
    areas = is_cut.sum(axis=(1, 2))
    assert areas.max() == 8 * 8
    assert 4 * 4 <= areas.min() < 6 * 8


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_stays_in_range_and_is_the_same_under_vmap_and_jit(name):
    images = jnp.stack([SQUARE, 1 - SQUARE, jnp.zeros_like(SQUARE)])
    batched = jax.jit(jax.vmap(AUGMENTATIONS[name]))(KEYS[:3], images)
    assert batched.min() >= 0
    assert batched.max() <= 1
    for row in range(3):
        np.testing.assert_allclose(batched[row], AUGMENTATIONS[name](KEYS[row], images[row]), atol=1e-6)


def test_every_name_of_the_configuration_is_an_augmentation():
    assert set(get_args(AugmentationName)) == {"affine", *AUGMENTATIONS, "mixup"}


def test_affine_alone_takes_the_key_as_it_is_and_several_take_one_each():
    limits = {"rotation": 10.0, "shift": 0.1, "zoom": 0.1}
    alone = make_augment(["affine"], **limits)
    np.testing.assert_array_equal(alone(KEYS[0], SQUARE), random_affine(KEYS[0], SQUARE, **limits))
    first, second = jax.random.split(KEYS[0])
    expected = random_flip(second, random_affine(first, SQUARE, **limits))
    for names in (["affine", "flip", "mixup"], ["flip", "affine"]):
        np.testing.assert_array_equal(make_augment(names, **limits)(KEYS[0], SQUARE), expected)
    assert make_augment(["mixup"], **limits) is None
    assert in_turn([]) is None


def test_mixup_has_the_expected_loss_of_mixed_labels():
    images = jnp.arange(4.0).reshape(4, 1, 1, 1)
    keys = jax.random.split(jax.random.key(5), 4000)
    mixed = jax.vmap(lambda key: mix_batch(key, images, alpha=0.2))(keys)[..., 0, 0, 0]
    assert mixed.min() >= 0
    assert mixed.max() <= 3
    # Any loss (image, label) -> number, here (image - 2 label)^2, averaged over all pairs: label and weight together.
    labels = jnp.arange(4.0)
    own = ((mixed - 2 * labels) ** 2).mean()
    weights = jax.random.beta(jax.random.key(6), 0.2, 0.2, (4000, 4))
    partners = jnp.roll(labels, 1)
    blended = weights * labels + (1 - weights) * partners
    both = weights * (blended - 2 * labels) ** 2 + (1 - weights) * (blended - 2 * partners) ** 2
    assert float(own) == pytest.approx(float(both.mean()), rel=0.03)
