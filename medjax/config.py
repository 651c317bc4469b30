"""Every setting and its default, each with its meaning and unit; and the presets built from them."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from medjax.errors import Problem, RefusedError

PresetName = Literal["report", "article", "fast", "best"]
Monitor = Literal["val_loss", "val_accuracy", "val_balanced_accuracy", "val_macro_f1"]
StrategyChoice = Literal["auto", "loop", "map", "vmap", "devices"]


@dataclass(frozen=True)
class DataConfig:
    """How images are read."""

    image_size: int = 28
    """Side in pixels that images are resized to, with antialiasing."""
    color: Literal["source", "gray", "rgb"] = "source"
    """Keep the source's colour, or convert every image."""
    ignore: tuple[str, ...] = ()
    """Leave out files whose id, file name or folder matches one of these shell patterns."""
    follow_links: bool = False
    """Admit symbolic links to regular files (never to folders)."""
    sixteen_bit: Literal["refuse", "high-byte", "stretch"] = "refuse"
    """16-bit PNGs: refuse, keep the high byte, or stretch each image's own range (gray only)."""
    max_megapixels: float = 64.0
    """Refuse images with more than this many million pixels, before decoding them."""
    cache: bool = True
    """Keep decoded images in your private cache folder, so that the next load is quick."""
    groups: str | None = None
    """CSV of id,group (patient, lesion, scan): images of a group stay together in splits and folds."""
    group_duplicates: Literal["none", "exact", "near"] = "exact"
    """Keep together as well: nothing, identical images, or those and nearly identical ones of a class."""
    near_threshold: float = 2.0
    """Largest distance that is nearly identical: root mean square over the pixels, in grey levels of 0 to 255."""


@dataclass(frozen=True)
class AugmentConfig:
    """Random affine changes of the training images; ranges are symmetric about no change."""

    rotation: float = 10.0
    """Largest rotation, in degrees either way."""
    shift: float = 0.1
    """Largest shift, as a fraction of each side."""
    zoom: float = 0.1
    """Largest zoom, as a fraction, drawn apart for each axis."""


@dataclass(frozen=True)
class StoppingConfig:
    """Early stopping, as Keras's EarlyStopping; its restore_best_weights is keep = "stopping"."""

    stop_monitor: Monitor = "val_loss"
    """What early stopping follows."""
    stop_patience: int = 5
    """Stop after this many epochs without improvement."""
    stop_min_delta: float = 0.0
    """Smallest change that counts as an improvement."""
    stop_baseline: float | None = None
    """Patience also runs out unless the monitor gets better than this."""


@dataclass(frozen=True)
class PlateauConfig:
    """Lower learning rate on a plateau, as Keras's ReduceLROnPlateau."""

    plateau_monitor: Monitor = "val_loss"
    """What the learning rate follows."""
    plateau_factor: float = 0.1
    """Multiply the learning rate by this."""
    plateau_patience: int = 10
    """Do so after this many epochs without improvement."""
    plateau_min_delta: float = 1e-4
    """Smallest change that counts as an improvement."""
    plateau_cooldown: int = 0
    """Epochs after a drop in which none are counted."""
    plateau_min_lr: float = 0.0
    """Never lower the learning rate further than this."""


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The defaults are the preset `report`, but for `data.group_duplicates`."""

    preset: PresetName = "report"
    """Published recipe that the other settings start from."""
    seed: int = 0
    """Everything random follows from it: split, first weights, order, augmentation, dropout."""
    epochs: int = 20
    """Passes over the training images, or as many steps."""
    hard_draws: int = 0
    """Times that an epoch draws its images afresh, those that have been hard so far more often; 0 takes each once."""
    class_balance: Literal["none", "weights", "sampling"] = "none"
    """Where classes differ in size: leave it so, count rare ones more in the loss, or draw them more often."""
    batch_size: int = 32
    """Images a step."""
    learning_rate: float = 1e-3
    """Adam's step size; the largest one where a schedule changes it."""
    schedule: Literal["constant", "cosine", "one-cycle"] = "constant"
    """How the learning rate runs over the steps of all epochs: constant, falling to 0, or up and down."""
    hidden_units: int = 128
    """Units of the dense layer between convolutions and output; 0 leaves it out."""
    centre: bool = False
    """Give the network pixels from -2 to 2 rather than from 0 to 1: it learns in fewer steps."""
    dropout: float = 0.5
    """Share of the last layer's inputs that are silenced in a training step."""
    augment: bool = True
    """Change the training images at random (see rotation, shift, zoom)."""
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15)
    """Shares of train, val and test, stratified by class; sum to 1. Parts that the data fixes are kept; of the
    training folds of a cross-validation val takes the share that it has here beside train."""
    keep: Literal["last", "best", "stopping"] = "last"
    """Parameters that are scored: after the last epoch, after the one that is best by best-monitor, or after the
    one that early stopping counts as best."""
    best_monitor: Monitor = "val_loss"
    """What makes an epoch the best one."""
    early_stopping: bool = False
    """Stop when the val part gets no better (see stop-…)."""
    reduce_on_plateau: bool = False
    """Lower the learning rate when the val part gets no better (see plateau-…)."""
    floors: bool = True
    """Also score simple models on the same split: majority class, nearest centroid, nearest neighbour, logistic
    regression."""
    data: DataConfig = field(default_factory=DataConfig)
    augmentation: AugmentConfig = field(default_factory=AugmentConfig)
    stopping: StoppingConfig = field(default_factory=StoppingConfig)
    plateau: PlateauConfig = field(default_factory=PlateauConfig)

    @property
    def looks_at_validation(self) -> bool:
        """Whether anything is chosen by looking at the val part."""
        return self.keep != "last" or self.early_stopping or self.reduce_on_plateau


@dataclass(frozen=True)
class CrossvalConfig:
    """One cross-validation. The defaults are the preset `report`."""

    folds: int = 5
    """Parts that the images are divided into; each is scored by a model trained on the others."""
    repeats: int = 1
    """Times to do so, each with another division. Fold numbers run on through the repeats."""
    only_fold: int | None = None
    """Train and score this fold alone; by loop, it is the very same as among all."""
    fold_strategy: StrategyChoice = "auto"
    """How folds are worked on: one after the other (loop, map), at once (vmap), or over the devices."""
    keep_test: bool = False
    """Leave test images that the data fix out of all folds, and score them apart by all folds' models together."""
    training: TrainConfig = field(default_factory=lambda: CROSSVAL_PRESETS["report"])


# The published systems divided images at random, their copies among them: so must whoever compares with them.
_UNGROUPED = DataConfig(group_duplicates="none")
# Chosen on the validation parts of seeds 0 to 2 of Medical MNIST alone (experiments/LOG.md, "Recipes of our own").
_OURS = TrainConfig(
    hard_draws=4, batch_size=64, learning_rate=3e-3, schedule="one-cycle", centre=True, data=_UNGROUPED
)
PRESETS: dict[PresetName, TrainConfig] = {
    # Molina, "Medical MNIST Data Set Exploration", phase 1.
    "report": TrainConfig(preset="report", data=_UNGROUPED),
    # "Disease Classification using Medical MNIST": 32 by 32, three callbacks. It names no numbers for the callbacks
    # and the epochs; these are ours.
    "article": TrainConfig(
        preset="article",
        epochs=30,
        hidden_units=0,
        augment=False,
        fractions=(0.72, 0.08, 0.20),
        keep="best",
        early_stopping=True,
        reduce_on_plateau=True,
        data=replace(_UNGROUPED, image_size=32),
        stopping=StoppingConfig(stop_patience=6),
        plateau=PlateauConfig(plateau_factor=0.2, plateau_patience=2, plateau_min_lr=1e-6),
    ),
    # For the fewest seconds to the report's accuracy; its epochs were chosen on the validation parts of seeds 0 to 4.
    "fast": replace(_OURS, preset="fast", epochs=5, dropout=0.25),
    # For the fewest errors.
    "best": replace(_OURS, preset="best", epochs=12),
}
CROSSVAL_PRESETS: dict[PresetName, TrainConfig] = {
    # The same report's phase 2 trains each fold for 10 epochs.
    "report": replace(PRESETS["report"], epochs=10),
    "article": PRESETS["article"],
    "fast": PRESETS["fast"],
    "best": PRESETS["best"],
}


def from_dict(values: dict) -> TrainConfig | CrossvalConfig:
    """The inverse of `dataclasses.asdict`, for run.json; names it does not know raise TypeError."""
    if "training" in values:
        return CrossvalConfig(**{**values, "training": _training_from_dict(values["training"])})
    return _training_from_dict(values)


def _training_from_dict(values: dict) -> TrainConfig:
    # A run from before duplicates could be grouped did not.
    data = {"group_duplicates": "none", **values["data"]}
    return TrainConfig(
        **{
            **values,
            "fractions": tuple(values["fractions"]),
            "data": DataConfig(**{**data, "ignore": tuple(data["ignore"])}),
            "augmentation": AugmentConfig(**values["augmentation"]),
            "stopping": StoppingConfig(**values["stopping"]),
            "plateau": PlateauConfig(**values["plateau"]),
        }
    )


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
        ("--hard-draws", config.hard_draws, 0 <= config.hard_draws <= 9999, "0 to 9999"),
        (
            "--class-balance",
            config.class_balance,
            not (config.hard_draws and config.class_balance == "sampling"),
            "sampling and --hard-draws exclude each other: give one, or weights",
        ),
        ("--batch-size", config.batch_size, config.batch_size >= 1, "at least 1"),
        ("--learning-rate", config.learning_rate, 0 < config.learning_rate < math.inf, "more than 0"),
        ("--hidden-units", config.hidden_units, 0 <= config.hidden_units <= 65536, "0 to 65536"),
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
