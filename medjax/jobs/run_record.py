"""The record of a run, run.json: what was trained, on which images, in which environment. All of it is made here."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medjax.config import CrossvalConfig
from medjax.data.load import fingerprint
from medjax.data.splitting import leakage
from medjax.errors import counted
from medjax.jobs.datasets import describe_loading
from medjax.jobs.from_config import (
    Config,
    conformal_parts,
    folds_of,
    is_built_in,
    kept_test,
    training_of,
    with_absolute_paths,
)
from medjax.jobs.outside_range import describe_ranges
from medjax.models.network import Network
from medjax.models.summary import summarize_network
from medjax.records import Dataset, Indices, Split, count_labels, kept_together
from medjax.training.strategies import StrategyName, count_cores
from medjax.training.strategy_choice import choose_strategy, is_small_for_gpu
from medjax.training.threads import count_threads

GROUPS_NAMED = 20
"""Groups in more than one official part that are named; all are counted."""
_VERSIONS = ("medjax", "jax", "jaxlib", "flax", "optax", "numpy", "pillow", "orbax-checkpoint")


def describe_run(
    config: Config,
    command: str,
    source: str | Path | None,
    dataset: Dataset,
    splits: Sequence[Split],
    network: Network,
    *,
    is_own_network: bool,
) -> dict[str, Any]:
    """run.json as it stands before training, as JSON values.

    `source` is where the data were read, None for a data set given in Python; `is_own_network` says that the network was
    given in Python.
    """
    training = training_of(config)
    environment = describe_environment()
    if isinstance(config, CrossvalConfig):
        strategy = _strategy_of(config, network, dataset)
        indices = {"images": np.sort(np.concatenate([split.test for split in splits[: config.folds]]))}
    else:
        strategy, indices = "loop", splits[0]._asdict()
        if config.conformal_share:
            indices["conformal"] = conformal_parts(config, dataset)[0]
    return {
        "medjax": environment["versions"]["medjax"],
        "job": job_name(config),
        "command": command,
        "status": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": as_json(with_absolute_paths(config)),
        "seed": training.seed,
        "strategy": strategy,
        "resumptions": [],
        "class_names": list(dataset.class_names),
        **({"several_labels": True} if dataset.has_several_labels else {}),
        "data": {
            **describe_data(source, dataset, describe_parts(config, dataset), indices),
            "ranges": describe_ranges(dataset, trained_images(config, splits)),
        },
        "model": describe_network(config, network, dataset.images.shape[1:], is_own=is_own_network),
        **environment,
    }


def _strategy_of(config: CrossvalConfig, network: Network, dataset: Dataset) -> StrategyName:
    """How the folds are trained; on a GPU `auto` goes by the network and its batches."""
    if config.fold_strategy != "auto":
        return config.fold_strategy
    num_folds = len(folds_of(config))
    is_small = is_small_for_gpu(network, dataset.images.shape[1:], config.training.batch_size, num_folds)
    return choose_strategy(num_folds, is_small=is_small)


def trained_images(config: Config, splits: Sequence[Split]) -> Indices:
    """The images that any fold is trained on."""
    return np.unique(np.concatenate([splits[fold].train for fold in folds_of(config)]))


def job_name(config: Config) -> str:
    """The command that runs a configuration: "train" or "crossval"."""
    return "crossval" if isinstance(config, CrossvalConfig) else "train"


def as_json(config: Config) -> dict[str, Any]:
    """A configuration as run.json holds it."""
    return json.loads(json.dumps(asdict(config)))


def describe_network(
    config: Config, network: Network, image_shape: tuple[int, ...], *, is_own: bool
) -> dict[str, Any]:
    """The block `model`: name, settings and layers of a network, and where it comes from.

    `source` is "medjax" for a network of medjax, "import" for one that --model names, "python" for one that was given to
    `medjax.train`. Only the first is ever made again because run.json says so.
    """
    training = training_of(config)
    source = "python" if is_own else "medjax" if is_built_in(training) else "import"
    layers = summarize_network(network, image_shape)
    return {
        "name": training.model if source == "medjax" else network.name,
        "source": source,
        "settings": json.loads(json.dumps(network.settings)),
        "parameters": sum(layer.parameters for layer in layers),
        "layers": [layer._asdict() for layer in layers],
    }


def describe_data(
    source: str | Path | None, dataset: Dataset, parts: str, indices: Mapping[str, Indices]
) -> dict[str, Any]:
    """The block `data`: where the images lie, what identifies them, and how many of each class, or label, each part has.

    `parts` says in words how they were divided, `indices` gives the images of each part. `path` is None for a data set
    given in Python.
    """
    path = str(source) if source is None or dataset.is_synthetic else str(Path(source).absolute())
    return {
        "name": dataset.name,
        "path": None if source is None else path,
        "fingerprint": fingerprint(dataset),
        "n": len(dataset.labels),
        "is_synthetic": dataset.is_synthetic,
        "parts": parts,
        "groups": describe_groups(dataset),
        "counts": {
            part: dict(zip(dataset.class_names, _count_classes(dataset, chosen), strict=True))
            for part, chosen in indices.items()
        },
        # Where an image may have several labels, their numbers do not add up to that of the images.
        **(
            {"images": {part: len(chosen) for part, chosen in indices.items()}}
            if dataset.has_several_labels
            else {}
        ),
        **describe_loading(dataset),
    }


def _count_classes(dataset: Dataset, indices: Indices) -> list[int]:
    return count_labels(dataset.labels[indices], len(dataset.class_names)).tolist()


def describe_groups(dataset: Dataset) -> dict[str, Any] | None:
    """What made the groups, how many there are, and the sha256 of the group of each image in order; None without groups."""
    if dataset.groups is None:
        return None
    text = "\0".join(dataset.groups).encode("utf-8", "surrogatepass")
    return {
        "sources": list(dataset.grouped_by),
        "n": len(np.unique(dataset.groups)),
        "fingerprint": hashlib.sha256(text).hexdigest(),
    }


def describe_parts(config: Config, dataset: Dataset) -> str:
    """How the images are divided into parts or folds, in words."""
    share = training_of(config).conformal_share
    kept = f"; {100 * share:g} % of the training images kept for prediction sets" if share else ""
    return _describe_division(config, dataset) + kept


def _describe_division(config: Config, dataset: Dataset) -> str:
    groups = "" if dataset.groups is None else f", {kept_together(dataset.grouped_by)} kept together"
    if isinstance(config, CrossvalConfig):
        return _describe_folds(config, dataset, groups)
    if dataset.split is None:
        return f"random, stratified by {_stratified_by(dataset)}{groups}"
    if config.data.val_as_test:
        return (
            f"the source's official train part, its val part as the test part, val drawn from train{groups}"
        )
    given = [part for part in Split._fields if (dataset.split == part).any()]
    missing = [part for part in Split._fields if part not in given]
    if not missing:
        return "the source's official parts"
    drawn = f"{' and '.join(missing)} drawn from train{groups}"
    return f"the source's official {' and '.join(given)} part{'s' * (len(given) > 1)}, {drawn}"


def _stratified_by(dataset: Dataset) -> str:
    return "label" if dataset.has_several_labels else "class"


def _describe_folds(config: CrossvalConfig, dataset: Dataset, groups: str) -> str:
    if dataset.folds is not None:
        return f"{config.folds} folds that the table of labels fixes"
    repeats = f", {config.repeats} times over" if config.repeats > 1 else ""
    folds = f"{config.folds} folds{repeats}, stratified by {_stratified_by(dataset)}{groups}"
    if dataset.split is None:
        return folds
    parts = [part for part in Split._fields if (dataset.split == part).any()]
    if config.keep_test:
        part = "val" if config.training.data.val_as_test else "test"
        return f"{folds}; the source's {part} images left out of all folds and scored apart"
    return f"{folds}; the source's parts ({', '.join(parts)}) pooled"


def describe_leakage(config: Config, dataset: Dataset, splits: Sequence[Split]) -> dict[str, Any]:
    """The block `data.leakage`: at which level parts are disjoint, and how many scored images have copies in train.

    Keys: `level` ("group" where no given group lies in two parts, else "image") and `statement`, the same in words;
    `groups_across_parts`, how many groups lie in more than one official part, and the first of them by name;
    `threshold`, `test` and `val` of `leakage.describe_leakage`, over all folds that are trained; of kept test images the
    same as `official_test`.
    """
    threshold = training_of(config).data.near_threshold
    found = leakage.describe_leakage(dataset, [splits[fold] for fold in folds_of(config)], threshold)
    keeps_test = isinstance(config, CrossvalConfig) and config.keep_test
    if isinstance(config, CrossvalConfig) and config.keep_test:
        test = kept_test(config, dataset)
        others = np.setdiff1d(np.arange(len(dataset.labels)), test)
        apart = [Split(others, others[:0], test)]
        found["official_test"] = leakage.describe_leakage(dataset, apart, threshold)["test"]
    is_pooled = isinstance(config, CrossvalConfig) and not keeps_test
    by_folds = is_pooled and dataset.folds is not None
    crossing = {} if is_pooled and not by_folds else leakage.groups_across_parts(dataset, by_folds=by_folds)
    level, statement = describe_level(dataset, len(crossing), threshold, are_folds_fixed=by_folds)
    across = {"n": len(crossing), "named": dict(list(crossing.items())[:GROUPS_NAMED])}
    return {"level": level, "statement": statement, "groups_across_parts": across, **found}


def describe_level(
    dataset: Dataset, num_crossing: int, threshold: float, *, are_folds_fixed: bool = False
) -> tuple[str, str]:
    """The level at which parts are disjoint, "group" or "image", and the same in words.

    `num_crossing` groups lie in more than one official part, or fixed fold; `threshold` (gray levels) is that of nearly
    identical images.
    """
    level = "group" if "user" in dataset.grouped_by and num_crossing == 0 else "image"
    if level == "group":
        sentences = ["Group level: no given group lies in two parts."]
    elif "user" in dataset.grouped_by:
        sentences = [
            f"Image level: the parts are official, and {counted(num_crossing, 'group')} "
            f"lie{'s' if num_crossing == 1 else ''} in more than one."
        ]
    else:
        sentences = ["Image level; no patient identifiers: images of one patient may lie in several parts."]
    where = "" if dataset.split is None and not are_folds_fixed else " where parts are drawn"
    if "frames" in dataset.grouped_by:
        sentences.append("Frames of a file are kept together.")
    if "exact" in dataset.grouped_by:
        sentences.append(f"Identical images are kept together{where}.")
    if "near" in dataset.grouped_by:
        linked = f"those of a class that pairs at most {threshold:g} gray levels apart link"
        sentences.append(f"Identical images, and {linked}, are kept together{where}.")
    return level, " ".join(sentences)


def describe_environment() -> dict[str, Any]:
    """Versions and machine: what the last bits of a result depend on beside the seed."""
    device = jax.devices()[0]
    devices = f"{jax.device_count()} × {device.platform}" if jax.device_count() > 1 else device.platform
    return {
        "versions": describe_versions(),
        "machine": {
            "platform": f"{platform.system()} {platform.machine()}",
            "processor": _processor_name(),
            "device": f"{devices} ({device.device_kind})",
            "cores": count_cores(),
            "threads": count_threads(),
        },
    }


def describe_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a result depends on."""
    return {"python": platform.python_version(), **{name: _version_of(name) for name in _VERSIONS}}


def _version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # medjax itself, where it runs from its source
        return "not installed"


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
