"""Cross-validation over train and val of a set of MedMNIST: the preset `standard`, and the published ResNet-18.

Part of `experiments.medmnist`, which has its command line and its expected results. The answers to each fold are kept in a
file of their own, as ResNet-18 takes hours on a CPU: what is there is not trained again.
"""

import csv
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optax

import medjax
from medjax.config import DataConfig
from medjax.evaluation.auc import Area, class_area, compare_areas, mean_area
from medjax.evaluation.comparison import compare_accuracies
from medjax.evaluation.seed_scores import summarize_seeds
from medjax.files import write_whole
from medjax.jobs.published_weights import HALF
from medjax.models.resnet import resnet18
from medjax.models.starting import scale_input
from medjax.records import Dataset, Predictions, Probabilities, Split

NUM_FOLDS = 5
EPOCHS = 100
BATCH_SIZE = 128
SHOWN = ("accuracy", "accuracy_ci95", "auc", "auc_ci95")
VAL_SHARE = 0.1
"""Of a fold's training images, to choose an epoch by: as many as the official val part has of train and val of RetinaMNIST."""
WITHOUT_TEST = ("test",)
"""What `DataConfig.ignore` leaves unread."""

Answers = Mapping[str, Probabilities]
"""Of the images of a fold, or of all folds, by the system that gave them."""
Fit = Callable[[Path, Dataset, Sequence[Split], int, int], Answers]
"""Trains one fold: from a file, its train and val images, the splits of all folds, the fold and the seed."""


def cross_validate(
    path: Path, folder: Path, seeds: Sequence[int], fits: Mapping[str, Fit], folds: Sequence[int]
) -> dict[str, Any]:
    """Train the folds that are not in the folder, score the seeds whose folds all are, and compare the systems in pairs."""
    dataset = load_development(path)
    folder.mkdir(parents=True, exist_ok=True)
    answers: dict[str, dict[int, Probabilities]] = {}
    for seed in seeds:
        splits = medjax.fold_splits(dataset, NUM_FOLDS, inner_share=VAL_SHARE, seed=seed)
        for name, fit in fits.items():
            files = [folder / f"{name}-seed{seed}-fold{fold}.npz" for fold in range(NUM_FOLDS)]
            for fold in folds:
                if not files[fold].exists():
                    print(f"{path.stem}: {name}, seed {seed}, fold {fold}", flush=True)
                    _store(files[fold], fit(path, dataset, splits, fold, seed))
            if all(file.exists() for file in files):
                for system, probabilities in _read_folds(files, splits).items():
                    answers.setdefault(system, {})[seed] = probabilities
    return report(dataset, answers)


def load_development(path: Path) -> Dataset:
    """The train and val images of a file at their own size; those of the test part are not read."""
    return medjax.load(path, DataConfig(ignore=WITHOUT_TEST))


def fit_standard(path: Path, dataset: Dataset, splits: Sequence[Split], fold: int, seed: int) -> Answers:
    """The preset `standard`, which trains on all images of the other folds."""
    config = medjax.TrainConfig(seed=seed, baselines=False)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, ignore=WITHOUT_TEST))
    with tempfile.TemporaryDirectory(prefix="medjax-medmnist-") as folder:
        run = medjax.cross_validate(
            path,
            medjax.CrossvalConfig(NUM_FOLDS, only_fold=fold, training=config),
            run_dir=Path(folder) / "run",
        )
        with open(run.directory / "predictions.csv", encoding="utf-8", newline="") as lines:
            rows = {row["id"]: row for row in csv.DictReader(lines) if row["split"] == "test"}
    ids = dataset.ids[splits[fold].test].tolist()
    assert set(ids) == set(rows), "the run has other folds"
    columns = [f"p_{name}" for name in dataset.class_names]
    return {"standard": np.array([[rows[id][column] for column in columns] for id in ids], np.float32)}


def fit_resnet18(
    path: Path,
    dataset: Dataset,
    splits: Sequence[Split],
    fold: int,
    seed: int,
    *,
    epochs: int = EPOCHS,
    make_model: Callable[[int], Any] = resnet18,
) -> Answers:
    """ResNet-18 by the recipe of MedMNIST's own code (https://github.com/MedMNIST/experiments), on the same folds.

    100 epochs, Adam, batches of 128, no augmentation, pixels from -1 to 1, and of all epochs the first with the best AUC on
    the val part, which is drawn from the fold's training images, stratified by class. That code kept the last epoch for
    the best until May 2023, so both are given.
    """
    split = splits[fold]
    learner = _make_learner(make_model, dataset.num_classes, -(-len(split.train) // BATCH_SIZE), epochs)
    options = {"seed": seed, "num_epochs": epochs, "batch_size": BATCH_SIZE, "folds": [fold]}
    best, best_area = None, 0.0
    for states, info in medjax.fit_folds(learner, dataset, splits, **options):
        state = medjax.select_fold(states, 0)
        area = medjax.score(medjax.predict(learner, state, dataset, split.val), resamples=0).auc
        if best is None or area > best_area:
            best, best_area = medjax.predict(learner, state, dataset, split.test), area
        print(f"  epoch {info.epoch + 1}: val AUC {area:.3f}, best {best_area:.3f}", flush=True)
    last = medjax.predict(learner, state, dataset, split.test)
    return {"resnet18, best epoch": best.probabilities, "resnet18, last epoch": last.probabilities}


@functools.cache
def _make_learner(make_model: Callable[[int], Any], num_classes: int, steps: int, epochs: int) -> Any:
    """The learner of all folds with so many steps an epoch, so that they compile once."""
    network = scale_input(medjax.as_network(make_model(num_classes)), HALF)
    return medjax.make_learner(network, optax.adam(make_rate(steps, epochs)))


def make_rate(steps: int, epochs: int = EPOCHS) -> Callable[[int], Any]:
    """The learning rate by step: 1e-3, a tenth of it after half of the epochs, and a tenth of that after three quarters."""
    return optax.piecewise_constant_schedule(1e-3, {steps * (epochs * part // 4): 0.1 for part in (2, 3)})


FITS: Mapping[str, Fit] = {"standard": fit_standard, "resnet18": fit_resnet18}


def _store(file: Path, answers: Answers) -> None:
    with write_whole(file) as stream:
        np.savez(stream, **answers)


def _read_folds(files: Sequence[Path], splits: Sequence[Split]) -> Answers:
    """The answers to all images, in their order."""
    folds = []
    for file in files:
        with np.load(file, allow_pickle=False) as stored:
            folds.append(dict(stored))
    order = np.argsort(np.concatenate([split.test for split in splits]))
    return {system: np.concatenate([fold[system] for fold in folds])[order] for system in folds[0]}


def report(dataset: Dataset, answers: Mapping[str, Mapping[int, Probabilities]]) -> dict[str, Any]:
    """Print and return the scores of each system, pooled over the folds, and what `standard` has more than the others."""
    print(f"{dataset.name}, {len(dataset.labels)} images of train and val, {NUM_FOLDS} folds")
    means, differences = {}, {}
    for system, by_seed in answers.items():
        rows = []
        for probabilities in by_seed.values():
            scores = medjax.score(_predictions(dataset, probabilities), groups=dataset.groups)
            rows.append({**scores.to_json(), "accuracy_ci95": getattr(scores, scores.leading_ci95)})
        of_seeds = [
            {"seed": seed, **{name: row[name] for name in SHOWN}}
            for seed, row in zip(by_seed, rows, strict=True)
        ]
        means[system] = {"seeds": of_seeds, **summarize_seeds(rows)}
        print(f"  {system:26}{mean_line(means[system])}; seeds {list(by_seed)}")
    for system, by_seed in answers.items():
        seeds = sorted(set(by_seed) & set(answers.get("standard", ())))
        if system == "standard" or not seeds:
            continue
        found = compare(
            dataset, [answers["standard"][seed] for seed in seeds], [by_seed[seed] for seed in seeds]
        )
        differences[system] = {"seeds": seeds, **found}
        parts = [
            f"{name} {found[name]:+.3f} ({_interval(found[f'{name}_ci95'], '+')})"
            for name in ("accuracy", "auc")
        ]
        print(f"  standard less {system}, seeds {seeds}: {', '.join(parts)}")
    return {"systems": means, "standard_less": differences}


def compare(
    dataset: Dataset, first: Sequence[Probabilities], second: Sequence[Probabilities]
) -> dict[str, Any]:
    """Accuracy and AUC of the first system less those of the second, each with its answers under the same seeds.

    With 95 % intervals for other images, in pairs, as `medjax compare`. The AUC is the mean over the seeds. An image, or a
    group of identical ones, counts once, with its answers under all seeds.
    """
    names = np.arange(len(dataset.labels)) if dataset.groups is None else dataset.groups
    units = np.unique(names, return_inverse=True)[1]
    is_single = len(first) == 1 and dataset.groups is None
    correct = [
        np.concatenate([each.argmax(axis=1) == dataset.labels for each in one]) for one in (first, second)
    ]
    accuracy = compare_accuracies(*correct, None if is_single else np.tile(units, len(first)))
    area = compare_areas(_area(dataset, first), _area(dataset, second), units)
    return {
        "accuracy": accuracy["difference"],
        "accuracy_ci95": accuracy["ci95"],
        "auc": area["difference"],
        "auc_ci95": area["ci95"],
    }


def _area(dataset: Dataset, answers: Sequence[Probabilities]) -> Area:
    """The mean area over the seeds and the classes."""
    areas = [
        class_area(dataset.labels == label, each[:, label])
        for each in answers
        for label in range(dataset.num_classes)
    ]
    found = mean_area(areas)
    assert found is not None, "a class of MedMNIST has no image"
    return found


def _predictions(dataset: Dataset, probabilities: Probabilities) -> Predictions:
    """Predictions of all images in their order."""
    indices = np.arange(len(dataset.labels))
    # A network that is sure of the wrong class has rounded this to 0.
    of_label = np.maximum(probabilities[indices, dataset.labels], np.finfo(np.float32).tiny)
    return Predictions(indices, dataset.labels, probabilities, -np.log(of_label), dataset.class_names)


def mean_line(mean: Mapping[str, Any]) -> str:
    """The means over the seeds, their spread, and the mean bounds of the seeds' own intervals."""
    parts = []
    for name, words in (("accuracy", "accuracy"), ("auc", "AUC")):
        spread = "" if mean[f"{name}_sd"] is None else f" ± {mean[f'{name}_sd']:.3f}"
        parts.append(f"{words} {mean[name]:.3f}{spread} ({_interval(mean[f'{name}_ci95'])})")
    return ", ".join(parts)


def _interval(bounds: Sequence[float] | None, sign: Literal["", "+"] = "") -> str:
    if bounds is None:  # withheld for too few errors, as on a small test part
        return "no interval"
    return f"95 % interval {bounds[0]:{sign}.3f} to {bounds[1]:{sign}.3f}"
