import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from medjax.errors import RefusedError
from medjax.models.efficientnet import InvertedBlock, efficientnet_lite0
from tests.models.zoo import count_parameters, feature_shape


def test_it_has_the_published_number_of_parameters():
    """As the weights of TensorFlow's authors and of timm have it."""
    assert count_parameters(efficientnet_lite0(1000), (224, 224, 3)) == 4_652_008


@pytest.mark.parametrize(("side", "features"), [(64, 2), (63, 4), (28, 2), (1, 1)])
def test_small_images_are_reduced_less(side, features):
    assert feature_shape(efficientnet_lite0(2), (side, side, 3)) == (features, features, 1280)


@pytest.mark.parametrize(
    ("framework", "padding", "epsilon"),
    [("tensorflow", [(0, 1), (0, 1)], 1e-3), ("pytorch", [(1, 1), (1, 1)], 1e-5)],
)
def test_each_framework_has_its_padding_and_epsilon(framework, padding, epsilon):
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 4))
    block = InvertedBlock(1, 3, 2, 4, framework)
    variables = block.init(jax.random.key(1), x, is_training=False)
    kernels = {name: value["kernel"] for name, value in variables["params"].items() if "kernel" in value}
    expected = jax.lax.conv_general_dilated(
        x,
        kernels["depthwise_conv"],
        (2, 2),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=4,
    )
    expected = nn.relu6(expected / jnp.sqrt(1 + epsilon)) @ kernels["project_conv"][0, 0]
    found = block.apply(variables, x, is_training=False)
    assert jnp.abs(found - expected / jnp.sqrt(1 + epsilon)).max() < 1e-6


def test_an_unknown_framework_is_refused():
    with pytest.raises(RefusedError, match=r"framework: is 'keras' \(one of tensorflow, pytorch\)"):
        efficientnet_lite0(2, framework="keras")
