"""Wrong settings are refused by their flags, all at once; a run.json is read as a stranger's."""

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
)
from medjax.config_checks import from_dict, require_valid
from medjax.errors import RefusedError

OWN = {"model": "networks.py:deep"}


REPORT = PRESETS["report"]


def lines_of(config):
    with pytest.raises(RefusedError) as caught:
        require_valid(config)
    return [str(problem) for problem in caught.value.problems]


def test_every_preset_is_valid():
    for config in [*PRESETS.values(), *CROSSVAL_PRESETS.values()]:
        require_valid(config)
        require_valid(CrossvalConfig(training=config))
        require_valid(dataclasses.replace(config, early_stopping=False, reduce_on_plateau=False, **OWN))


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
        (TrainConfig(seed=-1), "--seed"),
        (TrainConfig(fractions=(1.0, 0.0, 0.0)), "--fractions"),
        (TrainConfig(data=DataConfig(image_size=0)), "--image-size"),
        (TrainConfig(data=DataConfig(max_megapixels=0.0)), "--max-megapixels"),
        (TrainConfig(augmentation=AugmentConfig(zoom=1.0)), "--zoom"),
        (TrainConfig(augmentation=AugmentConfig(rotation=-1.0)), "--rotation"),
        (TrainConfig(augmentation=AugmentConfig(shift=1.5)), "--shift"),
        (TrainConfig(hidden_units=-1), "--hidden-units"),
        (TrainConfig(block_features=(32, 0)), "--block-features"),
        (TrainConfig(weight_decay=-1.0, optimizer="adamw"), "--weight-decay"),
        (TrainConfig(clip_norm=float("inf")), "--clip-norm"),
        (TrainConfig(ema_decay=1.0), "--ema-decay"),
        (TrainConfig(label_smoothing=1.0), "--label-smoothing"),
        (TrainConfig(early_stopping=True, stopping=StoppingConfig(stop_patience=-1)), "--stop-patience"),
        (
            TrainConfig(early_stopping=True, stopping=StoppingConfig(stop_baseline=float("inf"))),
            "--stop-baseline",
        ),
        (TrainConfig(reduce_on_plateau=True, plateau=PlateauConfig(plateau_factor=1.0)), "--plateau-factor"),
        (TrainConfig(data=DataConfig(window=(0, 65536))), "--window"),
        (TrainConfig(data=DataConfig(skip_bad=True, max_bad=1.1)), "--max-bad"),
        (CrossvalConfig(folds=1), "--folds"),
        (CrossvalConfig(repeats=0), "--repeats"),
        (CrossvalConfig(folds=3, only_fold=3), "--only-fold"),
        (CrossvalConfig(training=TrainConfig(epochs=0)), "--epochs"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_its_flag(config, name):
    [line] = lines_of(config)
    assert line.startswith(f"{name}: ")
    assert " is out of range (" in line


def test_val_as_test_needs_a_cross_validation_that_keeps_a_test_part():
    training = TrainConfig(data=DataConfig(val_as_test=True))
    require_valid(training)
    require_valid(CrossvalConfig(keep_test=True, training=training))
    [line] = lines_of(CrossvalConfig(training=training))
    assert line.startswith("--val-as-test: has no effect on a cross-validation without --keep-test")


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (TrainConfig(keep="bset"), "--keep: 'bset' is not a choice (last, best, stopping)"),
        (TrainConfig(epochs="three"), "--epochs: 'three' is not a whole number (1 to 9999)"),
        (TrainConfig(epochs=2.5), "--epochs: 2.5 is not a whole number (1 to 9999)"),
        (TrainConfig(seed=True), "--seed: True is not a whole number (0 to 4294967295)"),
        (TrainConfig(dropout="0.5"), "--dropout: '0.5' is not a number (0 to less than 1)"),
        (TrainConfig(augment="no"), "--augment: 'no' is not True or False (give True or False)"),
        (TrainConfig(fractions=(0.8, 0.2)), "--fractions: has 2 values (give 3)"),
        (TrainConfig(block_features=32), "--block-features: 32 is not a tuple (give one, in parentheses)"),
        (TrainConfig(data=DataConfig(groups=3)), "--groups: 3 is not text (give text)"),
        (
            TrainConfig(data=DataConfig(window="full")),
            "--window: 'full' is not a choice (refuse, auto, lung, bone, brain, soft)",
        ),
        (TrainConfig(data=DataConfig(window=(1, 2, 3))), "--window: has 3 values (give 2)"),
        (
            TrainConfig(data=DataConfig(window=(0, "x"))),
            "--window: 'x' is not a whole number (-65536 to 65535)",
        ),
        (
            TrainConfig(data=DataConfig(window=(9, 9))),
            "--window: 9 9 is not ascending (give the lower number first)",
        ),
        (TrainConfig(data=28), "--data: 28 is not a DataConfig (give a DataConfig)"),
        (CrossvalConfig(training={}), "--training: {} is not a TrainConfig (give a TrainConfig)"),
        (CrossvalConfig(only_fold="x"), "--only-fold: 'x' is not a whole number (0 to 9998)"),
    ],
)
def test_a_setting_of_another_type_or_a_misspelled_word_is_refused(config, line):
    assert lines_of(config) == [line]


def test_a_value_of_any_length_is_refused_in_a_short_line():
    assert all(len(line) < 120 for line in lines_of(TrainConfig(learning_rate=10**400, keep="x" * 999)))


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            TrainConfig(stopping=StoppingConfig(stop_patience=2)),
            "--stop-patience: 2 has no effect (it needs --early-stopping)",
        ),
        (
            TrainConfig(plateau=PlateauConfig(plateau_factor=0.5)),
            "--plateau-factor: 0.5 has no effect (it needs --reduce-on-plateau)",
        ),
        (
            TrainConfig(augment=False, augmentation=AugmentConfig(zoom=0.3)),
            "--zoom: 0.3 has no effect (it needs --augment)",
        ),
        (
            TrainConfig(augmentation=AugmentConfig(augmentations=("flip", "noise"), zoom=0.3)),
            "--zoom: 0.3 has no effect (it needs --augmentations affine)",
        ),
        (
            TrainConfig(augment=False, augmentation=AugmentConfig(augmentations=("flip",))),
            "--augmentations: flip has no effect (it needs --augment)",
        ),
        (
            TrainConfig(best_monitor="val_accuracy"),
            "--best-monitor: val_accuracy has no effect (it needs --keep best)",
        ),
        (
            TrainConfig(weight_decay=0.1),
            "--weight-decay: 0.1 has no effect (it needs --optimizer adamw, sgd, rmsprop or lion)",
        ),
        (
            TrainConfig(block_features=(8, 16), **OWN),
            "--block-features: 8 16 has no effect (it needs --model cnn)",
        ),
        (TrainConfig(hidden_units=3, **OWN), "--hidden-units: 3 has no effect (it needs --model cnn)"),
        (TrainConfig(centre=False, **OWN), "--centre: False has no effect (it needs --model cnn)"),
        (TrainConfig(dropout=0.1, **OWN), "--dropout: 0.1 has no effect (it needs --model cnn)"),
    ],
)
def test_a_setting_without_effect_is_refused(config, line):
    assert lines_of(config) == [line]
    assert lines_of(CrossvalConfig(training=config)) == [line]


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(early_stopping=True, keep="stopping", stopping=StoppingConfig(stop_patience=2)),
        TrainConfig(optimizer="sgd", weight_decay=0.1, clip_norm=1, ema_decay=0.99, label_smoothing=0.1),
        TrainConfig(model_set=("depth=18", "name=a=b"), **OWN),
        dataclasses.replace(PRESETS["fast"], **OWN),  # the preset's, not the default
        TrainConfig(augmentation=AugmentConfig(zoom=0.3)),
    ],
)
def test_settings_with_an_effect_are_taken(config):
    require_valid(config)


@pytest.mark.parametrize(
    ("config", "start"),
    [
        (TrainConfig(test_time_augmentation=4, augment=False), "--test-time-augmentation: "),
        (dataclasses.replace(PRESETS["best"], augment=False), "--test-time-augmentation: "),
        (TrainConfig(fractions=(0.8, 0.1, 0.2)), "--fractions: 0.8 0.1 0.2 do not sum to 1"),
        (TrainConfig(keep="stopping"), "--keep: stopping needs early stopping"),
        (TrainConfig(block_features=()), "--block-features: no blocks"),
        (TrainConfig(augmentation=AugmentConfig(augmentations=())), "--augmentations: names none"),
        (
            TrainConfig(class_balance="sampling", loss_proportional_sampling=4),
            "--class-balance: sampling excludes --loss-proportional-sampling",
        ),
        (
            TrainConfig(model_set=("depth=18",)),
            "--model-set: the built-in network cnn has options of its own",
        ),
        (TrainConfig(model_set=("depth",), **OWN), "--model-set: depth is not key=value"),
        (TrainConfig(model_set=("=3",), **OWN), "--model-set: =3 is not key=value"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(config, start):
    [line] = lines_of(config)
    assert line.startswith(start)


def test_all_problems_are_named_at_once():
    training = TrainConfig(epochs=0, dropout=2.0, preset="bset", keep="stopping", best_monitor="val_accuracy")
    names = [
        line.partition(":")[0] for line in lines_of(CrossvalConfig(folds=3, only_fold=3, training=training))
    ]
    assert names == ["--preset", "--epochs", "--dropout", "--only-fold", "--keep", "--best-monitor"]


def test_a_configuration_survives_json():
    data = DataConfig(ignore=("*.bmp",), color="rgb")
    config = dataclasses.replace(
        REPORT, seed=7, fractions=(0.8, 0.1, 0.1), block_features=(8, 16, 8), data=data
    )
    assert from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config
    crossval = CrossvalConfig(folds=3, only_fold=2, training=config)
    assert from_dict(json.loads(json.dumps(dataclasses.asdict(crossval)))) == crossval


def without(values, name):
    return {key: value for key, value in values.items() if key != name}


VALUES = dataclasses.asdict(REPORT)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, "preset"),
        (without(VALUES, "block_features"), "block_features"),
        ({**VALUES, "warmth": 3}, "warmth"),
        ({**VALUES, "data": without(VALUES["data"], "cache")}, "cache"),
        ({**VALUES, "plateau": {**VALUES["plateau"], "factor": 1}}, "factor"),
        ({**VALUES, "data": 3}, "cache"),
        ({**dataclasses.asdict(CrossvalConfig()), "rounds": 2}, "rounds"),
        ({**dataclasses.asdict(CrossvalConfig()), "training": []}, "preset"),
    ],
)
def test_a_run_json_of_another_version_is_refused(values, named):
    with pytest.raises(
        RefusedError, match=r"^run\.json: was written by another version of medjax: "
    ) as caught:
        from_dict(values)
    assert named in str(caught.value) or "more" in str(caught.value)


def test_a_run_json_from_before_a_setting_was_added_has_its_default():
    older = {**VALUES, "augmentation": without(VALUES["augmentation"], "augmentations")}
    assert from_dict(without(without(older, "compute"), "deterministic")) == REPORT


def test_a_run_json_with_wrong_values_is_refused():
    with pytest.raises(RefusedError, match=r"^run\.json: --epochs: .*\nrun\.json: --image-size: "):
        from_dict({**VALUES, "epochs": "many", "data": {**VALUES["data"], "image_size": 10**9}})
