import pytest

from medjax.models.densenet import densenet121
from tests.models.zoo import count_parameters, feature_shape


def test_it_has_the_published_number_of_parameters():
    """As torchvision's documentation gives it."""
    assert count_parameters(densenet121(1000), (224, 224, 3)) == 7_978_856


@pytest.mark.parametrize(("side", "features"), [(28, 3), (4, 1)])
def test_small_images_are_reduced_less(side, features):
    assert feature_shape(densenet121(2), (side, side, 1)) == (features, features, 1024)
