"""Published weights in our networks: on small stand-ins of them here, on the whole networks against PyTorch below."""

import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.peers.client import find_torch
from medjax.errors import RefusedError
from medjax.models.as_network import as_network
from medjax.models.network import Variables, abstract_variables
from medjax.models.registry import MODELS
from medjax.models.transfer import transfer

CHANNELS = 3


def small_resnet(*, classes=2, channels=CHANNELS, kernel=7):
    """Some layers of a ResNet, as variables of ours."""
    parameters = {
        "features": {
            "conv1": {"kernel": jnp.full((kernel, kernel, channels, 4), 9.0)},
            "bn1": {"scale": jnp.ones(4), "bias": jnp.zeros(4)},
            "layer1_0": {"downsample_0": {"kernel": jnp.zeros((1, 1, 4, 5))}},
        },
        "head": {"logits": {"kernel": jnp.full((5, classes), 7.0), "bias": jnp.full(classes, 8.0)}},
    }
    state = {"batch_stats": {"features": {"bn1": {"mean": jnp.zeros(4), "var": jnp.ones(4)}}}}
    return Variables(parameters, state)


@pytest.fixture
def weights():
    """The same layers as torchvision names them, for two classes."""
    generator = np.random.default_rng(0)

    def draw(*shape):
        return generator.normal(size=shape).astype(np.float32)

    return {
        "conv1.weight": draw(4, CHANNELS, 7, 7),
        "bn1.weight": draw(4),
        "bn1.bias": draw(4),
        "bn1.running_mean": draw(4),
        "bn1.running_var": draw(4),
        "bn1.num_batches_tracked": np.array(17),
        "layer1.0.downsample.0.weight": draw(5, 4, 1, 1),
        "fc.weight": draw(2, 5),
        "fc.bias": draw(2),
    }


def problems_of(variables, weights, model="resnet18"):
    with pytest.raises(RefusedError) as caught:
        transfer(variables, weights, model=model)
    return {problem.name: problem for problem in caught.value.problems}


def test_every_number_goes_to_its_place(weights):
    (parameters, state), notes = transfer(small_resnet(), weights, model="resnet18")
    features, head = parameters["features"], parameters["head"]["logits"]
    assert notes == []
    assert features["conv1"]["kernel"][6, 2, 1, 3] == weights["conv1.weight"][3, 1, 6, 2]
    np.testing.assert_array_equal(features["bn1"]["scale"], weights["bn1.weight"])
    np.testing.assert_array_equal(features["bn1"]["bias"], weights["bn1.bias"])
    downsample = features["layer1_0"]["downsample_0"]["kernel"]
    np.testing.assert_array_equal(downsample[0, 0].T, weights["layer1.0.downsample.0.weight"][..., 0, 0])
    np.testing.assert_array_equal(head["kernel"].T, weights["fc.weight"])
    np.testing.assert_array_equal(head["bias"], weights["fc.bias"])
    np.testing.assert_array_equal(
        state["batch_stats"]["features"]["bn1"]["mean"], weights["bn1.running_mean"]
    )
    np.testing.assert_array_equal(state["batch_stats"]["features"]["bn1"]["var"], weights["bn1.running_var"])


@pytest.mark.parametrize("has_head", [True, False])
def test_the_last_layer_stays_as_it_is_for_other_classes_or_without_one_in_the_weights(weights, has_head):
    if not has_head:
        del weights["fc.weight"], weights["fc.bias"]
    variables, notes = transfer(small_resnet(classes=3), weights, model="resnet18")
    head = variables.parameters["head"]["logits"]
    assert (head["kernel"] == 7).all()
    assert (head["bias"] == 8).all()
    assert variables.parameters["features"]["conv1"]["kernel"].max() < 9
    assert notes == [
        f"head/logits starts fresh: the weights have {'2 classes' if has_head else 'none'}, this network 3"
    ]


def test_half_of_a_last_layer_is_refused(weights):
    del weights["fc.weight"]
    assert problems_of(small_resnet(), weights).keys() == {"head/logits/kernel"}


def test_the_first_convolution_is_summed_for_gray_images(weights):
    variables, notes = transfer(small_resnet(channels=1), weights, model="resnet18")
    kernel = variables.parameters["features"]["conv1"]["kernel"]
    expected = weights["conv1.weight"].sum(axis=1)
    np.testing.assert_allclose(kernel[:, :, 0].transpose(2, 0, 1), expected, rtol=1e-6)
    assert notes == ["features/conv1/kernel is the sum over 3 channels, for gray images"]


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_the_first_convolution_is_repeated_for_other_channels(weights, channels):
    """An image that has the same values in all channels keeps its response where each color is repeated as often."""
    variables, notes = transfer(small_resnet(channels=channels), weights, model="resnet18")
    kernel = variables.parameters["features"]["conv1"]["kernel"].transpose(3, 2, 0, 1)
    for channel in range(channels):
        expected = weights["conv1.weight"][:, channel % 3] * 3 / channels
        np.testing.assert_allclose(kernel[:, channel], expected, rtol=1e-6)
    assert notes == [f"features/conv1/kernel is repeated for {channels} channels and scaled by 3/{channels}"]


def test_a_stem_of_another_size_is_refused_with_the_setting_that_has_it(weights):
    problem = problems_of(small_resnet(kernel=3), weights)["features/conv1/kernel"]
    assert problem.reason == "is 7 × 7 pixels in the weights, 3 × 3 in this network"
    assert problem.remedy == "give --model-set stem=imagenet"
    weights["conv1.weight"] = weights["conv1.weight"][:, :, :3, :3]
    problem = problems_of(small_resnet(), weights)["features/conv1/kernel"]
    assert problem.remedy == "give --model-set stem=small"


def test_all_that_is_missing_too_much_or_of_another_shape_is_listed(weights):
    del weights["bn1.running_var"], weights["bn1.bias"]
    weights["layer4.1.conv2.weight"] = np.zeros((4, 4, 3, 3), np.float32)
    weights["layer1.0.downsample.0.weight"] = np.zeros((6, 4, 1, 1), np.float32)
    weights["bn1.weight"] = np.array([1, 2, np.nan, 3], np.float32)
    weights["layer1_0.downsample.0.weight"] = np.zeros((5, 4, 1, 1), np.float32)
    reasons = {name: problem.reason for name, problem in problems_of(small_resnet(), weights).items()}
    assert reasons == {
        "features/bn1/var": "is not in the weights",
        "features/bn1/bias": "is not in the weights",
        "layer4.1.conv2.weight": "is no parameter of resnet18",
        "features/layer1_0/downsample_0/kernel": "has the shape (1, 1, 4, 6) in the weights, (1, 1, 4, 5) here",
        "bn1.weight": "holds numbers that are not finite",
        "layer1_0.downsample.0.weight": "is the same parameter as layer1.0.downsample.0.weight",
    }


def test_weights_of_another_kind_and_networks_without_published_ones_are_refused(weights):
    assert "fc.bias" in problems_of(small_resnet(), weights, "densenet121")
    problem = problems_of(small_resnet(), weights, "cnn")["--pretrained"]
    assert problem.reason == "no published weights fit cnn"
    assert problem.remedy.startswith("--model resnet18, ")
    odd = {"fc.weight": np.zeros((0, 5)), "conv1.weight": np.zeros(()), "": np.zeros((2, 3, 0, 1, 4))}
    assert problems_of(small_resnet(), odd).keys() >= {"", "features/bn1/bias"}


def test_vgg_flattens_places_first_where_pytorch_flattens_features_first():
    maps, units = np.random.default_rng(0).normal(size=(2, 7, 7)), 3  # feature, height, width
    dense = np.random.default_rng(1).normal(size=(units, maps.size))
    head = {
        "hidden_0": {"kernel": jnp.zeros((98, units)), "bias": jnp.zeros(units)},
        "logits": {"kernel": jnp.zeros((units, 2)), "bias": jnp.zeros(2)},
    }
    for weight in (dense, dense.reshape(units, 2, 7, 7)):  # torchvision, timm
        name = "classifier.0" if weight.ndim == 2 else "pre_logits.fc1"
        weights = {f"{name}.weight": weight, f"{name}.bias": np.zeros(units)}
        filled, _ = transfer(Variables({"head": head}, {}), weights, model="vgg16")
        ours = maps.transpose(1, 2, 0).reshape(-1) @ filled.parameters["head"]["hidden_0"]["kernel"]
        np.testing.assert_allclose(ours, dense @ maps.reshape(-1), rtol=1e-4)
    small = Variables({"head": {"logits": head["logits"]}}, {})
    assert (
        transfer(small, weights, model="vgg16").notes[1].startswith("hidden layers of the head are not used")
    )


def test_positions_of_patches_are_resized_and_that_of_the_token_is_not():
    def variables(tokens):
        parameters = {"features": {"pos_embed": jnp.zeros((1, tokens, 2))}, "head": {"logits": {}}}
        parameters["head"]["logits"] = {"kernel": jnp.zeros((2, 1)), "bias": jnp.zeros(1)}
        return Variables(parameters, {})

    rows, columns = np.mgrid[:4, :4]
    grid = np.stack((rows, columns), axis=-1).reshape(1, 16, 2).astype(np.float32)
    weights = {"pos_embed": np.concatenate((np.full((1, 1, 2), 50, np.float32), grid), axis=1)}
    filled, notes = transfer(variables(5), weights, model="vit_tiny")
    positions = np.asarray(filled.parameters["features"]["pos_embed"])
    assert (positions[0, 0] == 50).all()
    # Symmetric about the middle of the grid, and rising along its axis.
    np.testing.assert_allclose(positions[0, 1:].mean(axis=0), [1.5, 1.5], atol=1e-5)
    assert positions[0, 1, 0] == positions[0, 2, 0] < positions[0, 3, 0]
    assert notes[1] == "features/pos_embed is resized from 4 × 4 to 2 × 2 positions"
    assert "features/pos_embed" in problems_of(variables(6), weights, "vit_tiny")
    for tokens in (0, 1):
        weights["pos_embed"] = np.zeros((1, tokens, 2), np.float32)
        assert "features/pos_embed" in problems_of(variables(5), weights, "vit_tiny")


def test_abstract_variables_are_filled_but_for_what_starts_fresh(weights):
    abstract = jax.eval_shape(lambda: small_resnet(classes=3))
    parameters = transfer(abstract, weights, model="resnet18").variables.parameters
    assert parameters["features"]["bn1"]["scale"][2] == weights["bn1.weight"][2]
    assert isinstance(parameters["head"]["logits"]["bias"], jax.ShapeDtypeStruct)


def test_a_traced_network_can_be_filled(weights):
    filled = jax.jit(lambda variables: transfer(variables, weights, model="resnet18").variables)(
        small_resnet()
    )
    assert filled.parameters["head"]["logits"]["bias"][1] == weights["fc.bias"][1]


CASES = [
    ("resnet18", "torchvision:resnet18", 64, {}),
    ("resnet18", "torchvision:resnet18", 97, {}),
    ("resnet50", "torchvision:resnet50", 64, {}),
    ("densenet121", "torchvision:densenet121", 97, {}),
    ("vgg16", "torchvision:vgg16_bn", 64, {}),
    ("efficientnet_lite0", "timm:efficientnet_lite0", 75, {"framework": "pytorch"}),
    ("efficientnet_lite0", "timm:tf_efficientnet_lite0", 75, {}),
    ("efficientnet_lite0", "lukemelas:efficientnet-lite0", 64, {}),
    ("vit_tiny", "timm:vit_tiny_patch16_224", 224, {}),
]


@pytest.mark.pretrained
@pytest.mark.parametrize(
    ("model", "theirs", "side", "settings"), CASES, ids=[f"{c[1]}-{c[2]}" for c in CASES]
)
def test_logits_are_those_of_the_library(model, theirs, side, settings, tmp_path):
    python, path = find_torch(), tmp_path / "weights.npz"
    if python is None:
        pytest.skip("PyTorch is not at hand: run make peers")
    command = [python, "-m", "tests.models.torch_zoo", theirs, str(side), path]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode == 3:
        pytest.skip(made.stderr)
    assert made.returncode == 0, made.stderr
    weights = dict(np.load(path))
    path.unlink()  # VGG's have half a gigabyte
    images, logits = jnp.asarray(weights.pop("images")), weights.pop("logits")
    network = as_network(MODELS[model](logits.shape[1], **settings))
    variables, notes = transfer(abstract_variables(network, images.shape[1:]), weights, model=model)
    assert notes == []
    key = jax.random.key(0)
    ours, _ = jax.jit(lambda variables: network.apply(variables, images, is_training=False, key=key))(
        variables
    )
    difference = np.abs(ours - logits).max()
    print(f"{theirs}, {side} pixels: logits differ by at most {difference:.1e}")
    assert logits.std() > 0.05
    assert difference < 1e-4
