"""What pretrained weights are worth on few images: 100 of each class of Medical MNIST, scored on all others.

EfficientNet-Lite0 with ImageNet's weights, as a linear probe and fine-tuned in three ways, beside the same network from
scratch, others, and the built-in one. The first 100 images of each class, by their ids, are train and val, the rest is test;
a seed draws the val part, first weights, and the order and augmentation of the images. Every way has what the preset
`standard` settles for so many images (batch, epochs, one cycle, the last epoch scored), at 64 pixels. The highest learning
rate was chosen among three by the loss on one of three folds of the 600 images (`choose`): no test image enters.

A way is a directory of runs, one a seed. Runs that are there stay, so that a command that was stopped goes on.

Command:  python -m experiments.transfer choose medical-mnist.zip DIRECTORY --weights FILE
          python -m experiments.transfer score medical-mnist.zip DIRECTORY --weights FILE --seeds 0-4
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
from medjax.config import CrossvalConfig, DataConfig, TrainConfig
from medjax.jobs.seeds import parse_seeds
from medjax.records import Dataset, Indices

IMAGES_PER_CLASS = 100
SIDE = 64
RATES = (3e-3, 1e-3, 3e-4)

_LITE = {"model": "efficientnet_lite0", "input_scaling": "half", "baselines": False}
_TUNED = {**_LITE, "pretrained": True, "learning_rate": 1e-3}
WAYS: dict[str, dict[str, Any]] = {
    # Features are computed once, of images as they are.
    "probe": {**_TUNED, "freeze": "features", "augment": False},
    "fine-tuning": _TUNED,
    "scratch": {**_LITE, "learning_rate": 1e-3},
    "slow-features": {**_TUNED, "features_rate": 0.1},
    "probe-first": {**_TUNED, "freeze": "features", "unfreeze_after": 10},
    "cnn": {},
    "resnet18": {"model": "resnet18", "baselines": False, "learning_rate": 1e-3},
    "vgg16": {"model": "vgg16", "baselines": False, "learning_rate": 3e-4},
}
"""Settings beside those of `standard`, by a name for each way; `pretrained` stands for the weights."""

Data = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")]
Directory = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIRECTORY")]


def choose(
    data: Data,
    directory: Directory,
    weights: Path,
    ways: tuple[str, ...] = ("probe", "fine-tuning", "scratch"),
) -> None:
    """Train with each learning rate on two thirds of the first images, and score the other third.

    Args:
        data: Folder or archive of Medical MNIST.
        directory: Where the runs are, or shall be.
        weights: File of EfficientNet-Lite0's weights, or the name of weights that are installed.
        ways: Which of the ways.
    """
    everything = _load(data)
    few = take_images(everything, first_images(everything))
    print("way            rate    errors of n  loss")
    for way in ways:
        for rate in RATES:
            training = dataclasses.replace(make_config(way, weights), learning_rate=rate, baselines=False)
            run = medjax.cross_validate(
                few,
                CrossvalConfig(folds=3, only_fold=0, training=training),
                run_dir=directory / "choose" / f"{way}-{rate:g}",
                resume=True,
                command="experiments/transfer.py choose",
                is_quiet=False,
            )
            scores = run.metrics["pooled"]
            print(
                f"{way:13}  {rate:6g}  {scores['errors']:6} {scores['n']:4}  {scores['loss']:.4f}", flush=True
            )


def score(
    data: Data,
    directory: Directory,
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
    dataset = _load(data)
    dataset = fix_parts(dataset, first_images(dataset))
    found: dict[str, Mapping[str, Any]] = {}
    for way in ways:
        trained = medjax.train_seeds(
            dataset,
            make_config(way, weights),
            seeds=parse_seeds(seeds),
            run_dir=directory / way,
            resume=True,
            command="experiments/transfer.py score",
            is_quiet=False,
        )
        found[way] = trained.metrics
        print(describe(way, found[way]), flush=True)
    print("\n".join(["", *(describe(way, metrics) for way, metrics in found.items())]))
    print(json.dumps({way: metrics["mean"] for way, metrics in found.items()}))


def _load(data: str) -> Dataset:
    return medjax.load(data, DataConfig(image_size=SIDE))


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


def take_images(dataset: Dataset, indices: Indices) -> Dataset:
    """A data set of these images alone."""
    arrays = ("images", "labels", "ids", "digests", "groups")
    taken = {name: None if (array := getattr(dataset, name)) is None else array[indices] for name in arrays}
    return dataset._replace(**taken)


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
    tyro.extras.subcommand_cli_from_dict({"choose": choose, "score": score})
