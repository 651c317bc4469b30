import pytest

from medjax.errors import RefusedError
from medjax.models.as_network import as_network
from medjax.models.resnet import resnet18, resnet50
from medjax.models.summary import summarize_network
from tests.models.zoo import count_parameters, feature_shape


@pytest.mark.parametrize(("make", "parameters"), [(resnet18, 11_689_512), (resnet50, 25_557_032)])
def test_it_has_the_published_number_of_parameters(make, parameters):
    """As torchvision's documentation gives it."""
    assert count_parameters(make(1000), (224, 224, 3)) == parameters


@pytest.mark.parametrize(
    ("side", "features", "stem"),
    [(64, 2, "Conv 7×7, stride 2"), (63, 8, "Conv 3×3, stride 1"), (28, 4, "Conv 3×3, stride 1")],
)
def test_small_images_have_the_stem_of_cifar_and_the_summary_says_so(side, features, stem):
    assert feature_shape(resnet18(2), (side, side, 1)) == (features, features, 512)
    first = summarize_network(as_network(resnet18(2)), (side, side, 1))[0]
    assert (first.layer, first.kind) == ("features/conv1", stem)


@pytest.mark.parametrize(("stem", "features"), [("imagenet", 1), ("small", 4), ("auto", 4)])
def test_a_stem_may_be_named(stem, features):
    assert feature_shape(resnet18(2, stem=stem), (28, 28, 1)) == (features, features, 512)


def test_an_unknown_stem_is_refused():
    with pytest.raises(RefusedError, match=r"--model-set stem: is 'cifar' \(one of auto, imagenet, small\)"):
        resnet50(2, stem="cifar")


def test_any_size_has_features():
    assert feature_shape(resnet18(2), (1, 1, 1)) == (1, 1, 512)
