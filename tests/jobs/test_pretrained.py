"""Runs that start from weights: from a file, or from another run, with the preprocessing that belongs to them."""

import dataclasses

import jax
import numpy as np
import pytest

import medjax
from medjax.config import DataConfig
from medjax.data.phantom.dataset import make_phantom
from medjax.errors import RefusedError
from medjax.jobs import pretrained
from medjax.jobs.from_config import make_network, make_splits
from medjax.jobs.pretrained import start_network, with_stem_of_weights
from medjax.jobs.published_weights import IMAGENET
from medjax.models.network import Variables
from medjax.models.transfer import Transferred
from medjax.progress import Display
from tests.configs import plain
from tests.finished_runs import parameters_of
from tests.models.published import read_published_names
from tests.weight_files import write_torch

FOLDER = plain(epochs=1, baselines=False)
SMALL = dataclasses.replace(
    FOLDER, block_features=(4,), hidden_units=0, augment=False, data=DataConfig(image_size=28)
)


@pytest.fixture(scope="module")
def phantoms():
    return make_phantom(seed=3, images_per_class=10)


def start(config, dataset):
    splits = make_splits(config, dataset)
    network = make_network(config, None, dataset.class_names, dataset.images.shape[1:])
    with Display(is_quiet=True) as display:
        return start_network(config, network, dataset, splits, None, display)


def first_variables(started, dataset):
    init = jax.jit(lambda key: started.network.init(key, dataset.images.shape[1:]))
    return init(jax.random.key(0))


@pytest.fixture
def cnn_file(tmp_path, monkeypatch):
    """A file that fills the features of the built-in network with 2, as the tables of names would."""
    (tmp_path / "a.pth").write_bytes(write_torch({"all": np.full(1, 2, np.float32)}))

    def fill(variables, weights, *, model):
        assert model == "cnn"
        features = jax.tree.map(
            lambda leaf: np.full_like(leaf, weights["all"][0]), variables.parameters["features"]
        )
        return Transferred(
            Variables({**variables.parameters, "features": features}, variables.state), ["a note"]
        )

    monkeypatch.setattr(pretrained, "transfer", fill)
    return tmp_path / "a.pth"


def test_a_file_fills_the_network_and_is_recorded(cnn_file, phantoms):
    started = start(dataclasses.replace(SMALL, pretrained=cnn_file), phantoms)
    features = first_variables(started, phantoms).parameters["features"]
    assert all((leaf == 2).all() for leaf in jax.tree.leaves(features))
    assert started.pretrained["source"] == str(cnn_file)
    assert len(started.pretrained["sha256"]) == 64
    assert started.pretrained["notes"][0] == "a note"
    assert "--input-scaling" in started.pretrained["notes"][1]
    assert started.input == {"mean": list(IMAGENET.mean), "deviation": list(IMAGENET.deviation)}


@pytest.mark.parametrize(("scaling", "mean"), [("none", None), ("half", [0.5] * 3)])
def test_the_scaling_of_a_file_may_be_named(cnn_file, phantoms, scaling, mean):
    started = start(dataclasses.replace(SMALL, pretrained=cnn_file, input_scaling=scaling), phantoms)
    assert (started.input or {}).get("mean") == mean
    assert started.pretrained["notes"] == ["a note"]


def test_a_name_of_another_network_is_refused(phantoms):
    with pytest.raises(RefusedError, match=r"weights of resnet18, not of cnn \(--model resnet18\)"):
        start(dataclasses.replace(SMALL, pretrained="resnet18"), phantoms)


@pytest.mark.parametrize("name", ["resnet81", "runs/none-000"])
def test_what_is_no_name_and_no_path_is_refused_with_the_names(name, phantoms):
    with pytest.raises(
        RefusedError, match=rf"^--pretrained {name}: .* \(one of resnet18, .*a file or run\)$"
    ):
        start(dataclasses.replace(SMALL, pretrained=name), phantoms)


def test_the_terms_of_weights_are_told(phantoms, monkeypatch, capsys):
    weights = {"source": "resnet18", "terms": "trained on ImageNet", "notes": ["a note"], "sha256": None}
    config = dataclasses.replace(SMALL, pretrained="resnet18")
    network = make_network(config, None, phantoms.class_names, phantoms.images.shape[1:])
    monkeypatch.setattr(pretrained, "_start", lambda *_: pretrained.Started(network, weights, None))
    with Display() as display:
        start_network(config, network, phantoms, make_splits(config, phantoms), None, display)
    assert capsys.readouterr().err.splitlines() == ["starts from resnet18: trained on ImageNet", "a note"]


@pytest.mark.parametrize(
    ("changes", "added"),
    [
        ({"model": "resnet18"}, ("stem=imagenet",)),
        ({"model": "densenet121", "model_set": ("dropout=0.1",)}, ("stem=imagenet",)),
        ({"model": "resnet18", "model_set": ("stem=small",)}, ()),
        ({"model": "resnet18", "pretrained": None}, ()),
        ({"model": "vgg16"}, ()),
    ],
)
def test_published_weights_decide_the_stem(changes, added):
    config = dataclasses.replace(SMALL, **{"pretrained": "resnet18", **changes})
    assert with_stem_of_weights(config) == dataclasses.replace(config, model_set=config.model_set + added)


def test_a_run_keeps_the_stem_that_suits_its_images(trained_run):
    config = dataclasses.replace(SMALL, model="resnet18", pretrained=trained_run.directory)
    assert with_stem_of_weights(config) == config


@pytest.mark.parametrize(
    ("model", "library", "note"),
    [
        (
            "resnet18",
            "torchvision",
            "the stem is ImageNet's, as in the weights: 28 pixels a side are divided by 32",
        ),
        ("efficientnet_lite0", "lukemelas", "the stem has stride 1 for 28 pixels a side"),
    ],
)
def test_how_small_images_meet_the_stem_of_the_weights_is_said(model, library, note, phantoms, tmp_path):
    shapes = read_published_names()[model, library]
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    (tmp_path / "a.pth").write_bytes(write_torch(weights))
    config = dataclasses.replace(FOLDER, model=model, pretrained=tmp_path / "a.pth", data=DataConfig())
    small = phantoms._replace(images=phantoms.images[:, :28, :28])
    started = start(with_stem_of_weights(config), small)
    assert [text for text in started.pretrained["notes"] if text.startswith(note)]


def test_without_weights_pixels_are_as_ever(phantoms):
    assert start(SMALL, phantoms)[1:] == (None, None)


def test_the_scaling_travels_with_the_run(cnn_file, phantoms, tmp_path):
    config = dataclasses.replace(SMALL, pretrained=cnn_file, input_scaling="half")
    run = medjax.train(phantoms, config, run_dir=tmp_path / "run")
    cnn_file.unlink()  # which nobody needs any more
    restored = medjax.load_run(run.directory)
    assert restored.record["model"]["input"] == {"mean": [0.5] * 3, "deviation": [0.5] * 3}
    assert restored.evaluate(phantoms)["test"]["loss"] == pytest.approx(run.metrics["test"]["loss"], rel=1e-5)
    restored.record["model"]["input"] = None
    with pytest.raises(RefusedError, match=r"model\.input is not what"):
        restored.evaluate(phantoms)


def test_a_run_continues_from_the_same_weights_only(cnn_file, phantoms, tmp_path):
    config = dataclasses.replace(SMALL, pretrained=cnn_file)
    medjax.train(phantoms, config, run_dir=tmp_path / "run")
    longer = dataclasses.replace(config, epochs=2)
    copy = tmp_path / "copy.pth"
    copy.write_bytes(cnn_file.read_bytes())
    cnn_file.write_bytes(write_torch({"all": np.full(1, 3, np.float32)}))
    with pytest.raises(RefusedError, match="started from other weights"):
        medjax.train(phantoms, longer, run_dir=tmp_path / "run", resume=True)
    moved = dataclasses.replace(longer, pretrained=copy)
    assert (
        len(medjax.train(phantoms, moved, run_dir=tmp_path / "run", resume=True).record["resumptions"]) == 1
    )


def test_a_run_serves_with_its_head_where_the_classes_are_the_same(trained_run, phantom_folder, tmp_path):
    config = dataclasses.replace(FOLDER, pretrained=trained_run.directory)
    dataset = medjax.load(phantom_folder, config.data)
    started = start(config, dataset)
    found = jax.tree.leaves(first_variables(started, dataset))
    assert all(np.array_equal(*pair) for pair in zip(found, parameters_of(trained_run), strict=True))
    assert started.pretrained == {
        "source": str(trained_run.directory),
        "sha256": None,
        "terms": None,
        "notes": [],
    }


def test_the_head_of_a_run_of_other_classes_starts_fresh(trained_run, phantoms):
    config = dataclasses.replace(FOLDER, pretrained=trained_run.directory)
    renamed = phantoms._replace(class_names=tuple(f"other {name}" for name in phantoms.class_names))
    started = start(config, renamed)
    fresh, theirs = first_variables(started, renamed).parameters, parameters_of(trained_run)
    features = jax.tree.leaves(fresh["features"])
    assert all(np.array_equal(*pair) for pair in zip(features, theirs, strict=False))
    assert "head/logits/kernel" in started.pretrained["notes"][0]


def test_a_run_that_was_trained_on_the_test_images_is_refused(trained_run, phantom_folder):
    config = dataclasses.replace(FOLDER, pretrained=trained_run.directory, seed=1)
    dataset = medjax.load(phantom_folder, config.data)
    with pytest.raises(
        RefusedError, match=r"was trained on \d+ images of the \d+ that this run is scored on"
    ):
        start(config, dataset)


def test_a_cross_validation_and_other_networks_are_refused(crossval_run, trained_run, phantoms):
    with pytest.raises(RefusedError, match="3 networks"):
        start(dataclasses.replace(FOLDER, pretrained=crossval_run.directory), phantoms)
    config = dataclasses.replace(FOLDER, pretrained=trained_run.directory, block_features=(4,))
    with pytest.raises(RefusedError, match="other parts"):
        start(config, phantoms)
    config = dataclasses.replace(FOLDER, pretrained=trained_run.directory, block_features=(32, 65))
    with pytest.raises(RefusedError, match="has the shape"):
        start(config, phantoms)
