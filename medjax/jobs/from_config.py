"""From a configuration to the plain parts that training takes."""

import dataclasses
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.config import CrossvalConfig, Monitor, TrainConfig
from medjax.data.splitting.splits import draw_parts, fold_splits, official_parts, split
from medjax.errors import counted, refuse
from medjax.jobs.published_weights import WEIGHTS
from medjax.jobs.sharing import Same, once
from medjax.metrics import Sums
from medjax.models.as_network import as_network
from medjax.models.network import Network, count_classes
from medjax.models.parts import HEAD, freeze_features
from medjax.models.registry import MODELS, ModelFactory, load_model
from medjax.records import Dataset, Indices, Split
from medjax.training.augment import Augment, make_augment, mix_batch
from medjax.training.controls import Mode, best_so_far, early_stopping, reduce_on_plateau
from medjax.training.folds import Controls, Watch
from medjax.training.learner import Learner, make_learner
from medjax.training.losses import (
    Loss,
    binary_cross_entropy,
    cross_entropy,
    make_smoothed_binary_cross_entropy,
    make_smoothed_cross_entropy,
)
from medjax.training.optimizers import make_optimizer, make_schedule, scale_features

Config = TrainConfig | CrossvalConfig

GIVEN_IN_PYTHON = "python"
"""The setting `model` of a run whose network was given to `medjax.train`."""

_MONITORS: dict[Monitor, tuple[Callable[[Sums], Any], Mode]] = {
    "val_loss": (operator.attrgetter("mean_loss"), "min"),
    "val_accuracy": (operator.attrgetter("accuracy"), "max"),
    "val_balanced_accuracy": (operator.attrgetter("balanced_accuracy"), "max"),
    "val_macro_f1": (operator.attrgetter("macro_f1"), "max"),
}


def training_of(config: Config) -> TrainConfig:
    """How each model is trained."""
    return config.training if isinstance(config, CrossvalConfig) else config


def with_training(config: Config, training: TrainConfig) -> Config:
    """The configuration with another way to train each model."""
    return dataclasses.replace(config, training=training) if isinstance(config, CrossvalConfig) else training


def folds_of(config: Config) -> Sequence[int]:
    """Numbers of the folds that a job trains; a holdout is fold 0."""
    if not isinstance(config, CrossvalConfig):
        return [0]
    return range(config.folds * config.repeats) if config.only_fold is None else [config.only_fold]


def with_absolute_paths(config: Config) -> Config:
    """The configuration as it can be used from any working directory."""
    training = training_of(config)
    paths = {"labels": training.data.labels, "groups": training.data.groups}
    absolute: dict[str, Any] = {
        name: path if path is None else str(Path(path).absolute()) for name, path in paths.items()
    }
    data = dataclasses.replace(training.data, **absolute)
    pretrained = training.pretrained
    if pretrained is not None and pretrained not in WEIGHTS:
        pretrained = str(Path(pretrained).absolute())
    return with_training(config, dataclasses.replace(training, data=data, pretrained=pretrained))


def make_splits(config: Config, dataset: Dataset) -> list[Split]:
    """The split of each fold; of all folds, whichever are trained. Conformal parts are in none of their parts."""
    return [split for split, _ in _divide(config, dataset)]


def conformal_parts(config: Config, dataset: Dataset) -> list[Indices]:
    """The images that `conformal_share` keeps out of training in each fold, to set the thresholds of prediction sets by."""
    return [part for _, part in _divide(config, dataset)]


def _divide(config: Config, dataset: Dataset) -> list[tuple[Split, Indices]]:
    """The split and the conformal part of each fold."""
    training = training_of(config)
    splits = _divide_images(config, dataset)
    if not training.conformal_share:
        return [(split, split.val[:0]) for split in splits]
    divided = []
    for fold, whole in enumerate(splits):
        groups = None if dataset.groups is None else dataset.groups[whole.train]
        train, part = draw_parts(
            whole.train,
            dataset.labels[whole.train],
            (training.conformal_share,),
            [training.seed, fold, 0, 1],  # no other draw has four numbers
            groups,
            dataset.class_names,
        )
        divided.append((whole._replace(train=train), part))
    return divided


def _divide_images(config: Config, dataset: Dataset) -> list[Split]:
    training = training_of(config)
    if not isinstance(config, CrossvalConfig):
        val_as_test = config.data.val_as_test
        return [split(dataset, seed=config.seed, fractions=config.fractions, val_as_test=val_as_test)]
    train_share, val_share, _ = training.fractions
    everything = np.arange(len(dataset.labels))
    pool = np.setdiff1d(everything, kept_test(config, dataset)) if config.keep_test else None
    needs_validation = (
        training.looks_at_validation
        # From which probability on one of several labels is predicted is chosen by validation images.
        or dataset.has_several_labels
        or training.calibrate is not None
        or (training.coverage is not None and not training.conformal_share)
    )
    return fold_splits(
        dataset,
        config.folds,
        repeats=config.repeats,
        inner_share=val_share / (train_share + val_share) if needs_validation else None,
        seed=training.seed,
        pool=pool,
    )


def kept_test(config: CrossvalConfig, dataset: Dataset) -> Indices:
    """The official test images, or val images taken for them; RefusedError where the data have none."""
    fixed = official_parts(dataset, val_as_test=config.training.data.val_as_test)
    if not len(fixed.test):
        remedy = (
            "leave it out, or add --val-as-test to keep out the val part"
            if len(fixed.val)
            else "leave it out"
        )
        raise refuse("--keep-test", f"{dataset.name} has no official test part", remedy)
    return fixed.test


def make_network(
    config: TrainConfig, model: Any, class_names: Sequence[str], image_shape: tuple[int, ...]
) -> Network:
    """The network: `model` of the user's own if one is given, else the one that the configuration names.

    Raises RefusedError unless it has one logit for each class.
    """
    if model is None:
        model = load_model(config.model, config.model_set)
    what = "network", without_seed(config), Same(model), tuple(class_names), image_shape
    return once(what, lambda: _make_network(config, model, len(class_names), image_shape))


def _make_network(config: TrainConfig, model: Any, num_classes: int, image_shape: tuple[int, ...]) -> Network:
    if isinstance(model, ModelFactory):
        settings = _cnn_settings(config) if model.name == "cnn" else {}
        model = model._replace(settings={**settings, **model.settings}).make(num_classes)
    network = as_network(model)
    num_logits = count_classes(network, image_shape)
    if num_logits != num_classes:
        raise refuse(
            f"network {network.name}",
            f"has {counted(num_logits, 'logit')} for {counted(num_classes, 'class')}",
            "give it one a class",
        )
    return network


def is_built_in(config: TrainConfig) -> bool:
    """Whether the configuration names a network of medjax, which needs no import."""
    return config.model in MODELS


def _cnn_settings(config: TrainConfig) -> dict[str, Any]:
    names = ("dropout", "block_features", "hidden_units", "centre")
    return {name: getattr(config, name) for name in names}


def make_augmentation(config: TrainConfig) -> Augment | None:
    """The random augmentation of an image, or None."""
    if not config.augment:
        return None
    chosen = config.augmentation
    return make_augment(chosen.augmentations, rotation=chosen.rotation, shift=chosen.shift, zoom=chosen.zoom)


def count_steps(config: TrainConfig, splits: Sequence[Split]) -> int:
    """Steps of all epochs, in the fold with the most of them; at least 1."""
    return config.epochs * max((-(-len(split.train) // config.batch_size) for split in splits), default=1)


def make_rate(config: TrainConfig, splits: Sequence[Split]) -> Callable[[int], float]:
    """The learning rate at each step, before any plateau lowers it."""
    schedule = make_schedule(config.schedule, config.learning_rate, count_steps(config, splits))
    return lambda step: float(schedule(step)) if callable(schedule) else schedule


def make_fold_learner(
    config: TrainConfig,
    network: Network,
    splits: Sequence[Split],
    *,
    features_rate: float | None = None,
    several_labels: bool = False,
) -> Learner:
    """The learner of every fold; `features_rate` takes the place of the configuration's."""
    num_steps = count_steps(config, splits)
    rate = config.features_rate if features_rate is None else features_rate
    what = "learner", without_seed(config), network, num_steps, rate, several_labels
    return once(what, lambda: _make_learner(config, network, num_steps, rate, several_labels))


def _make_learner(
    config: TrainConfig, network: Network, num_steps: int, features_rate: float, several_labels: bool
) -> Learner:
    optimizer = make_optimizer(
        config.optimizer,
        make_schedule(config.schedule, config.learning_rate, num_steps),
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
    )
    if config.pretrained is not None:
        optimizer = scale_features(optimizer, features_rate, HEAD)
    return make_learner(
        network,
        optimizer,
        augment=make_augmentation(config),
        mix=mix_batch if config.augment and "mixup" in config.augmentation.augmentations else None,
        loss=_make_loss(config.label_smoothing, several_labels),
        test_time_augmentation=config.test_time_augmentation,
        ema_decay=config.ema_decay,
        several_labels=several_labels,
        compute=config.compute,
        deterministic=config.deterministic,
    )


def _make_loss(smoothing: float, several_labels: bool) -> Loss:
    if several_labels:
        return make_smoothed_binary_cross_entropy(smoothing) if smoothing else binary_cross_entropy
    return make_smoothed_cross_entropy(smoothing) if smoothing else cross_entropy


def make_phases(
    config: TrainConfig,
    network: Network,
    splits: Sequence[Split],
    image_shape: tuple[int, ...],
    *,
    several_labels: bool = False,
) -> list[tuple[Learner, int]]:
    """The learners of every fold, one after the other, each with the number of epochs after which it ends."""
    trained = make_fold_learner(config, network, splits, several_labels=several_labels)
    if config.freeze == "none":
        return [(trained, config.epochs)]
    at_rest = once(("frozen", network, image_shape), lambda: freeze_features(network, image_shape))
    frozen = make_fold_learner(config, at_rest, splits, features_rate=0.0, several_labels=several_labels)
    if config.unfreeze_after is None:
        return [(frozen, config.epochs)]
    return [(frozen, config.unfreeze_after), (trained, config.epochs)]


def make_controls(config: TrainConfig) -> Controls:
    """What is decided by looking at the validation part."""
    return once(("controls", without_seed(config)), lambda: _make_controls(config))


def without_seed(config: TrainConfig) -> TrainConfig:
    """A configuration with no seed of its own: what networks, learners and controls depend on."""
    return dataclasses.replace(config, seed=0)


def _make_controls(config: TrainConfig) -> Controls:
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
