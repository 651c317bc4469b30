"""What pretrained weights are worth on few images: 100 of each class of Medical MNIST, scored on all others.

EfficientNet-Lite0 with ImageNet's weights, as a linear probe and fine-tuned in three ways, beside the same network from
scratch, others, and the built-in one. The first 100 images of each class, by their ids, are train and val, the rest is test;
a seed draws the val part, first weights, and the order and augmentation of the images. Nothing is chosen by a score: every
way has what the preset `standard` settles for so many images (batch, epochs, one cycle, the last epoch kept), at 64 pixels;
the published networks Adam's usual rate of 1e-3.

A way is a directory of runs, one a seed. Runs that are there stay, so that a command that was stopped goes on.

Command:  python -m experiments.transfer medical-mnist.zip DIRECTORY --weights FILE --seeds 0-4
Machine:  2 cores of an AMD EPYC (AVX-512), no GPU
Expected: see LOG.md, "What pretrained weights are worth on 600 images"
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

import medjax
from medjax.config import DataConfig, TrainConfig
from medjax.jobs.seeds import parse_seeds
from medjax.records import Dataset, Indices

IMAGES_PER_CLASS = 100
SIDE = 64

_PUBLISHED = {"learning_rate": 1e-3, "baselines": False}
# Scaled in the same way with and without weights, so that these are the only difference.
_LITE = {**_PUBLISHED, "model": "efficientnet_lite0", "input_scaling": "half"}
_TUNED = {**_LITE, "pretrained": True}
WAYS: dict[str, dict[str, Any]] = {
    # Features are computed once, of images as they are.
    "probe": {**_TUNED, "freeze": "features", "augment": False},
    "fine-tuning": _TUNED,
    "scratch": _LITE,
    "slow-features": {**_TUNED, "features_rate": 0.1},
    "probe-first": {**_TUNED, "freeze": "features", "unfreeze_after": 10},
    "cnn": {},
    "resnet18": {**_PUBLISHED, "model": "resnet18"},
    "vgg16": {**_PUBLISHED, "model": "vgg16"},
}
"""Settings beside those of `standard`, by a name for each way; `pretrained` stands for the weights."""


def main(
    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")],
    directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIRECTORY")],
    weights: Path,
    seeds: str = "0-4",
    ways: tuple[str, ...] = tuple(WAYS),
) -> None:
    """Train on the first images of each class once a way and seed, and score all others.

    Args:
        data: Folder or archive of Medical MNIST.
        directory: Where the runs are, or shall be.
        weights: File of EfficientNet-Lite0's weights, or the name of weights that are installed.
        seeds: Seeds, such as 0-4.
        ways: Which of the ways.
    """
    dataset = medjax.load(data, DataConfig(image_size=SIDE))
    dataset = fix_parts(dataset, first_images(dataset))
    found: dict[str, Mapping[str, Any]] = {}
    for way in ways:
        trained = medjax.train_seeds(
            dataset,
            make_config(way, weights),
            seeds=parse_seeds(seeds),
            run_dir=directory / way,
            resume=True,
            command="experiments/transfer.py",
            is_quiet=False,
        )
        found[way] = trained.metrics
        print(describe(way, found[way]), flush=True)
    print("\n".join(["", *(describe(way, metrics) for way, metrics in found.items())]))
    print(json.dumps({way: metrics["mean"] for way, metrics in found.items()}))


def make_config(way: str, weights: Path) -> TrainConfig:
    """The settings of a way, none of them settled yet."""
    settings = dict(WAYS[way])
    if settings.get("pretrained"):
        settings["pretrained"] = str(weights)
    return dataclasses.replace(TrainConfig(), **settings)


def first_images(dataset: Dataset, per_class: int = IMAGES_PER_CLASS) -> Indices:
    """Indices of the first images of each class, in the order of the data set."""
    classes = [np.flatnonzero(dataset.labels == label) for label in range(dataset.num_classes)]
    return np.sort(np.concatenate([indices[:per_class] for indices in classes]))


def fix_parts(dataset: Dataset, train: Indices) -> Dataset:
    """The data set with these images as its train part, and all others as its test part."""
    parts = np.full(len(dataset.labels), "test", "<U5")
    parts[train] = "train"
    return dataset._replace(split=parts)


def describe(way: str, metrics: Mapping[str, Any]) -> str:
    """One line of a way: mean ± sd (range) over its seeds, and the interval of one run for its images."""
    mean, num_seeds = metrics["mean"], len(metrics["seeds"])

    def spread(name: str, form: str) -> str:
        low, high = mean[f"{name}_range"]
        deviation = "" if num_seeds == 1 else f" ± {mean[f'{name}_sd']:{form}}"
        return f"{mean[name]:{form}}{deviation} ({low:{form}} to {high:{form}})"

    low, high = mean["accuracy_ci95"]
    return (
        f"{way:13}  {num_seeds} seeds  accuracy {spread('accuracy', '.3%')}, interval {low:.3%} to {high:.3%}; "
        f"errors {spread('errors', ',.0f')} of {metrics['seeds'][0]['n']:,}; loss {spread('loss', '.4f')}"
    )


if __name__ == "__main__":
    tyro.cli(main)
