"""Groups of identical and nearly identical images, to be kept in one part of a split.

Identical images (exact duplicates) have the same decoded pixels at full size, whatever the bytes of their files. Near
duplicates are images of one class within a threshold of each other (see `near_pairs`). Groups are single-link clusters
of such pairs, and of identical images of any class, so no pair is ever split. The price: a chain of pairs can link
images that are not alike at all; `describe_near` looks for such chains.
"""

from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int, UInt8

from medjax.data.decoding.collect import find_conflicts
from medjax.data.splitting.apportion import number_groups
from medjax.data.splitting.near_pairs import Pairs, near_pairs
from medjax.records import Dataset, Images, Indices, Names, has_label, label_sets

Kind = Literal["none", "exact", "near"]
Groups = Int[np.ndarray, "n"]
"""For each image the index of the first image of its group; its own index if it is alone."""

LARGE_SPAN = 4.0
"""A group is called a chain if it spans more than this many thresholds …"""
LARGE_SHARE = 0.05
"""… or has more than this share of its class."""
_MAX_PAIRS = 2**20
_COMPARED_TOGETHER = 128  # images
_SIZES = {"2": 2, "3-5": 5, "6-20": 20, "21-100": 100, "over 100": np.inf}


def exact_groups(digests: UInt8[np.ndarray, "n 32"]) -> Groups:
    """Groups of images with the same digest."""
    return _first_occurrences(np.ascontiguousarray(digests).view("V32")[:, 0])


def near_groups(dataset: Dataset, threshold: float) -> Groups:
    """Groups of images linked by pairs at most `threshold` gray levels apart or identical (single link)."""
    groups = exact_groups(dataset.digests)
    waiting: list[Pairs] = []
    count = 0
    for pairs in near_pairs(dataset.images, label_sets(dataset.labels), threshold):
        waiting.append(pairs)
        count += len(pairs[0])
        # The number of pairs grows with the square of a class of nearly equal images: never keep them all.
        if count > _MAX_PAIRS:
            groups, waiting, count = _merge_linked(groups, waiting), [], 0
    return _merge_linked(groups, waiting)


def merge_groups(first: Names, second: Names) -> Names:
    """The finest groups that keep together what `first` or `second` keeps together, such as patients and duplicates.

    Each is named as `first` names its first image. An image without a group raises RefusedError.
    """
    linked = np.arange(len(second)), _first_occurrences(number_groups(second))
    return first[_merge_linked(_first_occurrences(number_groups(first)), [linked])]


def group_duplicates(dataset: Dataset, kind: Kind, threshold: float) -> Dataset:
    """The data set with its groups merged with groups of duplicates, which are named after their first image.

    A data set without duplicates is returned unchanged.
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
    """Counts of identical images.

    `redundant`: images to remove to keep one of each; `groups`: groups of two or more; `conflicting`: images in groups
    that span classes.
    """
    sizes = _sizes(exact_groups(dataset.digests))
    return {
        "redundant": int((sizes - 1).sum()),
        "groups": int((sizes > 1).sum()),
        "conflicting": sum(map(len, list_conflicts(dataset))),
    }


def redundant_by_class(dataset: Dataset) -> dict[str, int]:
    """How many images of each class to remove to keep one of each."""
    groups = exact_groups(dataset.digests)
    return {
        name: int((_sizes(groups[has_label(dataset.labels, label)]) - 1).sum())
        for label, name in enumerate(dataset.class_names)
    }


def list_conflicts(dataset: Dataset) -> list[list[str]]:
    """Ids of identical images with different labels, one list for each group."""
    conflicts = find_conflicts(dataset.digests, label_sets(dataset.labels))
    return [dataset.ids[members].tolist() for members in conflicts]


def describe_near(dataset: Dataset, groups: Groups, threshold: float) -> dict[str, Any]:
    """Counts of the near-duplicate `groups`, in total and by class.

    `groups` counts those of two or more images, `sizes` by their size; `distinct` counts single images as well. `span`
    estimates the largest distance (gray levels) within the largest group of a class, from below and at least by half.
    `is_chained`: this group spans more than `LARGE_SPAN` thresholds or has more than `LARGE_SHARE` of its class, so its
    images need not be alike.
    """
    by_class = {
        name: _describe_class(
            dataset.images, groups, np.flatnonzero(has_label(dataset.labels, label)), threshold
        )
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
    """Image indices of the `count` largest groups of two or more, the largest group first."""
    firsts, sizes = np.unique(groups, return_counts=True)
    order = np.argsort(-sizes, kind="stable")[:count]
    return [np.flatnonzero(groups == firsts[each]) for each in order if sizes[each] > 1]


def _describe_class(images: Images, groups: Groups, members: Indices, threshold: float) -> dict[str, Any]:
    sizes = _sizes(groups[members])
    within = largest_groups(groups[members], 1)
    span = _span(images, members[within[0]]) if within else 0.0
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


def _span(images: Images, members: Indices) -> float:
    """At least half of the largest distance between two of these images, in gray levels, by two farthest-point steps."""
    start = members[0]
    for _ in range(2):
        distances = _distances(images, members, start)
        start = members[int(distances.argmax())]
    return float(distances.max())


def spread_members(images: Images, members: Indices, count: int) -> Int[np.ndarray, "few"]:
    """At most `count` of these images, evenly spaced in rank of their distance from the first one, which comes first."""
    order = np.argsort(_distances(images, members, members[0]), kind="stable")
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return members[order[places]]


def _distances(images: Images, members: Indices, start: Any) -> Float32[np.ndarray, "m"]:
    """Root mean square differences, in gray levels, from the image at `start`; few images at a time are copied."""
    parts = []
    for first in range(0, len(members), _COMPARED_TOGETHER):
        difference = images[members[first : first + _COMPARED_TOGETHER]].astype(np.float32) - images[start]
        parts.append((difference**2).mean(axis=(1, 2, 3)) ** 0.5)
    return np.concatenate(parts) * np.float32(255 / np.iinfo(images.dtype).max)


def _merge_linked(groups: Groups, pairs: list[Pairs]) -> Groups:
    """`groups` with all groups merged that a pair links: connected components, each named by its first image."""
    # Imported here: this takes 0.3 s, which loading without near duplicates or a groups file need not wait for.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    images = np.arange(len(groups))
    first = np.concatenate([images, *(first for first, _ in pairs)])
    second = np.concatenate([groups, *(second for _, second in pairs)])
    links = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(groups), len(groups)))
    return _first_occurrences(connected_components(links, directed=False)[1])


def _first_occurrences(values: np.ndarray) -> Groups:
    """For each element the index of the first equal element."""
    _, index, inverse = np.unique(values, return_index=True, return_inverse=True)
    return index[inverse]


def _sizes(groups: Groups) -> Int[np.ndarray, "group"]:
    return np.unique(groups, return_counts=True)[1]
