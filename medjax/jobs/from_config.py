"""From a configuration to the plain parts that training takes."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float

from medjax import metrics
from medjax.config import CrossvalConfig, Monitor, TrainConfig
from medjax.data.splitting.splits import fold_splits, split
from medjax.errors import refuse
from medjax.metrics import Sums
from medjax.models.cnn import CNN
from medjax.records import Dataset, Indices, Split
from medjax.training.augment import random_affine
from medjax.training.controls import Mode, best_so_far, early_stopping, reduce_on_plateau
from medjax.training.folds import Controls, Watch
from medjax.training.learner import Augment, Learner, make_learner
from medjax.training.optimizers import make_adam, make_schedule

Config = TrainConfig | CrossvalConfig

_MONITORS: dict[Monitor, tuple[Callable[[Sums], Float[Array | np.ndarray, "*fold"]], Mode]] = {
    "val_loss": (metrics.mean_loss, "min"),
    "val_accuracy": (metrics.accuracy, "max"),
    "val_balanced_accuracy": (metrics.balanced_accuracy, "max"),
    "val_macro_f1": (metrics.macro_f1, "max"),
}


def training_of(config: Config) -> TrainConfig:
    """How each model is trained."""
    return config.training if isinstance(config, CrossvalConfig) else config


def folds_of(config: Config) -> Sequence[int]:
    """Numbers of the folds that a job trains; a holdout is fold 0."""
    if not isinstance(config, CrossvalConfig):
        return [0]
    return range(config.folds * config.repeats) if config.only_fold is None else [config.only_fold]


def with_whole_paths(config: Config) -> Config:
    """The configuration as it can be used from any working directory."""
    training = training_of(config)
    if training.data.groups is None:
        return config
    groups = str(Path(training.data.groups).absolute())
    training = dataclasses.replace(training, data=dataclasses.replace(training.data, groups=groups))
    return dataclasses.replace(config, training=training) if isinstance(config, CrossvalConfig) else training


def make_splits(config: Config, dataset: Dataset) -> list[Split]:
    """What each fold trains on, chooses by and is scored on; of all folds, whichever are trained."""
    training = training_of(config)
    if not isinstance(config, CrossvalConfig):
        return [split(dataset, seed=config.seed, fractions=config.fractions)]
    train_share, val_share, _ = training.fractions
    return fold_splits(
        dataset,
        config.folds,
        repeats=config.repeats,
        inner_share=val_share / (train_share + val_share) if training.looks_at_validation else None,
        seed=training.seed,
        pool=None
        if not config.keep_test
        else np.setdiff1d(np.arange(len(dataset.labels)), kept_test(dataset)),
    )


def kept_test(dataset: Dataset) -> Indices:
    """The test images that the data fix; RefusedError where they fix none."""
    if dataset.split is None or not (dataset.split == "test").any():
        raise refuse("--keep-test", f"{dataset.name} fixes no test images", "leave it out")
    return np.flatnonzero(dataset.split == "test")


def make_model(config: TrainConfig, num_classes: int) -> CNN:
    """The network."""
    return CNN(
        num_classes,
        dropout=config.dropout,
        block_features=config.block_features,
        hidden_units=config.hidden_units,
        centre=config.centre,
    )


def make_augmentation(config: TrainConfig) -> Augment | None:
    """The random twin of an image, or None."""
    if not config.augment:
        return None
    return functools.partial(random_affine, **dataclasses.asdict(config.augmentation))


def count_steps(config: TrainConfig, splits: Sequence[Split]) -> int:
    """Steps of all epochs, in the fold with the most of them; at least 1."""
    return config.epochs * max((-(-len(split.train) // config.batch_size) for split in splits), default=1)


def make_rate(config: TrainConfig, splits: Sequence[Split]) -> Callable[[int], float]:
    """The learning rate at each step, before any plateau lowers it."""
    schedule = make_schedule(config.schedule, config.learning_rate, count_steps(config, splits))
    return lambda step: float(schedule(step)) if callable(schedule) else schedule


def make_fold_learner(config: TrainConfig, num_classes: int, splits: Sequence[Split]) -> Learner:
    """The learner of every fold."""
    schedule = make_schedule(config.schedule, config.learning_rate, count_steps(config, splits))
    model, optimizer = make_model(config, num_classes), make_adam(schedule)
    return make_learner(
        model, optimizer, make_augmentation(config), test_time_augmentation=config.test_time_augmentation
    )


def make_controls(config: TrainConfig) -> Controls:
    """What is decided by looking at the validation part."""
    stopping, plateau = config.stopping, config.plateau
    best_monitor, best_mode = _MONITORS[config.best_monitor]
    stop_monitor, stop_mode = _MONITORS[stopping.stop_monitor]
    plateau_monitor, plateau_mode = _MONITORS[plateau.plateau_monitor]
    stop = early_stopping(
        mode=stop_mode,
        min_delta=stopping.stop_min_delta,
        patience=stopping.stop_patience,
        baseline=stopping.stop_baseline,
    )
    reduce = reduce_on_plateau(
        learning_rate=config.learning_rate,
        mode=plateau_mode,
        factor=plateau.plateau_factor,
        patience=plateau.plateau_patience,
        min_delta=plateau.plateau_min_delta,
        cooldown=plateau.plateau_cooldown,
        min_lr=plateau.plateau_min_lr,
    )
    return Controls(
        best=Watch(best_so_far(mode=best_mode), best_monitor),
        stopping=Watch(stop, stop_monitor) if config.early_stopping else None,
        plateau=Watch(reduce, plateau_monitor) if config.reduce_on_plateau else None,
        is_best_by_stopping=config.keep == "stopping",
    )
