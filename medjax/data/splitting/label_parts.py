"""Iterative stratification: assign images of several labels to parts, so that each gets its share of each label.

The rarest label among the images that are left comes first, and each image that has it goes to the part that lacks most of
it. Images in groups go together, the largest groups first.

Reference: Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", 2011,
https://doi.org/10.1007/978-3-642-23808-6_10.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int

from medjax.errors import Problem, RefusedError, counted
from medjax.records import LabelMatrix

Assignment = Int[np.ndarray, "n"]


def assign_by_labels(
    labels: LabelMatrix,
    groups: Int[np.ndarray, "n"] | None,
    shares: Float64[np.ndarray, "part"],
    generator: np.random.Generator,
) -> Assignment:
    """The part of each image; `shares` sum to 1, and `groups` numbers the group of each image from 0.

    Where a label has no more groups (or images) left than parts that lack it, each goes to such a part.
    """
    numbers = np.arange(len(labels)) if groups is None else groups
    sizes = np.bincount(numbers)
    counts = np.zeros((len(sizes), labels.shape[1]), np.int64)
    np.add.at(counts, numbers, labels == 1)
    return _assign_units(counts, sizes, shares, generator)[numbers]


def _assign_units(
    counts: Int[np.ndarray, "unit label"],
    sizes: Int[np.ndarray, "unit"],
    shares: Float64[np.ndarray, "part"],
    generator: np.random.Generator,
) -> Int[np.ndarray, "unit"]:
    """The part of each unit, which holds `counts` images with each label, and `sizes` images."""
    wanted = shares[:, None] * counts.sum(axis=0)  # of each part still, by label
    wanted_images = shares * sizes.sum()
    lacks = np.ones(wanted.shape, bool)
    parts = np.full(len(sizes), -1)
    order = generator.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    # Of each label the units that are left, and how many images in them have it.
    units_left, images_left = (counts > 0).sum(axis=0), counts.sum(axis=0)

    def place(unit: int, label: int | None) -> None:
        candidates = np.arange(len(shares))
        if label is not None and units_left[label] <= lacks[:, label].sum():
            candidates = np.flatnonzero(lacks[:, label])
        by_label = np.zeros(len(shares)) if label is None else wanted[:, label]
        # Rounded, so that equals are equal.
        least_filled = (-wanted_images[candidates]).round(6), (-by_label[candidates]).round(6)
        part = candidates[np.lexsort((generator.random(len(candidates)), *least_filled))[0]]
        parts[unit] = part
        wanted[part] -= counts[unit]
        wanted_images[part] -= sizes[unit]
        lacks[part] &= counts[unit] == 0
        units_left[:] -= counts[unit] > 0
        images_left[:] -= counts[unit]

    while units_left.any():
        label = int(np.argmin(np.where(units_left > 0, images_left, images_left.max() + 1)))
        for unit in order[(counts[order, label] > 0) & (parts[order] < 0)].tolist():
            place(unit, label)
    for unit in order[parts[order] < 0].tolist():
        place(unit, None)
    return parts


def require_enough_labels(
    labels: LabelMatrix,
    groups: Int[np.ndarray, "n"] | None,
    needed: int,
    unit: str,
    names: Sequence[str],
) -> None:
    """Raise RefusedError for every label that fewer than `needed` images or groups have; `unit` is "parts" or "folds"."""
    thing = "image" if groups is None else "group"
    problems = []
    for label, has in enumerate((labels == 1).T):
        count = int(has.sum()) if groups is None else len(np.unique(groups[has]))
        if count < needed:
            verb = "has" if count == 1 else "have"
            reason = f"{counted(count, thing)} {verb} it, which cannot be split into {needed} {unit}"
            remedy = f"each label needs at least {needed}: leave it out"
            problems.append(Problem(f"label {names[label] if names else label}", reason, remedy))
    if problems:
        raise RefusedError(problems)
