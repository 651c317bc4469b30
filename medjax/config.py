"""Every setting and its default, each with its meaning and unit; and the presets built from them."""

from dataclasses import dataclass, field, replace
from typing import Literal

PresetName = Literal["report", "article", "fast", "best"]
Monitor = Literal["val_loss", "val_accuracy", "val_balanced_accuracy", "val_macro_f1"]
StrategyChoice = Literal["auto", "loop", "map", "vmap", "devices"]


@dataclass(frozen=True)
class DataConfig:
    """How images are read."""

    image_size: int = 28
    """Side in pixels that images are resized to, with antialiasing."""
    color: Literal["source", "gray", "rgb"] = "source"
    """Keep the source's color, or convert every image."""
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
    """Recipe that the other settings start from."""
    seed: int = 0
    """Everything random follows from it: split, first weights, order, augmentation, dropout."""
    epochs: int = 20
    """Passes over the training images, or as many steps."""
    loss_proportional_sampling: int = 0
    """Loss-proportional resamplings per epoch (online batch selection); 0 = plain shuffling."""
    class_balance: Literal["none", "weights", "sampling"] = "none"
    """Where classes differ in size: leave it so, count rare ones more in the loss, or draw them more often."""
    batch_size: int = 32
    """Images a step."""
    learning_rate: float = 1e-3
    """Adam's step size; the largest one where a schedule changes it."""
    schedule: Literal["constant", "cosine", "one-cycle"] = "constant"
    """How the learning rate runs over the steps of all epochs: constant, falling to 0, or up and down."""
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop", "lion"] = "adam"
    """Optimizer; sgd has Nesterov momentum 0.9."""
    weight_decay: float = 0.0
    """Decoupled weight decay, not of biases and norms."""
    clip_norm: float = 0.0
    """Scale gradients down to this global norm; 0 = never."""
    ema_decay: float = 0.0
    """Score an exponential moving average of the parameters with this decay; 0 = none."""
    label_smoothing: float = 0.0
    """Share of a label's weight that goes to all classes alike."""
    model: str = "cnn"
    """Network: cnn, package.module:name, or file.py:name."""
    model_set: tuple[str, ...] = ()
    """key=value settings of a network of your own."""
    block_features: tuple[int, ...] = (32, 64)
    """Features of each block of convolution and pooling, one block after the other."""
    hidden_units: int = 128
    """Units of the dense layer between convolutions and output; 0 leaves it out."""
    centre: bool = False
    """Give the network pixels from -2 to 2 rather than from 0 to 1: it learns in fewer steps."""
    dropout: float = 0.5
    """Share of the last layer's inputs that are silenced in a training step."""
    augment: bool = True
    """Change the training images at random (see rotation, shift, zoom)."""
    test_time_augmentation: int = 0
    """Predict with the mean over this many fixed augmentations of an image; 0 = the image as it is."""
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
    baselines: bool = True
    """Also score baselines on the same split: majority class, nearest centroid, nearest neighbour, logistic
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
# Compared on the validation parts of seeds 0 to 4 of Medical MNIST alone (experiments/LOG.md, "Recipes of our own").
_OURS = TrainConfig(
    loss_proportional_sampling=4,
    batch_size=64,
    learning_rate=3e-3,
    schedule="one-cycle",
    centre=True,
    block_features=(16, 32, 64),  # deeper and thinner than the report's
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
    # For the fewest seconds to the report's accuracy.
    "fast": replace(_OURS, preset="fast", epochs=9, dropout=0.25, data=DataConfig(image_size=40)),
    # For the fewest errors: all pixels, and images turned all the way round, as most of the errors that are left stand on
    # their heads or lie askew; test-time augmentation turns them likewise.
    "best": replace(
        _OURS,
        preset="best",
        epochs=16,
        test_time_augmentation=16,
        data=DataConfig(image_size=64),
        augmentation=AugmentConfig(rotation=180.0, zoom=0.15),
    ),
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
            # A run from before blocks could be chosen had the two of the report.
            "model_set": tuple(values["model_set"]),
            "block_features": tuple(values.get("block_features", TrainConfig.block_features)),
            "data": DataConfig(**{**data, "ignore": tuple(data["ignore"])}),
            "augmentation": AugmentConfig(**values["augmentation"]),
            "stopping": StoppingConfig(**values["stopping"]),
            "plateau": PlateauConfig(**values["plateau"]),
        }
    )
