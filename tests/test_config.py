import dataclasses
import json

import pytest

from medjax.config import (
    CROSSVAL_PRESETS,
    PRESETS,
    AugmentConfig,
    CrossvalConfig,
    DataConfig,
    PlateauConfig,
    StoppingConfig,
    TrainConfig,
    from_dict,
)
from medjax.errors import RefusedError
from medjax.limits import require_valid


def test_the_report_preset_is_the_report():
    config = PRESETS["report"]
    assert (config.epochs, config.batch_size, config.learning_rate, config.dropout) == (20, 32, 1e-3, 0.5)
    assert config.data.image_size == 28
    assert config.augmentation == AugmentConfig(rotation=10.0, shift=0.1, zoom=0.1)
    assert config.augment
    assert config.fractions == (0.70, 0.15, 0.15)


def test_every_preset_is_named_after_itself_and_valid():
    for name, config in [*PRESETS.items(), *CROSSVAL_PRESETS.items()]:
        assert config.preset == name
        require_valid(config)
        require_valid(CrossvalConfig(training=config))
        require_valid(dataclasses.replace(config, early_stopping=False, reduce_on_plateau=False))


def test_the_article_preset_has_its_three_callbacks():
    config = PRESETS["article"]
    assert (config.data.image_size, config.hidden_units, config.augment) == (32, 0, False)
    assert (config.keep, config.early_stopping, config.reduce_on_plateau) == ("best", True, True)


def test_the_reports_second_phase_trains_ten_epochs():
    assert CROSSVAL_PRESETS["report"] == dataclasses.replace(PRESETS["report"], epochs=10)
    assert CrossvalConfig().folds == 5


def test_a_configuration_survives_json():
    config = TrainConfig(seed=7, fractions=(0.8, 0.1, 0.1), data=DataConfig(ignore=("*.bmp",), color="rgb"))
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


def test_a_run_from_before_duplicates_were_grouped_still_has_none():
    values = dataclasses.asdict(TrainConfig())
    del values["data"]["group_duplicates"]
    assert from_dict(values).data.group_duplicates == "none"


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (TrainConfig(epochs=0), "--epochs"),
        (TrainConfig(data=DataConfig(near_threshold=-1.0)), "--near-threshold"),
        (TrainConfig(data=DataConfig(near_threshold=float("nan"))), "--near-threshold"),
        (TrainConfig(batch_size=0), "--batch-size"),
        (TrainConfig(learning_rate=float("nan")), "--learning-rate"),
        (TrainConfig(learning_rate=-1.0), "--learning-rate"),
        (TrainConfig(dropout=1.0), "--dropout"),
        (TrainConfig(seed=-1), "--seed"),
        (TrainConfig(fractions=(0.8, 0.1, 0.2)), "--fractions"),
        (TrainConfig(fractions=(1.0, 0.0, 0.0)), "--fractions"),
        (TrainConfig(data=DataConfig(image_size=0)), "--image-size"),
        (TrainConfig(data=DataConfig(max_megapixels=0.0)), "--max-megapixels"),
        (TrainConfig(augmentation=AugmentConfig(zoom=1.0)), "--zoom"),
        (TrainConfig(augmentation=AugmentConfig(rotation=-1.0)), "--rotation"),
        (TrainConfig(augmentation=AugmentConfig(shift=1.5)), "--shift"),
        (TrainConfig(keep="stopping"), "--keep"),
        (TrainConfig(hidden_units=-1), "--hidden-units"),
        (TrainConfig(early_stopping=True, stopping=StoppingConfig(stop_patience=-1)), "--stop-patience"),
        (TrainConfig(reduce_on_plateau=True, plateau=PlateauConfig(plateau_factor=1.0)), "--plateau-factor"),
        (TrainConfig(stopping=StoppingConfig(stop_patience=2)), "--stop-…"),
        (TrainConfig(plateau=PlateauConfig(plateau_patience=2)), "--plateau-…"),
        (TrainConfig(best_monitor="val_accuracy"), "--best-monitor"),
        (CrossvalConfig(folds=1), "--folds"),
        (CrossvalConfig(repeats=0), "--repeats"),
        (CrossvalConfig(folds=3, only_fold=3), "--only-fold"),
        (CrossvalConfig(training=TrainConfig(epochs=0)), "--epochs"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(config, name):
    with pytest.raises(RefusedError, match=f"^{name}: .* out of range"):
        require_valid(config)


def test_all_bad_settings_are_named_at_once():
    with pytest.raises(RefusedError) as caught:
        require_valid(TrainConfig(epochs=0, dropout=2.0))
    assert [problem.name for problem in caught.value.problems] == ["--epochs", "--dropout"]
