"""Images unlike the training images are told; ordinary held-out images are not."""

import numpy as np
import pytest
from scipy import ndimage

from medjax.data.phantom.dataset import make_phantom
from medjax.data.ranges import STATISTICS, find_outside, find_ranges, measure, require_ranges
from medjax.data.splitting.splits import holdout
from medjax.errors import RefusedError

PHANTOM = make_phantom(images_per_class=40)
SPLIT = holdout(PHANTOM.labels, seed=0)
RANGES = find_ranges(PHANTOM.images, SPLIT.train)


def outside(images):
    return find_outside(measure(images), RANGES)


def test_statistics_are_those_of_numpy_and_scipy():
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3), dtype=np.uint8)
    found = measure(images)
    for row, image in enumerate(images):
        gray = image.mean(axis=-1)
        laplacian = ndimage.laplace(gray, mode="nearest")
        expected = (
            (image.max(axis=-1).astype(int) - image.min(axis=-1)).mean(),
            gray.mean(),
            np.log1p(gray.std()),
            np.log1p(laplacian.var()) - np.log1p(gray.var()),
        )
        np.testing.assert_allclose([found[name][row] for name in STATISTICS], expected, rtol=1e-4)
    assert measure(images[..., :1])["color"].tolist() == [0, 0, 0]
    deep = measure(images * np.uint16(257))
    for name in STATISTICS:
        np.testing.assert_allclose(deep[name], found[name], rtol=1e-4)
    assert {name: len(values) for name, values in measure(images[:0]).items()} == dict.fromkeys(STATISTICS, 0)


def test_ordinary_images_give_no_false_alarm():
    """Of 20 random divisions of the phantom, each trained on 168 images, on average less than 1 % of the others."""
    shares = []
    for seed in range(20):
        split = holdout(PHANTOM.labels, seed=seed)
        ranges = find_ranges(PHANTOM.images, split.train)
        held_back = PHANTOM.images[np.concatenate([split.val, split.test])]
        shares.append(np.mean([bool(names) for names in find_outside(measure(held_back), ranges)]))
    assert np.mean(shares) < 0.01
    assert max(shares) < 0.06


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (np.zeros_like, {"spread"}),
        (lambda images: np.full_like(images, 255), {"spread"}),
        (lambda images: np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8), {"sharpness"}),
        (lambda images: ndimage.gaussian_filter(images, (0, 4, 4, 0)), {"sharpness"}),
        (lambda images: np.stack([images[..., 0], images[..., 0] // 2, 0 * images[..., 0]], -1), {"color"}),
    ],
    ids=["black", "white", "noise", "blur", "color"],
)  # fmt: skip
def test_what_is_unlike_the_training_images_is_told(make, names):
    assert all(names <= set(each) for each in outside(make(PHANTOM.images[:8])))


def test_ranges_hold_the_training_images_and_no_value_of_one():
    assert not any(outside(PHANTOM.images[SPLIT.train]))
    values = measure(PHANTOM.images)
    assert not any(np.isin(bounds, values[name]).any() for name, bounds in RANGES.items())
    alone = find_ranges(PHANTOM.images, SPLIT.train[:1])
    assert all(low < high for low, high in alone.values())


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"mean": 3},
        {"mean": [1]},
        {"mean": [0, float("nan")]},
        {"mean": [0, 10**400]},
        {"size": [0, 1]},
    ],
)
def test_what_a_stranger_wrote_is_checked(value):
    with pytest.raises(RefusedError, match=r"run\.json: data\.ranges: are no ranges"):
        require_ranges("run.json: data.ranges", value)
    assert require_ranges("x", {"mean": [0, 1]}) == {"mean": (0.0, 1.0)}
