"""How much of what a model is scored on it has seen in training: identical images, and nearly identical ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from medjax.data.splitting.duplicates import exact_groups
from medjax.data.splitting.near_pairs import near_pairs
from medjax.records import Dataset, Split

Masks = Bool[np.ndarray, "split n"]
Scored = Sequence[Int[np.ndarray, "_"]]  # indices of the images that are scored, of each split


def describe_leakage(dataset: Dataset, splits: Sequence[Split], threshold: float | None) -> dict[str, Any]:
    """For test, and val where there is one: how many images have a twin among the train images of their split.

    Of each part, over all splits together and by class: `n` images, `exact` of them with an identical image in
    train, whatever its label, and `near` of them with that or with one of their own class at most `threshold` grey
    levels away (see `neighbours`). Without a threshold nobody looks for the latter, and `near` is None.
    """
    has_twin = _with_twin(dataset, splits)
    has_near = None if threshold is None else has_twin | _with_near(dataset, splits, threshold)
    parts = {}
    for part in ("test", "val"):
        scored = [getattr(split, part) for split in splits]
        if any(map(len, scored)):
            parts[part] = _count(dataset, scored, has_twin, has_near)
    return {"threshold": threshold, **parts}


def groups_across_parts(dataset: Dataset) -> dict[str, list[str]]:
    """The groups that lie in more than one of the parts which the source fixes, by name, each with those parts."""
    if dataset.groups is None or dataset.split is None:
        return {}
    pairs = np.unique(np.stack([dataset.groups.astype(str), dataset.split.astype(str)], axis=1), axis=0)
    names, counts = np.unique(pairs[:, 0], return_counts=True)
    crossing = pairs[np.isin(pairs[:, 0], names[counts > 1])]
    parts: dict[str, list[str]] = {}
    for name, part in crossing.tolist():
        parts.setdefault(name, []).append(part)
    return parts


def _with_twin(dataset: Dataset, splits: Sequence[Split]) -> Masks:
    """Which images are identical to a train image of each split; train images themselves are."""
    groups = exact_groups(dataset.digests)
    is_trained = np.zeros((len(splits), len(groups)), bool)
    for trained, split in zip(is_trained, splits, strict=True):
        trained[groups[split.train]] = True
    return is_trained[:, groups]


def _with_near(dataset: Dataset, splits: Sequence[Split], threshold: float) -> Masks:
    """Which images have a near-twin among the train images of each split."""
    is_train, has_near = np.zeros((2, len(splits), len(dataset.labels)), bool)
    for trained, split in zip(is_train, splits, strict=True):
        trained[split.train] = True
    for first, second in near_pairs(dataset.images, dataset.labels, threshold):
        for one, other in ((first, second), (second, first)):
            fold, pair = np.nonzero(is_train[:, other])
            has_near[fold, one[pair]] = True
    return has_near


def _count(dataset: Dataset, scored: Scored, has_twin: Masks, has_near: Masks | None) -> dict[str, Any]:
    """Numbers of images over all splits, and by class."""
    labels = np.concatenate([dataset.labels[indices] for indices in scored])
    columns = {"n": np.ones(len(labels), bool)}
    for name, masks in (("exact", has_twin), ("near", has_near)):
        if masks is not None:
            chosen = [mask[indices] for mask, indices in zip(masks, scored, strict=True)]
            columns[name] = np.concatenate(chosen)
    totals = {name: int(values.sum()) for name, values in columns.items()}
    by_class = {
        class_name: {name: int(values[labels == label].sum()) for name, values in columns.items()}
        for label, class_name in enumerate(dataset.class_names)
    }
    if has_near is None:
        for block in (totals, *by_class.values()):
            block["near"] = None  # type: ignore[assignment]
    return {**totals, "by_class": by_class}
