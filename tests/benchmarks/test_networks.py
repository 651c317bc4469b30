"""One tree of layers is the same network in Linen and in PyTorch."""

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
    Norm,
    Pool,
    Residual,
    as_json,
    from_json,
)
from benchmarks.linen_network import LinenNetwork
from benchmarks.networks import compare
from benchmarks.peers.client import PYTHON, Peer
from benchmarks.peers.network_client import load_network, make_data

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


def test_the_better_way_of_pytorch_counts():
    row = compare({"medjax": 300.0, "eager": 100.0, "compiled": 150.0})
    assert row == {"medjax": 300, "pytorch": 150, "way": "compiled", "ratio": 2.0}
    assert compare({"medjax": 300.0}) == {"medjax": 300}


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON.exists(), reason="PyTorch is not installed: make peers")
@pytest.mark.parametrize("name", ["zoo", *make_architectures()])
def test_pytorch_answers_the_same(name, tmp_path):
    architecture = {"zoo": Architecture(ZOO, 28, 3, 2, 1.0), **make_architectures()}[name]._replace(
        batch_size=2
    )
    images, labels = make_data(architecture)
    network = LinenNetwork(architecture.tree)
    variables = jax.jit(lambda key: network.init(key, images / 255.0, train=False))(jax.random.key(0))
    leaves = flatten_dict(variables)
    generator = np.random.default_rng(0)
    # Other than at the start, when biases are 0 and variances 1.
    leaves = {
        path: np.asarray(leaf) + (generator.uniform(0, 0.1, leaf.shape) if leaf.ndim == 1 else 0)
        for path, leaf in leaves.items()
    }
    arrays = {"/".join(path[1:]): leaf.astype(np.float32) for path, leaf in leaves.items()}
    collections = {}
    for path, leaf in leaves.items():
        collections.setdefault(path[0], {}).setdefault(path[1], {})[path[2]] = leaf.astype(np.float32)
    expected = jax.jit(lambda variables: network.apply(variables, images / np.float32(255), train=False))(
        collections
    )
    np.savez(tmp_path / "arrays.npz", **arrays)
    with Peer("networks") as peer:
        assert load_network(peer, architecture, images, labels) == count_parameters(architecture)
        peer.call("answer", parameters=str(tmp_path / "arrays.npz"), path=str(tmp_path / "logits.npy"))
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=1e-3, atol=1e-4)
