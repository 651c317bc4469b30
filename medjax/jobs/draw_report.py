"""A run's figures and page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medjax.config import TrainConfig
from medjax.jobs.from_config import Config, folds_of, make_augmentation, training_of
from medjax.records import Dataset, Images, Predictions, Split


def draw_report(
    directory: Path,
    status: str,
    config: Config,
    dataset: Dataset,
    splits: Sequence[Split],
    predictions: Predictions | None,
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Draw the figures of a scored run and write its page, which tells its `status`."""
    # Imported here: Matplotlib takes a second, and refusals, restores and predictions need not wait for it.
    from medjax.report.figures.draw import draw_figures
    from medjax.report.page.page import write_page

    train = splits[folds_of(config)[0]].train
    labels = dataset.labels[train]
    samples = train[[int(np.argmax(labels == label)) for label in range(len(dataset.class_names))]]
    twins = make_twins(dataset.images[samples], training_of(config))
    draw_figures(directory / "figures", dataset, samples, twins, predictions, history)
    write_page(directory, status)


def make_twins(originals: Images, config: TrainConfig, num_twins: int = 6) -> np.ndarray | None:
    """Random twins of images as training sees them (0 to 1), or None if it sees the images unchanged."""
    augment = make_augmentation(config)
    if augment is None:
        return None
    keys = jax.random.split(jax.random.key(config.seed), (len(originals), num_twins))
    twins = jax.jit(jax.vmap(jax.vmap(augment, in_axes=(0, None))))(keys, originals.astype(np.float32) / 255)
    return np.asarray(twins)
