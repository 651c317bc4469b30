import dataclasses
import json

from medjax.config import (
    CROSSVAL_PRESETS,
    PRESETS,
    AugmentConfig,
    CrossvalConfig,
    DataConfig,
    TrainConfig,
    from_dict,
)


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


def test_a_configuration_survives_json():
    data = DataConfig(ignore=("*.bmp",), color="rgb")
    config = TrainConfig(seed=7, fractions=(0.8, 0.1, 0.1), block_features=(8, 16, 8), data=data)
    assert from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config
    crossval = CrossvalConfig(folds=3, only_fold=2, training=config)
    assert from_dict(json.loads(json.dumps(dataclasses.asdict(crossval)))) == crossval


def test_identical_images_stay_together_but_for_the_published_protocols():
    assert TrainConfig().data.group_duplicates == DataConfig().group_duplicates == "exact"
    published = {"report", "article"}
    for name, config in [*PRESETS.items(), *CROSSVAL_PRESETS.items()]:
        assert config.data.group_duplicates == ("none" if name in published else "exact"), name
    report = dataclasses.replace(PRESETS["report"], data=DataConfig())
    assert report == TrainConfig()


def test_a_run_from_before_blocks_could_be_chosen_has_the_reports():
    values = dataclasses.asdict(TrainConfig())
    del values["block_features"]
    assert from_dict(values) == TrainConfig()


def test_a_run_from_before_duplicates_were_grouped_still_has_none():
    values = dataclasses.asdict(TrainConfig())
    del values["data"]["group_duplicates"]
    assert from_dict(values).data.group_duplicates == "none"
