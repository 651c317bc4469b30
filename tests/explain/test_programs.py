"""Maps of many images: batches, a known cause, and that the weights decide (Adebayo et al., 2018)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

from medjax.errors import RefusedError
from medjax.explain.gradients import input_gradient, integrated_gradients
from medjax.explain.programs import METHODS, make_explainer
from tests.explain.known_cause import SIDE, train_detector

SHAPE = (SIDE, SIDE, 1)


@pytest.fixture(scope="module")
def trained():
    return train_detector()


def lesions(images):
    return np.ones(len(images), np.int32)


# Grad-CAM is as coarse as the maps, which reach beyond the edge of the lesion.
@pytest.mark.parametrize(("method", "least"), [("grad-cam", 0.5), ("integrated-gradients", 0.8)])
def test_the_top_tenth_of_a_map_lies_in_the_lesion(trained, method, least):
    maps = make_explainer(trained.network, SHAPE, method)(
        trained.variables, trained.images, lesions(trained.images)
    ).maps
    count = round(SIDE * SIDE / 10)
    shares = [
        np.mean(mask.ravel()[np.argsort(-values.ravel(), kind="stable")[:count]])
        for values, mask in zip(maps, trained.masks, strict=True)
    ]
    assert trained.masks.mean() < 0.16  # by chance it would be this share
    assert np.mean(shares) >= least
    assert np.median(shares) >= least


@pytest.mark.parametrize("method", METHODS)
def test_random_weights_change_the_map(trained, method):
    """A map that stays as it is shows edges of the image, not what was learned."""
    explain = make_explainer(trained.network, SHAPE, method)
    classes = lesions(trained.images)
    mine = explain(trained.variables, trained.images, classes).maps
    assert all(values.any() for values in mine)
    alike = []
    for seed in range(8):  # of a single draw, a bright disc may happen to speak for the class
        drawn = trained.network.init(jax.random.key(seed), SHAPE)
        for first, second in zip(mine, explain(drawn, trained.images, classes).maps, strict=True):
            # A map of zeros, as random weights may give, is like no other.
            alike.append(spearmanr(first.ravel(), second.ravel())[0] if second.any() else 0.0)
    assert abs(np.mean(alike)) < 0.5


@pytest.mark.parametrize("count", [1, 17])
def test_batches_are_what_the_functions_give(trained, count):
    images, classes = trained.images[:count], (np.arange(count) % 2).astype(np.int32)
    pixels = jnp.asarray(images.astype(np.float32) / 255)
    gradient = make_explainer(trained.network, SHAPE, "gradient")(trained.variables, images, classes)
    expected = input_gradient(trained.network, trained.variables, pixels, jnp.asarray(classes))
    np.testing.assert_allclose(
        gradient.maps, np.abs(expected).max(-1), rtol=1e-3, atol=1e-4 * np.abs(expected).max()
    )
    assert gradient.gap is None
    found = make_explainer(trained.network, SHAPE, "integrated-gradients", steps=3)(
        trained.variables, images, classes
    )
    expected = integrated_gradients(trained.network, trained.variables, pixels, jnp.asarray(classes), steps=3)
    tolerance = 1e-4 * np.abs(expected.attributions).max()
    np.testing.assert_allclose(found.maps, expected.attributions.sum(-1), rtol=1e-3, atol=tolerance)
    np.testing.assert_allclose(found.maps.sum((1, 2)) + found.gap, found.change, rtol=1e-4, atol=1e-4)


def test_images_of_16_bits_are_the_same_pixels(trained):
    explain = make_explainer(trained.network, SHAPE)
    classes = lesions(trained.images[:2])
    eight = explain(trained.variables, trained.images[:2], classes).maps
    sixteen = explain(trained.variables, trained.images[:2].astype(np.uint16) * 257, classes).maps
    np.testing.assert_allclose(eight, sixteen, rtol=1e-4, atol=1e-6 * eight.max())


def test_no_images_have_no_maps(trained):
    empty = make_explainer(trained.network, SHAPE)(trained.variables, trained.images[:0], lesions([]))
    assert empty.maps.shape == (0, SIDE, SIDE)


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 10_001}])
def test_wrong_options_are_refused(trained, options):
    with pytest.raises(RefusedError, match="1 to 10,000"):
        make_explainer(trained.network, SHAPE, **options)
