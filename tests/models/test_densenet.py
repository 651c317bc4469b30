import pytest

from medjax.models.densenet import densenet121
from tests.models.zoo import count_parameters, feature_shape


def test_it_has_the_published_number_of_parameters():
    """As torchvision's documentation gives it."""
    assert count_parameters(densenet121(1000), (224, 224, 3)) == 7_978_856


@pytest.mark.parametrize(("side", "stem", "features"), [(28, "auto", 3), (4, "auto", 1), (28, "imagenet", 1)])
def test_small_images_are_reduced_less_unless_the_stem_is_named(side, stem, features):
    assert feature_shape(densenet121(2, stem=stem), (side, side, 1)) == (features, features, 1024)
