"""What the preset `standard` settles, by what, and that what is given stays."""

import dataclasses
import json

import numpy as np
import pytest

import medjax
from medjax.config import CrossvalConfig, DataConfig, TrainConfig
from medjax.config_checks import from_dict, require_valid
from medjax.data.from_arrays import make_dataset
from medjax.errors import RefusedError
from medjax.jobs.from_config import count_steps, make_splits
from medjax.jobs.standard import (
    FEWEST_STEPS,
    LARGEST_SIDE,
    MANY_IMAGES,
    RAREST_SHARE,
    TrainingFacts,
    choose_settings,
    find_facts,
    load_settled,
    settle,
)
from medjax.progress import Display
from medjax.records import Split
from medjax.settings import entries, unsettled, with_values
from tests.configs import plain
from tests.finished_runs import assert_same_result

FACTS = TrainingFacts((500, 500), side=64, is_color=False)
SHORT = TrainConfig(epochs=1, block_features=(4,), hidden_units=8, baselines=False)


def gray_set(counts, side=12, seed=0):
    """Noise, with so many images of each class."""
    images = np.random.default_rng(seed).integers(0, 256, (sum(counts), side, side), np.uint8)
    return make_dataset(images, np.repeat(np.arange(len(counts)), counts))


@pytest.mark.parametrize("num_images", [1, 7, 84, 382, 960, 1080, 2520, 5000, 19_999, 20_000, 41_267, 10**6])
def test_any_number_of_images_gets_valid_settings_and_enough_steps(num_images):
    values = choose_settings(FACTS._replace(counts=(num_images, 0)))
    config = with_values(TrainConfig(), values)
    require_valid(config)
    assert unsettled(config) == []
    assert set(values) == set(unsettled(TrainConfig()))
    part = Split(np.arange(num_images), np.arange(0), np.arange(0))
    assert count_steps(config, [part]) >= FEWEST_STEPS


def test_fewer_images_are_seen_more_often_and_many_are_trained_as_by_fast():
    epochs = [choose_settings(FACTS._replace(counts=(n, n)))["epochs"] for n in (20, 200, 2000, 20_000)]
    assert epochs == sorted(epochs, reverse=True)
    fast, medical_mnist = medjax.PRESETS["fast"], FACTS._replace(counts=(6878,) * 6)
    large = with_values(TrainConfig(), choose_settings(medical_mnist))
    assert dataclasses.replace(large, preset="fast") == fast


def test_small_images_of_many_are_not_enlarged():
    few, many = FACTS._replace(side=28), TrainingFacts((MANY_IMAGES,) * 2, side=28, is_color=False)
    assert choose_settings(few)["image_size"] == LARGEST_SIDE
    assert choose_settings(many)["image_size"] == 28
    assert choose_settings(many._replace(side=512))["image_size"] == LARGEST_SIDE


def test_only_a_class_that_is_very_rare_weighs_more():
    rare = int(1000 * RAREST_SHARE)
    assert choose_settings(FACTS._replace(counts=(1000, rare)))["class_balance"] == "none"
    assert choose_settings(FACTS._replace(counts=(1000, rare - 1)))["class_balance"] == "weights"


@pytest.mark.parametrize("is_color", [False, True])
def test_no_augmentation_could_change_a_label(is_color):
    config = with_values(TrainConfig(), choose_settings(FACTS._replace(is_color=is_color)))
    assert not {"flip", "quarter-turns", "mixup", "cutout"} & set(config.augmentation.augmentations)
    assert config.augmentation.rotation <= 15
    assert ("brightness" in config.augmentation.augmentations) == is_color


def test_only_training_images_count_and_the_fewest_of_all_folds():
    dataset = gray_set([30, 20])
    none = np.arange(0)
    splits = [Split(np.r_[:30], none, np.r_[30:50]), Split(np.r_[:12, 30:38], none, np.r_[12:30])]
    assert find_facts(dataset, splits) == TrainingFacts((12, 8), side=12, is_color=False)
    swapped = dataset._replace(labels=np.where(np.arange(50) >= 38, 0, dataset.labels))
    assert find_facts(swapped, splits) == find_facts(dataset, splits)


def test_what_is_given_stays_and_nothing_else_changes():
    dataset, given = gray_set([40, 30]), TrainConfig(epochs=3, keep="best", seed=5)
    config = settle(given, dataset)
    assert (config.epochs, config.keep, config.seed) == (3, "best", 5)
    before, after = ({each.name: each.value for each in entries(every)} for every in (given, config))
    assert {name for name in before if before[name] != after[name]} == set(unsettled(given))
    assert settle(config, dataset) is config
    assert settle(medjax.PRESETS["report"], dataset) is medjax.PRESETS["report"]


def test_a_cross_validation_is_settled_once_by_its_smallest_training_part():
    dataset = gray_set([701, 30])
    config = CrossvalConfig(folds=3, training=TrainConfig(data=DataConfig(image_size=12)))
    smallest = find_facts(dataset, make_splits(dataclasses.replace(config, training=plain()), dataset))
    assert smallest.num_images == 731 - 244
    assert unsettled(settle(config, dataset)) == []
    chosen = {**choose_settings(smallest, {"image_size": 12}), "image_size": 12}
    assert settle(config, dataset) == with_values(config, chosen)
    looking = dataclasses.replace(config, training=TrainConfig(keep="best", data=DataConfig(image_size=12)))
    held_back = settle(looking, dataset).training
    assert (
        held_back.epochs > settle(config, dataset).training.epochs
    )  # fewer images, as some choose the epoch


def test_a_network_of_your_own_keeps_its_own_settings():
    config = settle(TrainConfig(model="networks.py:net"), gray_set([40, 30]))
    assert (config.block_features, config.dropout, config.data.image_size) == (None, None, LARGEST_SIDE)
    assert from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_images_are_read_at_their_own_size_where_that_is_settled(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("medjax.jobs.standard.MANY_IMAGES", 10)
    images = np.random.default_rng(0).integers(0, 256, (40, 30, 30), np.uint8)
    labels = np.arange(40) % 2
    parts = {"train": slice(0, 30), "test": slice(30, 40)}
    arrays = {f"{part}_images": images[rows] for part, rows in parts.items()}
    arrays |= {f"{part}_labels": labels[rows] for part, rows in parts.items()}
    np.savez(tmp_path / "small.npz", **arrays)
    with Display() as display:
        config, dataset = load_settled(tmp_path / "small.npz", TrainConfig(epochs=2), display)
    assert config.data.image_size == 30
    assert sorted(map(bytes, dataset.images)) == sorted(map(bytes, images))
    told = capsys.readouterr().err
    assert told.count("small: 40 images of 2 classes") == 1
    [line] = [line for line in told.splitlines() if line.startswith("preset standard:")]
    assert "--batch-size 8 " in line
    assert "--image-size 30" in line
    assert "--epochs" not in line


def test_a_data_set_that_is_given_keeps_its_size():
    with Display(is_quiet=True) as display:
        config, dataset = load_settled(gray_set([9, 9]), TrainConfig(), display)
    assert config.data.image_size == 12
    assert dataset.images.shape[1] == 12
    assert config.block_features == (16, 32)  # a third would leave no pixel


def test_what_is_settled_goes_with_what_is_given():
    many = FACTS._replace(counts=(MANY_IMAGES, MANY_IMAGES))
    assert choose_settings(many, {"class_balance": "sampling"})["loss_proportional_sampling"] == 0
    assert choose_settings(FACTS, {"batch_size": 1000})["epochs"] == FEWEST_STEPS
    assert choose_settings(FACTS, {"image_size": 40})["block_features"] == (16, 32, 64)
    assert choose_settings(FACTS, {"image_size": 3})["block_features"] == (16,)


@pytest.fixture(scope="module")
def settled_run(phantom_folder, tmp_path_factory):
    return medjax.train(phantom_folder, SHORT, run_dir=tmp_path_factory.mktemp("standard") / "run")


def test_run_json_holds_plain_values_that_repeat_the_run(settled_run, phantom_folder, tmp_path):
    config = from_dict(settled_run.record["config"])
    assert (config.preset, config.epochs, config.batch_size) == ("standard", 1, 8)
    assert unsettled(config) == []
    again = medjax.train(phantom_folder, config, run_dir=tmp_path / "again")
    assert_same_result(settled_run, again)


def test_a_run_continues_by_the_values_that_it_began_with(settled_run, phantom_folder, monkeypatch, capsys):
    other = {**choose_settings(FACTS), "batch_size": 4}
    monkeypatch.setattr("medjax.jobs.standard.choose_settings", lambda facts, given: other)
    options = {"run_dir": settled_run.directory, "resume": True}
    again = medjax.train(phantom_folder, SHORT, is_quiet=False, **options)
    assert "is finished already" in capsys.readouterr().err
    assert again.record["config"]["batch_size"] == 8
    with pytest.raises(RefusedError, match="batch_size was 8, is 4"):
        medjax.train(phantom_folder, dataclasses.replace(SHORT, batch_size=4), **options)


def test_a_run_json_that_leaves_something_open_is_refused():
    with pytest.raises(RefusedError, match=r"^run\.json: holds no value of epochs, "):
        from_dict(dataclasses.asdict(TrainConfig()))


def test_images_of_a_size_that_is_given_are_read_once(tmp_path, monkeypatch):
    dataset, read = gray_set([9, 9]), []
    monkeypatch.setattr(
        "medjax.jobs.standard.read_dataset",
        lambda source, config, display: read.append(config.image_size) or dataset,
    )
    config = TrainConfig(data=DataConfig(image_size=12))
    with Display(is_quiet=True) as display:
        assert load_settled("somewhere", config, display)[0].data.image_size == 12
    assert read == [12]


def test_features_are_not_frozen_for_all_of_the_epochs_that_are_settled():
    config = TrainConfig(pretrained="weights.pth", freeze="features", unfreeze_after=9000)
    require_valid(config)
    with Display(is_quiet=True) as display, pytest.raises(RefusedError, match="--unfreeze-after: 9000 of"):
        load_settled(gray_set([8, 8]), config, display)
