"""Principal components, against scikit-learn's."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medjax.evaluation.components import fit_components
from medjax.evaluation.worker_threads import worker_threads


def make_pixels(n=600, values=40):
    """Correlated values about 0.5, of widths from 0.001 to 0.1; one is the same everywhere."""
    generator = np.random.default_rng(0)
    mixtures = generator.normal(size=(n, values)) @ generator.normal(size=(values, values))
    pixels = 0.5 + np.geomspace(0.001, 0.1, values) * mixtures / values**0.5
    pixels[:, 7] = 0.3
    return pixels.astype(np.float32)


def components_of(pixels, trains):
    with worker_threads() as workers:
        return [fitted.transform(pixels) for fitted in fit_components(pixels, trains, workers)]


def similarities(components):
    """Inner products of images: the same whatever the signs of the components, or their order where variances are alike."""
    return components @ components.T


@pytest.mark.parametrize("num_train", [30, 39, 41, 150, 450])
def test_components_are_scikit_learns(num_train):
    pixels = make_pixels()
    train = np.sort(np.random.default_rng(1).permutation(len(pixels))[:num_train])
    size = min(39, num_train // 5)  # one of the values does not vary
    peer = make_pipeline(StandardScaler(), PCA(size, whiten=True, svd_solver="full")).fit(
        pixels[train].astype(np.float64)
    )
    (found,) = components_of(pixels, [train])
    assert found.shape == (len(pixels), size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[train].var(axis=0, ddof=1), 1, rtol=1e-3)
    np.testing.assert_allclose(similarities(found), similarities(peer.transform(pixels)), atol=0.02)


@pytest.mark.parametrize("num_parts", [2, 5, 20])
def test_components_of_several_folds_are_those_of_each_alone(num_parts):
    pixels = make_pixels()
    parts = np.arange(len(pixels)) % num_parts  # sums of 20 would take more memory than the images
    trains = [np.flatnonzero(parts != part) for part in range(num_parts)]
    for train, together in zip(trains, components_of(pixels, trains), strict=True):
        (alone,) = components_of(pixels, [train])
        np.testing.assert_allclose(similarities(together), similarities(alone), atol=0.02)


def test_folds_that_leave_out_some_images_alike_are_those_of_each_alone():
    pixels = make_pixels()
    trains = [np.arange(0, 400), np.arange(100, 600), np.arange(50, 550)]
    for train, together in zip(trains, components_of(pixels, trains), strict=True):
        (alone,) = components_of(pixels, [train])
        np.testing.assert_allclose(similarities(together), similarities(alone), atol=0.02)


@pytest.mark.parametrize("num_folds", [1, 5])
def test_values_that_vary_in_no_training_image_change_nothing(num_folds):
    pixels = make_pixels(n=1000)
    parts = np.arange(len(pixels)) % 5
    others = np.full((1000, 20), 0.3, np.float32)
    others[parts == 0] += np.random.default_rng(3).random((200, 20), np.float32)
    trains = [np.flatnonzero(parts != part) for part in range(num_folds)]
    without, found = (
        components_of(each, trains)[0] for each in (pixels, np.concatenate([pixels, others], axis=1))
    )
    np.testing.assert_allclose(similarities(found), similarities(without), atol=0.02)


def test_images_that_are_not_trained_on_change_nothing():
    pixels = make_pixels()
    train = np.arange(0, 600, 2)
    replaced = pixels.copy()
    replaced[1::2] = np.random.default_rng(2).random(replaced[1::2].shape)
    first, second = (components_of(each, [train])[0][train] for each in (pixels, replaced))
    np.testing.assert_allclose(similarities(first), similarities(second), atol=0.02)


def test_components_of_nearly_no_variance_are_left_out():
    generator = np.random.default_rng(0)
    for n in (20, 200):
        flat = (generator.normal(size=(n, 2)) @ generator.normal(size=(2, 50))).astype(np.float32)
        (found,) = components_of(flat, [np.arange(n)])
        assert found.shape == (n, 2)


def test_blank_images_have_finite_components():
    (found,) = components_of(np.full((200, 50), 0.7, np.float32), [np.arange(200)])
    assert np.isfinite(found).all()
