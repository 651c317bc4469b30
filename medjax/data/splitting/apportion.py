"""Assign images to parts (train, val and test, or folds): each part gets its quota of each class, groups stay whole.

Everything minimizes one measure: the chi-squared distance Σ (count - quota)² / quota over parts and classes. For
single images that is Webster's method of apportionment, which fills parts in proportion and meets whole quotas
exactly. Groups come first, the largest first, each to the part where the distance grows least; single images then
fill what is left. So no part is preferred for large or small groups, and a rare class counts as much as a common one.

Reference: Balinski and Young, "Fair Representation: Meeting the Ideal of One Man, One Vote", 2001.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from medjax.errors import Problem, RefusedError, counted, refuse
from medjax.records import AnyLabels, Labels, Names, count_labels

Assignment = Int[np.ndarray, "n"]
Quotas = Float[np.ndarray, "part class"]
Counts = Int[np.ndarray, "part class"]


def assign_parts(
    labels: Labels, groups: Int[np.ndarray, "n"] | None, quotas: Quotas, generator: np.random.Generator
) -> Assignment:
    """The part of each image; `quotas` is how many images of each class each part should get, all above 0.

    `groups` numbers the group of each image from 0 (see `number_groups`). Without groups, whole quotas are met exactly,
    and parts with equal quotas differ by at most one image in each class and in total.
    """
    parts = np.full(len(labels), -1)
    counts = np.zeros(quotas.shape, np.int64)
    if groups is not None:
        groups_left = _count_groups(labels, groups, quotas.shape[1])
        for members in _large_groups(groups, generator):
            composition = np.bincount(labels[members], minlength=quotas.shape[1])
            growth = (composition * (2 * counts + composition) / quotas).sum(axis=1)
            # If a class has no more groups left than parts that lack it, each group must go to such a part.
            lacking = (counts == 0) & (composition > 0)
            urgent = lacking[:, groups_left <= (counts == 0).sum(axis=0)].sum(axis=1)
            part = np.lexsort((_surplus(counts, quotas), growth, -urgent))[0]
            parts[members] = part
            counts[part] += composition
            groups_left -= composition > 0
    for label in range(quotas.shape[1]):
        singles = generator.permutation(np.flatnonzero((labels == label) & (parts < 0)))
        # Only of the classes up to this one: the later ones will be filled up as well.
        surplus = _surplus(counts[:, :label], quotas[:, :label])
        taken = _fill(counts[:, label], quotas[:, label], len(singles), surplus, generator)
        parts[singles] = np.repeat(np.arange(len(taken)), taken)
        counts[:, label] += taken
    return parts


def number_groups(groups: Names) -> Int[np.ndarray, "n"]:
    """Groups as numbers from 0, in the order of their first images; equal values are one group.

    Raises RefusedError if an image has none: an empty string, None or NaN.
    """
    values = groups.tolist()
    missing = [index for index, value in enumerate(values) if value is None or value == "" or value != value]
    if missing:
        raise refuse(
            "groups",
            f"{len(missing)} of {counted(len(values), 'image')} {'has' if len(missing) == 1 else 'have'} none, the first is image {missing[0]}",
            "give every image a group; an image that is alone has one of its own",
        )
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def require_enough(
    labels: Labels, groups: Int[np.ndarray, "n"] | None, needed: int, unit: str, class_names: Sequence[str]
) -> None:
    """Raise RefusedError for every class with fewer than `needed` images or groups; `unit` is "parts" or "folds"."""
    counts = np.bincount(labels, minlength=len(class_names))
    if groups is not None:
        counts = _count_groups(labels, groups, len(counts))
    thing = "image" if groups is None else "group"
    small = np.flatnonzero(counts < needed)
    if len(small):
        raise RefusedError(
            Problem(
                f"class {class_names[label] if class_names else label}",
                f"{counted(int(counts[label]), thing)} cannot be split into {needed} {unit}",
                f"each class needs at least {needed}",
            )
            for label in small.tolist()
        )


def require_everywhere(
    labels: AnyLabels, parts: Assignment, num_parts: int, unit: str, class_names: Sequence[str]
) -> None:
    """Raise RefusedError for every class or label that a part lacks, which groups that span several can cause."""
    num_classes = int(labels.max()) + 1 if labels.ndim == 1 else labels.shape[1]
    counts = np.stack([count_labels(labels[parts == part], num_classes) for part in range(num_parts)])
    kind = "class" if labels.ndim == 1 else "label"
    lacking = np.flatnonzero((counts == 0).any(axis=0))
    if len(lacking):
        raise RefusedError(
            Problem(
                f"{kind} {class_names[label] if class_names else label}",
                f"its {'groups' if kind == 'class' else 'images'} could not be spread over {num_parts} {unit}",
                f"try another seed, or fewer {unit}",
            )
            for label in lacking.tolist()
        )


def _count_groups(labels: Labels, groups: Int[np.ndarray, "n"], num_classes: int) -> Int[np.ndarray, "class"]:
    """How many groups contain images of each class."""
    pairs = np.unique(groups * num_classes + labels)
    return np.bincount(pairs % max(num_classes, 1), minlength=num_classes)


def _large_groups(groups: Int[np.ndarray, "n"], generator: np.random.Generator) -> list[np.ndarray]:
    """The images of each group of two or more, the largest group first, in random order among equals."""
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    starts = np.cumsum(sizes) - sizes
    large = generator.permutation(np.flatnonzero(sizes > 1))
    large = large[np.argsort(-sizes[large], kind="stable")]
    return [order[starts[group] : starts[group] + sizes[group]] for group in large]


def _surplus(counts: Counts, quotas: Quotas) -> Float[np.ndarray, "part"]:
    """How many images each part has beyond its quotas; among equally good parts the one with the least is taken."""
    return (counts.sum(axis=1) - quotas.sum(axis=1)).round(6)


def _fill(
    counts: Int[np.ndarray, "part"],
    quotas: Float[np.ndarray, "part"],
    num_singles: int,
    surplus: Float[np.ndarray, "part"],
    generator: np.random.Generator,
) -> Int[np.ndarray, "part"]:
    """How many of the single images of one class each part gets on top of its `counts`.

    The i-th image of a part makes the distance grow by (2 i - 1) / quota, so the `num_singles` cheapest are taken, but
    the first image of an empty part before all others. Beyond the next whole number over its quota, an image of a
    part is never cheaper than one that another part still lacks.
    """
    lengths = np.maximum(np.ceil(quotas).astype(np.int64) + 1 - counts, 0)
    part = np.repeat(np.arange(len(counts)), lengths)
    numbers = np.arange(len(part)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + counts[part]
    growth = np.where(numbers == 0, 0, (2 * numbers + 1) / quotas[part])
    tie_breaks = generator.permutation(len(counts))
    cheapest = np.lexsort((tie_breaks[part], surplus[part], growth))[:num_singles]
    return np.bincount(part[cheapest], minlength=len(counts))
