"""Every setting and its default, each with its meaning and unit; and the presets built from them."""

import math
from dataclasses import dataclass, field
from typing import Literal

from medjax.errors import Problem, RefusedError

PresetName = Literal["report"]


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
class TrainConfig:
    """One training run. The defaults are the preset `report`."""

    preset: PresetName = "report"
    """Published recipe that the other settings start from."""
    seed: int = 0
    """Everything random follows from it: split, first weights, order, augmentation, dropout."""
    epochs: int = 20
    """Passes over the training images."""
    batch_size: int = 32
    """Images a step."""
    learning_rate: float = 1e-3
    """Adam's step size, constant."""
    dropout: float = 0.5
    """Share of the hidden units that are silenced in a training step."""
    augment: bool = True
    """Change the training images at random (see rotation, shift, zoom)."""
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15)
    """Shares of train, val and test, stratified by class; sum to 1. Parts that the data fixes are kept."""
    keep: Literal["last", "best"] = "last"
    """Parameters that are scored: after the last epoch, or after the one with the lowest val loss."""
    data: DataConfig = field(default_factory=DataConfig)
    augmentation: AugmentConfig = field(default_factory=AugmentConfig)


PRESETS: dict[PresetName, TrainConfig] = {
    # Molina, "Medical MNIST Data Set Exploration", phase 1.
    "report": TrainConfig(preset="report"),
}


def from_dict(values: dict) -> TrainConfig:
    """The inverse of `dataclasses.asdict`, for run.json; names it does not know raise TypeError."""
    return TrainConfig(
        **{
            **values,
            "fractions": tuple(values["fractions"]),
            "data": DataConfig(**{**values["data"], "ignore": tuple(values["data"]["ignore"])}),
            "augmentation": AugmentConfig(**values["augmentation"]),
        }
    )


def require_valid(config: TrainConfig) -> None:
    """Raise RefusedError, naming every setting that is out of its range."""
    data, augmentation, fractions = config.data, config.augmentation, config.fractions
    limits = [
        ("--seed", config.seed, 0 <= config.seed < 2**32, "0 to 4294967295"),
        ("--epochs", config.epochs, config.epochs >= 1, "at least 1"),
        ("--batch-size", config.batch_size, config.batch_size >= 1, "at least 1"),
        ("--learning-rate", config.learning_rate, 0 < config.learning_rate < math.inf, "more than 0"),
        ("--dropout", config.dropout, 0 <= config.dropout < 1, "0 to less than 1"),
        (
            "--fractions",
            " ".join(map(str, fractions)),
            min(fractions) > 0 and abs(sum(fractions) - 1) < 1e-6,
            "three numbers above 0 that sum to 1, such as 0.8 0.1 0.1",
        ),
        ("--image-size", data.image_size, 1 <= data.image_size <= 4096, "1 to 4096 pixels"),
        ("--max-megapixels", data.max_megapixels, 0 < data.max_megapixels < math.inf, "more than 0"),
        ("--rotation", augmentation.rotation, 0 <= augmentation.rotation <= 180, "0 to 180 degrees"),
        ("--shift", augmentation.shift, 0 <= augmentation.shift <= 1, "0 to 1"),
        ("--zoom", augmentation.zoom, 0 <= augmentation.zoom < 1, "0 to less than 1"),
    ]
    problems = [
        Problem(name, f"{value} is out of range", limit)
        for name, value, is_met, limit in limits
        if not is_met
    ]
    if problems:
        raise RefusedError(problems)
