"""The preset `standard`: plain values for all settings that are left to it, from what there is to train on.

It looks at the training images alone, of a cross-validation at those of its smallest fold, and all folds are trained
alike. The same images and splits always give the same values.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.config_checks import broken_unfreezing
from medjax.errors import RefusedError
from medjax.jobs.datasets import read_dataset, tell_dataset
from medjax.jobs.from_config import Config, make_splits, training_of
from medjax.progress import Display
from medjax.records import Dataset, Split
from medjax.settings import entries, flags_for, unsettled, with_values

FEWEST_STEPS = 1000
"""Steps that any training takes: with fewer a small set has not been learnt."""
LARGEST_SIDE = 40
"""Pixels a side that larger images are resized to, as in the preset `fast`."""
MANY_IMAGES = 20_000
"""From here on the recipe is that of the preset `fast`: few images are still wrong, and are drawn more often."""
RAREST_SHARE = 0.05
"""A class with a smaller share than this of the largest one's images weighs more in the loss."""

_NOTHING: Mapping[str, Any] = {}


class TrainingFacts(NamedTuple):
    """What the settings depend on."""

    # Training images of each class; all in one where an image may have several labels.
    counts: tuple[int, ...]
    side: int  # of the largest image as it was stored, in pixels
    is_color: bool

    @property
    def num_images(self) -> int:
        """Training images of all classes."""
        return sum(self.counts)


def load_settled(source: str | Path | Dataset, config: Config, display: Display) -> tuple[Config, Dataset]:
    """The data set, and the configuration with nothing left to settle; each is told in a line."""
    if isinstance(source, Dataset):  # whose images keep their size
        config = _with_size(config, source.images.shape[1:3])
        settled = settle(config, source)
        dataset = source
    else:
        dataset = read_dataset(
            source, training_of(_with_size(config, (LARGEST_SIDE, LARGEST_SIDE))).data, display
        )
        settled = settle(config, dataset)
        if dataset.images.shape[1:3] != training_of(settled).data.sides:
            dataset = read_dataset(source, training_of(settled).data, display)
        tell_dataset(dataset, display)
    if problems := list(broken_unfreezing(training_of(settled))):
        raise RefusedError(problems)
    if settled != config:
        display.say(f"preset standard: {' '.join(flags_for(settled, config))}")
    return settled, dataset


def _with_size(config: Config, sides: tuple[int, ...]) -> Config:
    """The configuration with images of this height and width, if it has none."""
    has_none = training_of(config).data.image_size is None
    return with_values(config, {"image_size": sides}) if has_none else config


def settle(config: Config, dataset: Dataset) -> Config:
    """The configuration with a value for every setting that it leaves to `standard`."""
    names = unsettled(config)
    if not names:
        return config
    # The last epoch is kept, unless another is asked for: nothing is taken from the training part to choose one.
    splits = make_splits(with_values(config, {"keep": "last"}) if "keep" in names else config, dataset)
    given = {entry.name: entry.value for entry in entries(training_of(config)) if entry.value is not None}
    if "image_size" in given:
        given["image_size"] = min(dataset.images.shape[1:3])
    values = choose_settings(find_facts(dataset, splits), given)
    return with_values(config, {name: values[name] for name in names})


def find_facts(dataset: Dataset, splits: Sequence[Split]) -> TrainingFacts:
    """The facts of the smallest training part. The stored size is that of all images."""
    smallest = min((split.train for split in splits), key=len)
    counts = (
        np.array([len(smallest)])
        if dataset.has_several_labels
        else np.bincount(dataset.labels[smallest], minlength=dataset.num_classes)
    )
    stored = dataset.source_sizes or (dataset.images.shape[1:3],)
    return TrainingFacts(tuple(counts.tolist()), max(map(max, stored)), dataset.images.shape[-1] == 3)


def choose_settings(facts: TrainingFacts, given: Mapping[str, Any] = _NOTHING) -> dict[str, Any]:
    """A value for every setting that `standard` settles, by its name; `given` are values of settings that stay.

    The fewer images there are, the more often each is seen, and in smaller batches. Photographs, taken in any light, also
    change in brightness and contrast; gray levels may mean something, as in CT. No flips and no large rotations: they
    could change a label. Images are weighted by class only where a class is so rare that it would not be learnt, as
    weights cost accuracy, and not of several labels an image, each of which has a threshold of its own. The last epoch is
    kept: the learning rate ends at 0, and a val part of a small set is too small to choose by (experiments/LOG.md, "A preset for any data set: first trials").
    """
    num_images = facts.num_images
    has_many = num_images >= MANY_IMAGES
    chosen_batch = next((size for size in (64, 32, 16) if num_images >= 20 * size), 8)
    batch_size = given.get("batch_size", chosen_batch)
    fewest_epochs = -(-FEWEST_STEPS // -(-num_images // batch_size))
    counts = [count for count in facts.counts if count]
    image_size = min(max(facts.side, 28), LARGEST_SIDE) if has_many else LARGEST_SIDE
    draws_by_class = given.get("class_balance") == "sampling"  # which excludes drawing by losses
    return {
        "epochs": max(9, round(1200 / math.sqrt(num_images)), fewest_epochs),
        "batch_size": batch_size,
        "image_size": image_size,
        "block_features": _fitting_blocks(given.get("image_size", image_size)),
        "dropout": 0.25 if has_many else 0.5,
        "augmentations": ("affine", "brightness", "contrast") if facts.is_color else ("affine",),
        "loss_proportional_sampling": 4 if has_many and not draws_by_class else 0,
        "class_balance": "weights" if min(counts) < RAREST_SHARE * max(counts) else "none",
        "keep": "last",
    }


def _fitting_blocks(side: int) -> tuple[int, ...]:
    """As many blocks as leave a pixel: each takes two pixels, and halves the rest."""
    fitting: list[int] = []
    for features in (16, 32, 64):
        side = (side - 2) // 2
        if side >= 1 or not fitting:
            fitting.append(features)
    return tuple(fitting)
