"""Words for what a job does with its data."""

import re

from medjax.config import CrossvalConfig
from medjax.jobs.from_config import Config
from medjax.records import Dataset

_KEPT = {"user": "groups", "exact": "identical images", "near": "nearly identical images"}


def file_name(name: str) -> str:
    """`name` with what a file system may not take replaced."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "data"


def describe_parts(config: Config, dataset: Dataset) -> str:
    """How the images are parted."""
    groups = "" if dataset.groups is None else f", {_grouped(dataset)} kept together"
    if isinstance(config, CrossvalConfig):
        return _describe_folds(config, dataset, groups)
    if dataset.split is None:
        return f"random, stratified by class{groups}"
    if (dataset.split == "val").any():
        return "as the source fixes them"
    return f"train and test as the source fixes them, val drawn from train{groups}"


def describe_level(dataset: Dataset, num_crossing: int, threshold: float) -> tuple[str, str]:
    """The level at which parts are disjoint, "group" or "image", and what to know of it in words.

    `num_crossing` groups lie in more than one part that the source fixes; `threshold` (grey levels) is that of
    nearly identical images.
    """
    level = "group" if "user" in dataset.grouped_by and num_crossing == 0 else "image"
    if level == "group":
        sentences = ["Group level: no group of the groups file lies in two parts."]
    elif "user" in dataset.grouped_by:
        sentences = [
            f"Image level: the source fixes its parts, and {num_crossing:,} groups lie in more than one."
        ]
    else:
        sentences = ["Image level; no patient identifiers: images of one patient may lie in several parts."]
    where = "" if dataset.split is None else " where parts are drawn"
    if "exact" in dataset.grouped_by:
        sentences.append(f"Identical images are kept together{where}.")
    if "near" in dataset.grouped_by:
        linked = f"those of a class that pairs at most {threshold:g} grey levels apart link"
        sentences.append(f"Identical images, and {linked}, are kept together{where}.")
    return level, " ".join(sentences)


def _grouped(dataset: Dataset) -> str:
    """What is kept together, in words."""
    return " and ".join(_KEPT[source] for source in dataset.grouped_by)


def _describe_folds(config: CrossvalConfig, dataset: Dataset, groups: str) -> str:
    repeats = f", {config.repeats} times over" if config.repeats > 1 else ""
    folds = f"{config.folds} folds{repeats}, stratified by class{groups}"
    if dataset.split is None:
        return folds
    parts = [part for part in ("train", "val", "test") if (dataset.split == part).any()]
    if config.keep_test:
        return f"{folds}; the source's test images left out of all folds and scored apart"
    return f"{folds}; the source's parts ({', '.join(parts)}) pooled"
