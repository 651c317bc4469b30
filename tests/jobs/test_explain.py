"""Explanations of a run: the class, the method, folds, and the files that are written."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from medjax.errors import RefusedError
from medjax.explain.grad_cam import grad_cam
from medjax.jobs.explain import explain_images, explain_into
from medjax.jobs.recorded_config import recorded_config
from medjax.jobs.restored_network import make_run_learner, restore_variables
from medjax.jobs.restored_run import load_run
from medjax.jobs.train import train
from tests.configs import plain
from tests.pages import Page
from tests.user_networks import plain_functions


@pytest.fixture
def images(phantom_folder):
    return [str(phantom_folder / "Hand" / f"synthetic-{number:05d}.png") for number in range(3)]


def test_maps_are_of_the_predicted_class_by_grad_cam(trained_run, images):
    found = explain_images(trained_run, images)
    config = recorded_config(trained_run.directory, trained_run.record)
    network, _ = make_run_learner(trained_run.directory, trained_run.record, None, config, [])
    variables = jax.tree.map(
        jnp.asarray, restore_variables(trained_run.directory, trained_run.record, config, network, 0)
    )
    ids, probabilities = trained_run.predict(images)
    classes = probabilities.argmax(axis=1).astype(np.int32)
    pixels = jnp.asarray(found.predicted.images.astype(np.float32) / 255)
    np.testing.assert_allclose(
        found.maps.maps, grad_cam(network, variables, pixels, jnp.asarray(classes)), rtol=1e-3, atol=1e-4
    )
    assert found.predicted.ids.tolist() == ids.tolist()
    assert found.classes == [trained_run.record["class_names"][label] for label in classes]
    np.testing.assert_array_equal(found.probabilities, probabilities.max(axis=1))
    assert (found.method, found.layer, found.notes) == ("grad-cam", "features", [])


def test_another_class_has_another_map(trained_run, images):
    first = explain_images(trained_run, images, class_name="Hand", method="gradient")
    second = explain_images(trained_run, images, class_name="HeadCT", method="gradient")
    assert set(second.classes) == {"HeadCT"}
    assert not np.allclose(first.maps.maps, second.maps.maps, rtol=0.1)
    assert second.layer is None


def test_of_folds_it_is_the_mean_of_their_maps(crossval_run, images):
    found = explain_images(crossval_run, images, method="integrated-gradients", class_name="Hand", steps=4)
    config = recorded_config(crossval_run.directory, crossval_run.record)
    network, _ = make_run_learner(crossval_run.directory, crossval_run.record, None, config, [])
    pixels = jnp.asarray(found.predicted.images.astype(np.float32) / 255)
    label = crossval_run.record["class_names"].index("Hand")
    changes = []
    for fold in range(3):
        restored = restore_variables(crossval_run.directory, crossval_run.record, config, network, fold)
        variables = jax.tree.map(jnp.asarray, restored)
        whole, black = (
            network.apply(variables, each, is_training=False, key=jax.random.key(0))[0][:, label]
            for each in (pixels, jnp.zeros_like(pixels))
        )
        changes.append(whole - black)
    np.testing.assert_allclose(found.maps.change, np.mean(changes, axis=0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        found.maps.maps.sum((1, 2)) + found.maps.gap, found.maps.change, rtol=1e-3, atol=1e-4
    )


def test_maps_that_lack_much_are_told_of(trained_run, images, monkeypatch):
    options = {"method": "integrated-gradients", "class_name": "Hand"}
    found = explain_images(trained_run, images, steps=1, **options)
    share = float(np.max(np.abs(found.maps.gap / found.maps.change)))
    assert share > 1e-3  # or nothing is tested here
    monkeypatch.setattr("medjax.jobs.explain._GAP", 0.9 * share)
    with pytest.warns(UserWarning, match=r"lack more than \d+% of the difference of logits: give --steps 4$"):
        found = explain_images(trained_run, images, steps=1, **options)
    assert len(found.notes) == 1
    assert explain_images(trained_run, images, steps=256, **options).notes == []


def test_every_image_has_its_files(trained_run, images, tmp_path):
    out = tmp_path / "out"
    found = explain_into(trained_run, images, out, method="integrated-gradients", steps=256)
    with (out / "explanations.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == images
    assert float(rows[0]["change"]) == pytest.approx(found.maps.change[0])
    names = {row[column] for row in rows for column in ("image", "map")}
    assert {path.name for path in out.glob("*.png")} == names
    assert len(names) == 6
    for name in names:
        with Image.open(out / name) as picture:
            assert picture.size == (224, 224)
    with np.load(out / "maps.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["maps"], found.maps.maps)
        assert arrays["ids"].tolist() == images
    page = Page((out / "index.html").read_text(encoding="utf-8"))
    assert "no proof" in page.text
    assert all(name in page.text for name in images)


def test_ids_are_safe_names_of_files(trained_run, images, tmp_path):
    with Image.open(images[0]) as picture:
        pixels = np.asarray(picture)
    found = explain_into(trained_run, [pixels, pixels], tmp_path / "a")
    assert found.predicted.ids.tolist() == ["image 0", "image 1"]
    assert len(list((tmp_path / "a").glob("*.png"))) == 4
    nasty = tmp_path / "..  $(x)" / "é\n<b>.png"
    nasty.parent.mkdir()
    Image.fromarray(pixels).save(nasty)
    explain_into(trained_run, str(nasty), tmp_path / "b")
    names = [path.name for path in (tmp_path / "b").glob("*.png")]
    assert len(names) == 2
    for name in names:
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
        assert name.startswith("00000-")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"class_name": "Foot"}, "--class-name Foot: is no class of this run"),
        ({"layer": "head"}, "--layer head: is no layer of network CNN with maps"),
        ({"layer": "features", "method": "gradient"}, "--layer: has no effect on gradient"),
        ({"steps": 0, "method": "integrated-gradients"}, "--steps: is 0"),
    ],
)
def test_what_is_not_there_is_refused(trained_run, images, options, line):
    with pytest.raises(RefusedError, match=line):
        explain_images(trained_run, images, **options)


def test_nothing_is_overwritten(trained_run, images, tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(RefusedError, match="is not empty, and nothing is overwritten"):
        explain_into(trained_run, images, tmp_path)


def test_a_network_without_features_is_explained_by_gradients_and_says_so(phantom_folder, images, tmp_path):
    model = plain_functions(6)
    config = plain(epochs=1, baselines=False)
    run = train(phantom_folder, config, run_dir=tmp_path / "run", model=model)
    assert not (run.directory / "figures" / "maps.png").exists()
    again = load_run(run.directory, model=model)
    with pytest.warns(
        UserWarning, match="has no module features with maps, so integrated gradients are shown"
    ):
        found = explain_images(again, images, steps=64)
    assert found.method == "integrated-gradients"
    with pytest.raises(RefusedError, match="no module features with maps of places"):
        explain_images(again, images, method="grad-cam")
