"""Images into parts, close to what each part should hold of each class, groups of images whole.

One measure decides everything: the chi-squared distance Σ (held - quota)² / quota over parts and classes. For
single images it is Webster's method of apportionment, which fills parts in proportion and meets whole quotas
exactly. Groups go first, largest first, each to the part where the distance grows least; single images fill
up what is left. So no part is handed the large groups or the small ones by preference, and a rare class
counts as much as a common one.

Reference: Balinski and Young, "Fair Representation: Meeting the Ideal of One Man, One Vote", 2001.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from medjax.errors import Problem, RefusedError, refuse
from medjax.records import Labels, Names

Placement = Int[np.ndarray, "n"]
Quotas = Float[np.ndarray, "part class"]
Held = Int[np.ndarray, "part class"]


def place(
    labels: Labels, groups: Int[np.ndarray, "n"] | None, quotas: Quotas, generator: np.random.Generator
) -> Placement:
    """The part of each image; `quotas` is how many of each class each part should hold, all above 0.

    `groups` numbers the group of each image from 0 (see `number_groups`). Without groups, whole quotas are
    met exactly, and parts of equal quotas differ by at most one image in each class and in all.
    """
    parts = np.full(len(labels), -1)
    held = np.zeros(quotas.shape, np.int64)
    if groups is not None:
        waiting = _count_groups(labels, groups, quotas.shape[1])
        for members in _large_groups(groups, generator):
            composition = np.bincount(labels[members], minlength=quotas.shape[1])
            growth = (composition * (2 * held + composition) / quotas).sum(axis=1)
            # Of a class that has no more groups than parts without it, each must go to such a part.
            lacking = (held == 0) & (composition > 0)
            urgent = lacking[:, waiting <= (held == 0).sum(axis=0)].sum(axis=1)
            part = np.lexsort((_surplus(held, quotas), growth, -urgent))[0]
            parts[members] = part
            held[part] += composition
            waiting -= composition > 0
    for label in range(quotas.shape[1]):
        singles = generator.permutation(np.flatnonzero((labels == label) & (parts < 0)))
        surplus = _surplus(held[:, :label], quotas[:, :label])  # later classes will be filled up as well
        taken = _fill(held[:, label], quotas[:, label], len(singles), surplus, generator)
        parts[singles] = np.repeat(np.arange(len(taken)), taken)
        held[:, label] += taken
    return parts


def number_groups(groups: Names) -> Int[np.ndarray, "n"]:
    """Groups as numbers from 0, in the order of their first images; equal values are one group.

    Raises RefusedError where an image has none: an empty string, None or not-a-number.
    """
    values = groups.tolist()
    missing = [index for index, value in enumerate(values) if value is None or value == "" or value != value]
    if missing:
        raise refuse(
            "groups",
            f"{len(missing)} of {len(values)} images have none, the first is image {missing[0]}",
            "give every image a group; an image that is alone has one of its own",
        )
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def require_enough(
    labels: Labels, groups: Int[np.ndarray, "n"] | None, needed: int, unit: str, class_names: Sequence[str]
) -> None:
    """Raise RefusedError for every class with fewer images, or groups, than `needed` parts, called `unit`."""
    counts = np.bincount(labels, minlength=len(class_names))
    if groups is not None:
        counts = _count_groups(labels, groups, len(counts))
    things = "images" if groups is None else "groups"
    small = np.flatnonzero(counts < needed)
    if len(small):
        raise RefusedError(
            Problem(
                f"class {class_names[label] if class_names else label}",
                f"{counts[label]} {things} cannot be split into {needed} {unit}",
                f"each class needs at least {needed}",
            )
            for label in small.tolist()
        )


def require_everywhere(
    labels: Labels, parts: Placement, num_parts: int, unit: str, class_names: Sequence[str]
) -> None:
    """Raise RefusedError for every class that a part lacks: groups that span classes can bring that about."""
    held = np.zeros((num_parts, labels.max() + 1), np.int64)
    np.add.at(held, (parts, labels), 1)
    lacking = np.flatnonzero((held == 0).any(axis=0))
    if len(lacking):
        raise RefusedError(
            Problem(
                f"class {class_names[label] if class_names else label}",
                f"its groups could not be spread over {num_parts} {unit}",
                f"try another seed, or fewer {unit}",
            )
            for label in lacking.tolist()
        )


def _count_groups(labels: Labels, groups: Int[np.ndarray, "n"], num_classes: int) -> Int[np.ndarray, "class"]:
    """How many groups hold images of each class."""
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


def _surplus(held: Held, quotas: Quotas) -> Float[np.ndarray, "part"]:
    """How many images each part has beyond its quotas: of equally good parts the emptiest is taken."""
    return (held.sum(axis=1) - quotas.sum(axis=1)).round(6)


def _fill(
    held: Int[np.ndarray, "part"],
    quotas: Float[np.ndarray, "part"],
    count: int,
    surplus: Float[np.ndarray, "part"],
    generator: np.random.Generator,
) -> Int[np.ndarray, "part"]:
    """How many of `count` single images of one class each part takes on top of the `held` ones.

    The i-th image of a part makes the distance grow by (2 i - 1) / quota, so the `count` cheapest are taken,
    but before all others the first ones of parts that have none. None beyond the next whole number over a
    quota is cheaper than what another part still lacks.
    """
    lengths = np.maximum(np.ceil(quotas).astype(np.int64) + 1 - held, 0)
    part = np.repeat(np.arange(len(held)), lengths)
    numbers = np.arange(len(part)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + held[part]
    growth = np.where(numbers == 0, 0, (2 * numbers + 1) / quotas[part])
    luck = generator.permutation(len(held))
    cheapest = np.lexsort((luck[part], surplus[part], growth))[:count]
    return np.bincount(part[cheapest], minlength=len(held))
