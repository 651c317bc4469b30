"""Settings out of their range are refused by the names of their flags; those of the presets are in it."""

import dataclasses

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
)
from medjax.errors import RefusedError
from medjax.limits import require_valid


def test_every_preset_is_in_range():
    for config in [*PRESETS.values(), *CROSSVAL_PRESETS.values()]:
        require_valid(config)
        require_valid(CrossvalConfig(training=config))
        require_valid(dataclasses.replace(config, early_stopping=False, reduce_on_plateau=False))


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
        (TrainConfig(test_time_augmentation=-1), "--test-time-augmentation"),
        (TrainConfig(test_time_augmentation=4, augment=False), "--test-time-augmentation"),
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
        (TrainConfig(block_features=()), "--block-features"),
        (TrainConfig(block_features=(32, 0)), "--block-features"),
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
