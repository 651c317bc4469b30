"""The range of every setting: what is out of it is refused by the name of its flag."""

import math

from medjax.config import PRESETS, CrossvalConfig, PlateauConfig, StoppingConfig, TrainConfig
from medjax.errors import Problem, RefusedError


def require_valid(config: TrainConfig | CrossvalConfig) -> None:
    """Raise RefusedError, naming every setting that is out of its range."""
    if isinstance(config, CrossvalConfig):
        limits = _crossval_limits(config) + _training_limits(config.training)
    else:
        limits = _training_limits(config)
    problems = [
        Problem(name, f"{value} is out of range", limit)
        for name, value, is_met, limit in limits
        if not is_met
    ]
    if problems:
        raise RefusedError(problems)


_Limit = tuple[str, object, bool, str]  # flag, value, whether it is in range, the range


def _crossval_limits(config: CrossvalConfig) -> list[_Limit]:
    num_models = config.folds * config.repeats
    only = config.only_fold
    return [
        ("--folds", config.folds, config.folds >= 2, "at least 2"),
        ("--repeats", config.repeats, config.repeats >= 1, "at least 1"),
        ("--only-fold", only, only is None or 0 <= only < num_models, f"0 to {num_models - 1}"),
    ]


def _training_limits(config: TrainConfig) -> list[_Limit]:
    data, augmentation, fractions = config.data, config.augmentation, config.fractions
    return [
        ("--seed", config.seed, 0 <= config.seed < 2**32, "0 to 4294967295"),
        ("--epochs", config.epochs, 1 <= config.epochs <= 9999, "1 to 9999"),
        (
            "--loss-proportional-sampling",
            config.loss_proportional_sampling,
            0 <= config.loss_proportional_sampling <= 9999,
            "0 to 9999",
        ),
        (
            "--class-balance",
            config.class_balance,
            not (config.loss_proportional_sampling and config.class_balance == "sampling"),
            "sampling and --loss-proportional-sampling exclude each other: give one, or weights",
        ),
        ("--batch-size", config.batch_size, config.batch_size >= 1, "at least 1"),
        ("--learning-rate", config.learning_rate, 0 < config.learning_rate < math.inf, "more than 0"),
        (
            "--block-features",
            " ".join(map(str, config.block_features)) or "none",
            bool(config.block_features) and all(1 <= each <= 4096 for each in config.block_features),
            "a number from 1 to 4096 for each block, such as 32 64",
        ),
        ("--hidden-units", config.hidden_units, 0 <= config.hidden_units <= 65536, "0 to 65536"),
        (
            "--test-time-augmentation",
            config.test_time_augmentation,
            config.test_time_augmentation == 0
            or (config.augment and 0 < config.test_time_augmentation <= 9999),
            "0 to 9999; more than 0 needs --augment",
        ),
        ("--dropout", config.dropout, 0 <= config.dropout < 1, "0 to less than 1"),
        (
            "--fractions",
            " ".join(map(str, fractions)),
            min(fractions) > 0 and abs(sum(fractions) - 1) < 1e-6,
            "three numbers above 0 that sum to 1, such as 0.8 0.1 0.1",
        ),
        (
            "--keep",
            config.keep,
            config.keep != "stopping" or config.early_stopping,
            "stopping needs --early-stopping",
        ),
        ("--image-size", data.image_size, 1 <= data.image_size <= 4096, "1 to 4096 pixels"),
        ("--max-megapixels", data.max_megapixels, 0 < data.max_megapixels < math.inf, "more than 0"),
        ("--near-threshold", data.near_threshold, 0 <= data.near_threshold <= 255, "0 to 255 grey levels"),
        ("--rotation", augmentation.rotation, 0 <= augmentation.rotation <= 180, "0 to 180 degrees"),
        ("--shift", augmentation.shift, 0 <= augmentation.shift <= 1, "0 to 1"),
        ("--zoom", augmentation.zoom, 0 <= augmentation.zoom < 1, "0 to less than 1"),
        *_control_limits(config.stopping, config.plateau),
        *_unused_settings(config),
    ]


def _unused_settings(config: TrainConfig) -> list[_Limit]:
    """Settings of a control that is off, which somebody gave and would wait for in vain."""
    preset = PRESETS[config.preset]
    stopping = config.early_stopping or config.stopping in (StoppingConfig(), preset.stopping)
    plateau = config.reduce_on_plateau or config.plateau in (PlateauConfig(), preset.plateau)
    best = config.keep == "best" or config.best_monitor in ("val_loss", preset.best_monitor)
    return [
        ("--stop-…", "a setting without its control", stopping, "it needs --early-stopping"),
        ("--plateau-…", "a setting without its control", plateau, "it needs --reduce-on-plateau"),
        ("--best-monitor", config.best_monitor, best, "it needs --keep best"),
    ]


def _control_limits(stopping: StoppingConfig, plateau: PlateauConfig) -> list[_Limit]:
    baseline, min_delta = stopping.stop_baseline, plateau.plateau_min_delta
    return [
        ("--stop-patience", stopping.stop_patience, stopping.stop_patience >= 0, "0 or more epochs"),
        ("--stop-min-delta", stopping.stop_min_delta, 0 <= stopping.stop_min_delta < math.inf, "0 or more"),
        ("--stop-baseline", baseline, baseline is None or math.isfinite(baseline), "a finite number"),
        ("--plateau-factor", plateau.plateau_factor, 0 < plateau.plateau_factor < 1, "between 0 and 1"),
        ("--plateau-patience", plateau.plateau_patience, plateau.plateau_patience >= 0, "0 or more epochs"),
        ("--plateau-min-delta", min_delta, 0 <= min_delta < math.inf, "0 or more"),
        ("--plateau-cooldown", plateau.plateau_cooldown, plateau.plateau_cooldown >= 0, "0 or more epochs"),
        ("--plateau-min-lr", plateau.plateau_min_lr, 0 <= plateau.plateau_min_lr < math.inf, "0 or more"),
    ]
