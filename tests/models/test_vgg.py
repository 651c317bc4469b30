import jax
import numpy as np
import pytest

from medjax.models.vgg import resize_by_means, vgg16
from tests.models.zoo import count_parameters, feature_shape


def test_it_has_the_published_number_of_parameters():
    """As torchvision's documentation gives it."""
    assert count_parameters(vgg16(1000), (224, 224, 3)) == 138_365_992
    assert count_parameters(vgg16(1000), (64, 64, 3)) == 138_365_992


@pytest.mark.parametrize(("side", "features"), [(64, 2), (63, 1), (28, 1), (3, 1)])
def test_features_of_any_size(side, features):
    assert feature_shape(vgg16(2), (side, side, 1)) == (features, features, 512)


def test_small_images_have_no_hidden_layers():
    assert count_parameters(vgg16(2), (63, 63, 3)) == 14_723_136 + 513 * 2  # of torchvision's features alone


@pytest.mark.parametrize("side", [1, 2, 3, 6, 7, 9, 14])
def test_maps_are_resized_by_the_means_of_what_each_pixel_covers(side):
    maps = jax.random.normal(jax.random.key(0), (2, side, side + 1, 3))
    found = resize_by_means(maps, 7)
    for row, column in np.ndindex(7, 7):
        rows = slice(int(row * side / 7), int(np.ceil((row + 1) * side / 7)))
        columns = slice(int(column * (side + 1) / 7), int(np.ceil((column + 1) * (side + 1) / 7)))
        expected = np.asarray(maps)[:, rows, columns].mean((1, 2))
        np.testing.assert_allclose(found[:, row, column], expected, atol=1e-5)
