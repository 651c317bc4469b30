"""One tree of layers is the same network in Linen and in PyTorch, and costs what is said."""

import functools
import json

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from benchmarks.architectures import Architecture, make_architectures
from benchmarks.layers import (
    Activation,
    Chain,
    Concatenate,
    Conv,
    Dense,
    Flatten,
    Gate,
    GlobalMean,
    Layer,
    Norm,
    Pool,
    Residual,
    as_json,
    from_json,
    trace,
)
from benchmarks.linen_network import LinenNetwork
from benchmarks.networks import compare
from benchmarks.peers.client import PYTHON, Peer
from benchmarks.peers.network_client import load_network, make_data
from benchmarks.random_networks import MULTIPLICATIONS, draw_architectures
from benchmarks.throughput import FORWARD_FLOP

# Every kind of layer.
ZOO = Chain(
    (
        Conv(12, 5, padding="VALID", use_bias=True),
        Activation("relu"),
        Pool("max", 3, 2, 1),
        Norm("group", groups=4),
        Activation("silu"),
        Residual(Chain((Conv(12, 7, groups=12), Norm("layer"), Dense(24), Activation("gelu"), Dense(12)))),
        Activation("relu6"),
        Gate(Chain((GlobalMean(keeps_axes=True), Conv(12, 1), Activation("sigmoid")))),
        Concatenate((Chain((Conv(8, 3, 2, 1, groups=4), Norm("batch"))), Chain((Conv(4, 2, 2, "VALID"),)))),
        Residual(Chain((Conv(16, 3, dilation=2),)), Chain((Conv(16, 1),))),
        Activation("relu"),
        Pool("average"),
        Flatten(),
        Dense(6),
    )
)


def find_layers(layer):
    yield layer
    for field in vars(layer).values():
        for each in field if isinstance(field, tuple) else (field,):
            if isinstance(each, Layer):
                yield from find_layers(each)


def count_parameters(architecture):
    network = LinenNetwork(architecture.tree)
    image = np.zeros((1, architecture.side, architecture.side, architecture.channels), np.float32)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), image, train=False))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def test_a_tree_survives_json():
    assert from_json(json.loads(json.dumps(as_json(ZOO)))) == ZOO


@pytest.mark.parametrize(
    ("name", "expected"),
    # ResNet-18 and EfficientNet-Lite0 as published, but for heads of six classes, and the small stem of the one.
    [
        ("report-cnn-b32", 224_518),
        ("resnet18-28", 11_173_962 - 4 * 513),
        ("efficientnet-lite0-64", 4_652_008 - 994 * 1281),
    ],
)
def test_networks_are_as_large_as_published(name, expected):
    assert count_parameters(make_architectures()[name]) == expected


def test_multiplications_are_counted():
    report = make_architectures()["report-cnn-b32"]
    assert 2 * trace(report.tree, (28, 28, 1)).multiplications == FORWARD_FLOP
    # Published as 407 million, norms and activations among them.
    lite0 = make_architectures()["efficientnet-lite0-64"]
    assert trace(lite0.tree, (224, 224, 3)).multiplications == pytest.approx(400e6, rel=0.05)


def test_random_networks_are_drawn_from_the_seed():
    first, again, other = draw_architectures(0, 3), draw_architectures(0, 2), draw_architectures(1, 2)
    assert first["random-0-0"] == again["random-0-0"] != other["random-1-0"]
    assert len(set(first.values())) == 3


def test_random_networks_hold_what_a_user_might_write():
    drawn = list(draw_architectures(0, 60).values())
    layers = [layer for architecture in drawn for layer in find_layers(architecture.tree)]
    assert {type(layer) for layer in layers} == set(Layer.__subclasses__())
    convolutions = [layer for layer in layers if isinstance(layer, Conv)]
    for name, values in {
        "kernel": {1, 2, 3, 5, 7},
        "stride": {1, 2},
        "dilation": {1, 2},
        "groups": {1, 2, 4, 8, 12, 24},
        "padding": {"SAME", "VALID", 1},
        "features": {12, 24, 40, 48, 96},
    }.items():
        assert values <= {getattr(layer, name) for layer in convolutions}
    for architecture in drawn:
        shape = (architecture.side, architecture.side, architecture.channels)
        assert 28 <= architecture.side <= 64
        assert trace(architecture.tree, shape).multiplications in MULTIPLICATIONS


@pytest.mark.parametrize("architecture", draw_architectures(7, 3).values())
def test_linen_makes_the_shapes_that_are_traced(architecture):
    network = LinenNetwork(architecture.tree)
    shape = (architecture.side, architecture.side, architecture.channels)
    images = np.zeros((1, *shape), np.float32)
    logits, _ = jax.eval_shape(lambda: network.init_with_output(jax.random.key(0), images, train=False))
    assert logits.shape == (1, *trace(architecture.tree, shape).shape)


def test_the_better_way_of_pytorch_counts():
    row = compare({"medjax": 300.0, "eager": 100.0, "compiled": 150.0})
    assert row == {"medjax": 300, "pytorch": 150, "way": "compiled", "ratio": 2.0}
    assert compare({"medjax": 300.0}) == {"medjax": 300}


def pad_equally(value):
    """Trees as JSON without strides of SAME, which PyTorch's users pad equally at both edges."""
    if isinstance(value, list):
        return [pad_equally(each) for each in value]
    if not isinstance(value, dict):
        return value
    fields = {name: pad_equally(each) for name, each in value.items()}
    if fields["layer"] == "Conv" and fields["stride"] > 1 and fields["padding"] == "SAME":
        fields["padding"] = (fields["kernel"] - 1) // 2
    return fields


def make_variables(network, images):
    """Variables unlike those at the start, when biases are 0 and variances 1."""
    variables = jax.jit(lambda key: network.init(key, images, train=False))(jax.random.key(0))
    generator = np.random.default_rng(0)
    noise = jax.tree.map(lambda leaf: 0.1 * generator.random(leaf.shape, np.float32), variables)
    return jax.tree.map(lambda leaf, noise: leaf + (noise if leaf.ndim == 1 else 0), variables, noise)


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON.exists(), reason="PyTorch is not installed: make peers")
@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(ZOO, 28, 3, 2, 1.0),
        *(
            make_architectures()[name]
            for name in ("report-cnn-b32", "resnet-w16-28", "convnext-28", "vgg16-64")
        ),
        *(make_architectures()[name] for name in ("densenet121-64", "efficientnet-lite0-64")),
        *draw_architectures(0, 3).values(),
    ],
)
def test_pytorch_answers_the_same(architecture, tmp_path):
    tree = from_json(pad_equally(as_json(architecture.tree)))
    architecture = architecture._replace(tree=tree, batch_size=2)
    images, labels = make_data(architecture)
    network = LinenNetwork(tree)
    variables = make_variables(network, images / np.float32(255))
    expected = jax.jit(functools.partial(network.apply, train=False))(variables, images / np.float32(255))
    arrays = {"/".join(path[1:]): leaf for path, leaf in flatten_dict(variables).items()}
    np.savez(tmp_path / "arrays.npz", **arrays)
    with Peer("networks") as peer:
        assert load_network(peer, architecture, images, labels) == count_parameters(architecture)
        peer.call("answer", parameters=str(tmp_path / "arrays.npz"), path=str(tmp_path / "logits.npy"))
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=1e-3, atol=1e-4)
