"""Leakage between the parts of a split: scored images with an identical or near-duplicate image in train."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from medjax.data.splitting.duplicates import exact_groups
from medjax.data.splitting.near_pairs import near_pairs
from medjax.records import Dataset, Split, has_label, label_sets

Masks = Bool[np.ndarray, "split n"]
Scored = Sequence[Int[np.ndarray, "_"]]  # indices of the scored images of each split


def describe_leakage(dataset: Dataset, splits: Sequence[Split], threshold: float | None) -> dict[str, Any]:
    """How many test and val images have a duplicate among the train images of their split.

    For each part, over all splits and by class: `n` images; `exact`, those identical to a train image of any label;
    `near`, those and the ones with a train image of their own class at most `threshold` gray levels away (see
    `near_pairs`). Without a threshold, near duplicates are not searched and `near` is None. An empty part is left out.
    """
    has_exact = _has_exact(dataset, splits)
    has_near = None if threshold is None else has_exact | _has_near(dataset, splits, threshold)
    parts = {}
    for part in ("test", "val"):
        scored = [getattr(split, part) for split in splits]
        if any(map(len, scored)):
            parts[part] = _count(dataset, scored, has_exact, has_near)
    return {"threshold": threshold, **parts}


def groups_across_parts(dataset: Dataset, *, by_folds: bool = False) -> dict[str, list[str]]:
    """The groups that lie in more than one of the source's fixed parts, or folds, and those parts, by group name."""
    fixed = dataset.folds if by_folds else dataset.split
    if dataset.groups is None or fixed is None:
        return {}
    pairs = np.unique(np.stack([dataset.groups.astype(str), fixed.astype(str)], axis=1), axis=0)
    names, counts = np.unique(pairs[:, 0], return_counts=True)
    crossing = pairs[np.isin(pairs[:, 0], names[counts > 1])]
    parts: dict[str, list[str]] = {}
    for name, part in crossing.tolist():
        parts.setdefault(name, []).append(part)
    return parts


def _has_exact(dataset: Dataset, splits: Sequence[Split]) -> Masks:
    """Whether each image is identical to, or is itself, a train image of each split."""
    groups = exact_groups(dataset.digests)
    is_trained = np.zeros((len(splits), len(groups)), bool)
    for trained, split in zip(is_trained, splits, strict=True):
        trained[groups[split.train]] = True
    return is_trained[:, groups]


def _has_near(dataset: Dataset, splits: Sequence[Split], threshold: float) -> Masks:
    """Whether each image has a near duplicate among the train images of each split."""
    is_train, has_near = np.zeros((2, len(splits), len(dataset.labels)), bool)
    for trained, split in zip(is_train, splits, strict=True):
        trained[split.train] = True
    for first, second in near_pairs(dataset.images, label_sets(dataset.labels), threshold):
        for one, other in ((first, second), (second, first)):
            split_index, pair = np.nonzero(is_train[:, other])
            has_near[split_index, one[pair]] = True
    return has_near


def _count(dataset: Dataset, scored: Scored, has_exact: Masks, has_near: Masks | None) -> dict[str, Any]:
    """Image counts over all splits, in total and by class."""
    labels = np.concatenate([dataset.labels[indices] for indices in scored])
    columns = {"n": np.ones(len(labels), bool)}
    for name, masks in (("exact", has_exact), ("near", has_near)):
        if masks is not None:
            chosen = [mask[indices] for mask, indices in zip(masks, scored, strict=True)]
            columns[name] = np.concatenate(chosen)
    totals = {name: int(values.sum()) for name, values in columns.items()}
    by_class = {
        class_name: {name: int(values[has_label(labels, label)].sum()) for name, values in columns.items()}
        for label, class_name in enumerate(dataset.class_names)
    }
    if has_near is None:
        for block in (totals, *by_class.values()):
            block["near"] = None  # type: ignore[assignment]
    return {**totals, "by_class": by_class}
