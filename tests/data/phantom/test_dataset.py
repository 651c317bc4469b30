"""The synthetic data set: what it promises of its arrays, and that it is neither trivial nor hopeless."""

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from medjax.data.phantom.dataset import make_phantom
from medjax.errors import RefusedError
from medjax.records import Dataset

CLASS_NAMES = ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT")


@pytest.fixture(scope="module")
def phantom() -> Dataset:
    return make_phantom()


def test_shapes_and_types(phantom):
    assert phantom.images.shape == (3600, 64, 64, 1)
    assert phantom.images.dtype == np.uint8
    assert phantom.labels.shape == (3600,)
    assert phantom.labels.dtype == np.int32
    assert phantom.digests.shape == (3600, 32)
    assert phantom.digests.dtype == np.uint8


def test_it_says_that_it_is_synthetic(phantom):
    assert phantom.is_synthetic
    assert phantom.name == "phantom"
    assert all("/synthetic-" in name for name in phantom.ids)


def test_classes_are_balanced_and_named_in_order(phantom):
    assert phantom.class_names == CLASS_NAMES
    assert np.bincount(phantom.labels).tolist() == [600] * 6


def test_ids_are_sorted_and_agree_with_the_labels(phantom):
    assert phantom.ids.tolist() == sorted(phantom.ids.tolist())
    assert phantom.ids[612] == "BreastMRI/synthetic-00012"
    assert [name.split("/")[0] for name in phantom.ids] == [CLASS_NAMES[label] for label in phantom.labels]


def test_every_image_shows_something(phantom):
    pixels = phantom.images.reshape(len(phantom.images), -1)
    darkest, brightest = np.percentile(pixels, (2, 98), axis=1)
    assert (brightest - darkest).min() > 40
    assert pixels.min() == 0
    assert pixels.max() == 255


def test_no_image_is_made_twice(phantom):
    assert len(np.unique(phantom.digests, axis=0)) == 3600


def test_same_seed_same_bits():
    first, second = make_phantom(seed=3, images_per_class=4), make_phantom(seed=3, images_per_class=4)
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.digests, second.digests)


def test_images_do_not_depend_on_how_many_are_made(phantom):
    few = make_phantom(images_per_class=3)
    is_shared = np.isin(phantom.ids, few.ids)
    np.testing.assert_array_equal(phantom.ids[is_shared], few.ids)
    np.testing.assert_array_equal(phantom.images[is_shared], few.images)


def test_seeds_share_no_image():
    first, second = make_phantom(seed=0, images_per_class=20), make_phantom(seed=1, images_per_class=20)
    both = np.concatenate([first.digests, second.digests])
    assert len(np.unique(both, axis=0)) == len(both)


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_smallest_and_largest_seed(seed):
    assert len(make_phantom(seed, images_per_class=1).images) == 6


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"images_per_class": 0}, "images_per_class"),
        ({"images_per_class": 100_001}, "images_per_class"),
    ],
)
def test_out_of_range_is_refused(options, name):
    with pytest.raises(RefusedError, match=f"^{name}: .* is out of range"):
        make_phantom(**options)


def test_a_linear_model_does_well_but_not_perfectly(phantom):
    """Accuracy between 60 % and 97 % at 28×28, 70 % trained on, 15 % scored.

    Measured 91 %; over C from 1e-4 to 1, standardised pixels or not, at most 91 %. It converges in about 50
    of the 1,000 steps allowed, else its warning would fail this test; a tolerance of 1e-4 takes twice as many
    and scores the same.
    """
    pictures = [Image.fromarray(image[..., 0]) for image in phantom.images]
    small = [picture.resize((28, 28), Image.Resampling.BILINEAR) for picture in pictures]
    pixels = np.stack([np.asarray(picture).ravel() for picture in small]) / np.float32(255)
    train, rest = train_test_split(
        np.arange(len(pixels)), train_size=0.70, stratify=phantom.labels, random_state=0
    )
    _, test = train_test_split(rest, train_size=0.5, stratify=phantom.labels[rest], random_state=0)
    model = LogisticRegression(C=0.1, tol=1e-3, max_iter=1000).fit(pixels[train], phantom.labels[train])
    accuracy = model.score(pixels[test], phantom.labels[test])
    assert 0.60 < accuracy < 0.97
