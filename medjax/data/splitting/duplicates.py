"""Images that are there more than once: identical ones, nearly identical ones, and the groups that they make.

Identical are images whose decoded pixels are the same at full size, whatever the bytes of their files. Nearly
identical are images of one class within a threshold of each other (see `neighbours`), and all that a chain of
such pairs links (single link), so that no such pair is parted; identical ones are among them, whatever their
class. The price is that a chain may link images which are not alike at all: `describe_near` looks for that.
"""

from typing import Any, Literal

import numpy as np
from jaxtyping import Int, UInt8

from medjax.data.decoding.collect import conflicting
from medjax.data.splitting.apportion import number_groups
from medjax.data.splitting.near_pairs import Pairs, near_pairs
from medjax.records import Dataset, Images, Indices, Names

Kind = Literal["none", "exact", "near"]
Groups = Int[np.ndarray, "n"]
"""For each image the first one of its group: itself, where it is alone."""

LARGE_SPAN = 4.0
"""A group that spans more than this many thresholds is a chain."""
LARGE_SHARE = 0.05
"""So is one that holds more than this share of its class."""
_PAIRS_A_JOIN = 2**20
_SIZES = {"2": 2, "3-5": 5, "6-20": 20, "21-100": 100, "over 100": np.inf}


def exact_groups(digests: UInt8[np.ndarray, "n 32"]) -> Groups:
    """Groups of images with the same digest."""
    return _first_of_each(np.ascontiguousarray(digests).view("V32")[:, 0])


def near_groups(dataset: Dataset, threshold: float) -> Groups:
    """Groups of images that pairs at most `threshold` grey levels apart link, and identical ones."""
    groups = exact_groups(dataset.digests)
    waiting: list[Pairs] = []
    count = 0
    for pairs in near_pairs(dataset.images, dataset.labels, threshold):
        waiting.append(pairs)
        count += len(pairs[0])
        # A class of nearly equal images has as many pairs as their number squared: never keep them all.
        if count > _PAIRS_A_JOIN:
            groups, waiting, count = _joined(groups, waiting), [], 0
    return _joined(groups, waiting)


def merge_groups(first: Names, second: Names) -> Names:
    """The finest groups that keep together what `first` or `second` does: patients and duplicates, say.

    They take the name that `first` gives their first image. An image without a group raises RefusedError.
    """
    merged = _joined(
        _first_of_each(number_groups(first)),
        [(np.arange(len(second)), _first_of_each(number_groups(second)))],
    )
    return first[merged]


def group_duplicates(dataset: Dataset, kind: Kind, threshold: float) -> Dataset:
    """The data set with its duplicates of a kind kept together, in union with the groups that it has.

    Where there are none it is returned as it is. A group of duplicates is named after its first image.
    """
    if kind == "none":
        return dataset
    found = exact_groups(dataset.digests) if kind == "exact" else near_groups(dataset, threshold)
    if (found == np.arange(len(found))).all():
        return dataset
    names = dataset.ids[found]
    groups = names if dataset.groups is None else merge_groups(dataset.groups, names)
    return dataset._replace(groups=groups, grouped_by=(*dataset.grouped_by, kind))


def describe_exact(dataset: Dataset) -> dict[str, int]:
    """Identical images in numbers.

    `redundant` images would go if one of each were kept; `groups` are those of two or more; `conflicting` are the
    images of groups that span classes.
    """
    sizes = _sizes(exact_groups(dataset.digests))
    return {
        "redundant": int((sizes - 1).sum()),
        "groups": int((sizes > 1).sum()),
        "conflicting": sum(map(len, list_conflicts(dataset))),
    }


def redundant_by_class(dataset: Dataset) -> dict[str, int]:
    """How many images of each class would go if one of each identical ones of the class were kept."""
    groups = exact_groups(dataset.digests)
    return {
        name: int((_sizes(groups[dataset.labels == label]) - 1).sum())
        for label, name in enumerate(dataset.class_names)
    }


def list_conflicts(dataset: Dataset) -> list[list[str]]:
    """Ids of identical images that stand under different labels, a list for each group of them."""
    return [dataset.ids[members].tolist() for members in conflicting(dataset.digests, dataset.labels)]


def describe_near(dataset: Dataset, groups: Groups, threshold: float) -> dict[str, Any]:
    """The near-duplicate `groups` in numbers, over all and by class.

    `groups` counts those of two or more, `sizes` by their number of images; `distinct` counts single images as
    well. `span` is a distance (grey levels) within the largest group of a class, at least half of the largest one
    there is; `is_chained` says that this group spans more than `LARGE_SPAN` thresholds or holds more than
    `LARGE_SHARE` of its class, so that its images need not be alike.
    """
    by_class = {
        name: _describe_class(dataset.images, groups, np.flatnonzero(dataset.labels == label), threshold)
        for label, name in enumerate(dataset.class_names)
    }
    sizes = _sizes(groups)
    bounds = [1, *_SIZES.values()]
    return {
        "threshold": threshold,
        "redundant": int((sizes - 1).sum()),
        "groups": int((sizes > 1).sum()),
        "distinct": len(sizes),
        "largest": int(sizes.max()),
        "sizes": {
            name: int(((sizes > low) & (sizes <= high)).sum())
            for name, low, high in zip(_SIZES, bounds[:-1], bounds[1:], strict=True)
        },
        "chained": [name for name, each in by_class.items() if each["is_chained"]],
        "by_class": by_class,
    }


def largest_groups(groups: Groups, count: int) -> list[Indices]:
    """The images of the `count` largest groups of two or more, the largest first."""
    firsts, sizes = np.unique(groups, return_counts=True)
    order = np.argsort(-sizes, kind="stable")[:count]
    return [np.flatnonzero(groups == firsts[each]) for each in order if sizes[each] > 1]


def _describe_class(images: Images, groups: Groups, members: Indices, threshold: float) -> dict[str, Any]:
    sizes = _sizes(groups[members])
    within = largest_groups(groups[members], 1)
    span = _span(images[members[within[0]]]) if within else 0.0
    largest = int(sizes.max(initial=0))
    return {
        "n": len(members),
        "redundant": int((sizes - 1).sum()),
        "groups": int((sizes > 1).sum()),
        "distinct": len(sizes),
        "largest": largest,
        "span": round(span, 2),
        "is_chained": bool(within)
        and (span > LARGE_SPAN * threshold > 0 or largest > max(LARGE_SHARE * len(members), 10)),
    }


def _span(images: Images) -> float:
    """The distance of the image farthest from the first to the one farthest from that, in grey levels."""
    start = images[0]
    for _ in range(2):
        difference = images.astype(np.float32) - start
        distances = (difference**2).mean(axis=(1, 2, 3)) ** 0.5
        start = images[int(distances.argmax())].astype(np.float32)
    return float(distances.max())


def _joined(groups: Groups, pairs: list[Pairs]) -> Groups:
    """`groups` with those joined that a pair links.

    Every group hooks on to the first of those that it is linked to, all at once, until none is left to hook on.
    """
    groups = groups.copy()
    one = np.concatenate([groups[:0], *(first for first, _ in pairs)])
    other = np.concatenate([groups[:0], *(second for _, second in pairs)])
    while (groups[one] != groups[other]).any():
        first, second = groups[one], groups[other]
        np.minimum.at(groups, np.maximum(first, second), np.minimum(first, second))
        while (groups[groups] != groups).any():
            groups = groups[groups]
    return groups


def _first_of_each(values: np.ndarray) -> Groups:
    """For each place the first place with the same value."""
    _, index, inverse = np.unique(values, return_index=True, return_inverse=True)
    return index[inverse]


def _sizes(groups: Groups) -> Int[np.ndarray, "group"]:
    return np.unique(groups, return_counts=True)[1]
