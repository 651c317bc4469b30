"""From a configuration to what training takes."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from medjax.config import CrossvalConfig, PlateauConfig, StoppingConfig
from medjax.data.load import load
from medjax.data.splitting import splits
from medjax.errors import RefusedError
from medjax.jobs.from_config import (
    count_steps,
    folds_of,
    kept_test,
    make_controls,
    make_network,
    make_rate,
    make_splits,
    with_absolute_paths,
)
from medjax.models.cnn import CNN
from tests.configs import plain

PLAIN = plain(epochs=2)
LOOKING = dataclasses.replace(PLAIN, early_stopping=True)


@pytest.fixture(scope="module")
def dataset(phantom_folder):
    return load(phantom_folder)


@pytest.fixture(scope="module")
def parted(dataset):
    """The same images with official parts."""
    split = splits.split(dataset)
    parts = np.full(len(dataset.labels), "train")
    parts[split.val], parts[split.test] = "val", "test"
    return dataset._replace(split=parts)


def test_a_holdout_is_fold_0_and_a_cross_validation_has_folds_times_repeats(dataset):
    assert list(folds_of(PLAIN)) == [0]
    assert list(folds_of(CrossvalConfig(folds=3, repeats=2))) == [0, 1, 2, 3, 4, 5]
    assert list(folds_of(CrossvalConfig(folds=3, repeats=2, only_fold=4))) == [4]
    assert len(make_splits(CrossvalConfig(folds=3, repeats=2, only_fold=4), dataset)) == 6


def test_an_inner_part_is_held_back_only_where_something_is_chosen_by_looking(dataset):
    plain = make_splits(CrossvalConfig(folds=3, training=PLAIN), dataset)
    looking = make_splits(CrossvalConfig(folds=3, training=LOOKING), dataset)
    for bare, inner in zip(plain, looking, strict=True):
        assert len(bare.val) == 0
        assert np.array_equal(bare.test, inner.test)
        assert np.array_equal(bare.train, np.sort(np.concatenate([inner.train, inner.val])))
        assert len(inner.val) == pytest.approx(0.15 / 0.85 * len(bare.train), abs=6)
        assert not set(inner.val) & set(inner.test)
    assert np.array_equal(np.sort(np.concatenate([split.test for split in plain])), np.arange(120))


@pytest.mark.parametrize("keep", ["best", "stopping"])
def test_keeping_the_best_and_plateaus_are_choices_too(keep):
    assert dataclasses.replace(PLAIN, keep=keep).looks_at_validation
    assert dataclasses.replace(PLAIN, reduce_on_plateau=True).looks_at_validation
    assert not PLAIN.looks_at_validation


def test_kept_test_images_are_in_no_fold(dataset, parted):
    test = set(np.flatnonzero(parted.split == "test"))
    for split in make_splits(CrossvalConfig(folds=3, keep_test=True, training=LOOKING), parted):
        assert not test & {*split.train, *split.val, *split.test}
    pooled = make_splits(CrossvalConfig(folds=3), parted)
    assert sum(len(split.test) for split in pooled) == 120
    with pytest.raises(RefusedError, match="--keep-test: phantoms has no official test part"):
        make_splits(CrossvalConfig(keep_test=True), dataset)


def test_val_images_are_kept_as_test_images_if_asked(dataset):
    parts = np.where(np.arange(len(dataset.labels)) % 5, "train", "val")
    parted = dataset._replace(split=parts)
    data = dataclasses.replace(PLAIN.data, val_as_test=True)
    training = dataclasses.replace(PLAIN, data=data)
    (split,) = make_splits(training, parted)
    assert set(split.test) == set(np.flatnonzero(parts == "val"))
    (drawn,) = make_splits(PLAIN, parted)
    assert set(drawn.val) == set(split.test)
    config = CrossvalConfig(folds=3, keep_test=True, training=training)
    assert set(kept_test(config, parted)) == set(split.test)
    for fold in make_splits(config, parted):
        assert not set(split.test) & {*fold.train, *fold.val, *fold.test}
    with pytest.raises(RefusedError, match=r"has no official test part .*--val-as-test"):
        make_splits(CrossvalConfig(keep_test=True), parted)
    pooled = make_splits(CrossvalConfig(folds=3), parted)
    assert sum(len(split.test) for split in pooled) == len(parts)


def test_only_the_controls_that_are_asked_for_are_there():
    controls = make_controls(PLAIN)
    assert (controls.stopping, controls.plateau, controls.need_validation) == (None, None, False)
    controls = make_controls(
        dataclasses.replace(PLAIN, early_stopping=True, reduce_on_plateau=True, keep="stopping")
    )
    assert controls.need_validation
    assert controls.is_best_by_stopping


def test_settings_reach_the_controls():
    config = dataclasses.replace(
        PLAIN,
        early_stopping=True,
        reduce_on_plateau=True,
        stopping=StoppingConfig(stop_monitor="val_accuracy", stop_patience=1),
        plateau=PlateauConfig(plateau_factor=0.25, plateau_patience=1, plateau_min_lr=1e-4),
    )
    controls = make_controls(config)
    state = controls.stopping.control.init()
    for accuracy in (0.5, 0.6, 0.55):
        state = controls.stopping.control.update(state, jnp.float32(accuracy))
    assert state.has_stopped
    state = controls.plateau.control.init()
    for _ in range(10):
        state = controls.plateau.control.update(state, jnp.float32(1.0))
    assert state.scale * config.learning_rate == pytest.approx(1e-4)


def test_settings_reach_the_network():
    config = dataclasses.replace(PLAIN, block_features=(4, 8, 16), hidden_units=0, dropout=0.1, centre=True)
    model = CNN(3, dropout=0.1, block_features=(4, 8, 16), hidden_units=0, centre=True)
    assert make_network(config, None, "abc", (28, 28, 1)).module == model
    assert make_network(plain(), None, "abcdef", (28, 28, 1)).module == CNN(6)


def test_published_networks_are_made_by_name_and_take_their_own_settings_only():
    config = dataclasses.replace(PLAIN, model="resnet18", model_set=("dropout=0.25",))
    network = make_network(config, None, ["a", "b", "c"], (8, 8, 1))
    assert network.name == "ResNet"
    assert network.settings["head"] == {"PooledHead": {"num_classes": 3, "dropout": 0.25}}


def test_schedules_run_over_all_steps(dataset):
    splits = make_splits(PLAIN, dataset)
    assert count_steps(PLAIN, splits) == 2 * 3  # 84 images in batches of 32
    assert [make_rate(PLAIN, splits)(step) for step in (0, 5)] == [1e-3, 1e-3]
    falling = make_rate(dataclasses.replace(PLAIN, schedule="cosine"), splits)
    assert falling(0) == pytest.approx(1e-3)
    assert falling(6) == pytest.approx(0, abs=1e-9)


def test_the_groups_file_is_recorded_where_it_can_be_found_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = plain(data=dataclasses.replace(PLAIN.data, groups="groups.csv", labels="labels.csv"))
    assert with_absolute_paths(config).data.groups == str(tmp_path / "groups.csv")
    assert with_absolute_paths(config).data.labels == str(tmp_path / "labels.csv")
    whole = with_absolute_paths(CrossvalConfig(training=config))
    assert whole.training.data.groups == str(tmp_path / "groups.csv")
    assert with_absolute_paths(PLAIN) == PLAIN
