"""The presets, and what each setting declares."""

import dataclasses
import json
from pathlib import Path

import docstring_parser
import numpy as np

from medjax.config import (
    CROSSVAL_PRESETS,
    PRESETS,
    SETTINGS,
    AugmentConfig,
    CrossvalConfig,
    DataConfig,
    PlateauConfig,
    ReadingConfig,
    StoppingConfig,
    TrainConfig,
)
from medjax.config_checks import require_valid
from medjax.settings import entries, unsettled


def test_the_report_preset_is_the_report():
    config = PRESETS["report"]
    assert (config.epochs, config.batch_size, config.learning_rate, config.dropout) == (20, 32, 1e-3, 0.5)
    assert config.data.image_size == 28
    assert config.augmentation == AugmentConfig(rotation=10.0, shift=0.1, zoom=0.1)
    assert config.augment
    assert config.fractions == (0.70, 0.15, 0.15)


def test_every_preset_is_named_after_itself():
    for name, config in [*PRESETS.items(), *CROSSVAL_PRESETS.items()]:
        assert config.preset == name


def test_the_article_preset_has_its_three_callbacks():
    config = PRESETS["article"]
    assert (config.data.image_size, config.hidden_units, config.augment) == (32, 0, False)
    assert (config.keep, config.early_stopping, config.reduce_on_plateau) == ("best", True, True)


def test_the_reports_second_phase_trains_ten_epochs():
    assert CROSSVAL_PRESETS["report"] == dataclasses.replace(PRESETS["report"], epochs=10)
    assert CrossvalConfig().folds == 5


def test_identical_images_stay_together_but_for_the_published_protocols():
    assert TrainConfig().data.group_duplicates == DataConfig().group_duplicates == "exact"
    published = {"report", "article"}
    for name, config in [*PRESETS.items(), *CROSSVAL_PRESETS.items()]:
        assert config.data.group_duplicates == ("none" if name in published else "exact"), name


def test_the_default_is_standard_which_leaves_some_settings_to_the_images():
    assert TrainConfig() == PRESETS["standard"] == CrossvalConfig().training
    for name, config in PRESETS.items():
        assert bool(unsettled(config)) == (name == "standard"), name
    assert dataclasses.replace(PRESETS["best"], preset="medical-mnist") == PRESETS["medical-mnist"]


def test_every_setting_is_declared_with_a_name_of_its_own_and_a_meaning():
    found = list(entries(CrossvalConfig()))
    assert all(entry.setting is not None for entry in found)
    assert {entry.name: entry.setting for entry in found} == SETTINGS
    assert len(found) == len(SETTINGS)
    owners = (
        CrossvalConfig,
        TrainConfig,
        ReadingConfig,
        DataConfig,
        AugmentConfig,
        StoppingConfig,
        PlateauConfig,
    )
    meanings = {
        each.arg_name: each.description
        for owner in owners
        for each in docstring_parser.parse_from_object(owner).params
    }
    assert meanings.keys() == SETTINGS.keys()
    assert all(meaning.endswith(".") for meaning in meanings.values())


def test_a_setting_needs_one_that_is_there_and_a_value_that_it_takes():
    needs = [setting.needs for setting in SETTINGS.values() if setting.needs]
    assert needs
    for needed, *effective in needs:
        for value in effective:
            is_of_data = needed in {each.name for each in dataclasses.fields(DataConfig)}
            others = {"pretrained": "resnet18"} if needed == "freeze" else {}
            config = dataclasses.replace(
                DataConfig() if is_of_data else TrainConfig(), **{needed: value}, **others
            )
            require_valid(TrainConfig(data=config) if is_of_data else config)


def test_values_of_numpy_and_paths_become_plain_ones():
    config = TrainConfig(
        seed=np.int64(3),
        learning_rate=1,
        augment=np.bool_(False),
        fractions=np.array([0.8, 0.1, 0.1]),
        block_features=[np.int32(8), 16],
        data=DataConfig(groups=Path("a") / "groups.csv"),
    )
    assert config == TrainConfig(
        seed=3,
        learning_rate=1.0,
        augment=False,
        fractions=(0.8, 0.1, 0.1),
        block_features=(8, 16),
        data=DataConfig(groups=str(Path("a") / "groups.csv")),
    )
    assert type(config.learning_rate) is float
    assert json.dumps(dataclasses.asdict(config))
