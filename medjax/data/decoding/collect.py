"""Collect decoded images into arrays, and find what only all of them together show: mixed colors, label conflicts."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from medjax.data.decoding.image import DecodedStack
from medjax.data.reading.listing import Fault, problem_of
from medjax.errors import Problem, listed
from medjax.records import Dataset, Images, Labels


class Assembled(NamedTuple):
    """All decoded images, in the order of their positions."""

    images: Images
    digests: UInt8[np.ndarray, "n 32"]
    changes: Counter[str]  # number of images by field of LoadCounts
    examples: dict[int, int]  # by number of channels: position of the first image with so many
    channels: Counter[int]  # number of images by number of channels
    recolored: Bool[np.ndarray, "n"]  # which images were converted to gray or RGB


def assemble(decoded: Iterable[tuple[Sequence[int], DecodedStack]], size: int, image_size: int) -> Assembled:
    """Put `size` images into one array, each at its position, in whatever order they come.

    The first image fixes the number of channels; images with another number are counted and not copied.
    """
    images = np.empty((0, image_size, image_size, 1), np.uint8)
    digests = np.zeros((size, 32), np.uint8)
    changes: Counter[str] = Counter()
    examples: dict[int, int] = {}
    channels: Counter[int] = Counter()
    recolored = np.zeros(size, bool)
    for positions, stack in decoded:
        count = stack.pixels.shape[-1]
        if not channels:
            images = np.empty((size, image_size, image_size, count), np.uint8)
        channels[count] += len(positions)
        examples[count] = min(*positions, examples.get(count, size))
        changes.update(dict.fromkeys(stack.changes, len(positions)))
        digests[positions] = stack.digests
        recolored[positions] = "recolored" in stack.changes
        if count == images.shape[-1]:
            images[positions] = stack.pixels
    return Assembled(images, digests, changes, examples, channels, recolored)


def mixed_color_problems(channels: Counter[int], examples: Mapping[int, str]) -> list[Problem]:
    """The problem that some images are gray and others RGB, if so; `examples` has an id by number of channels."""
    if len(channels) < 2:
        return []
    reason = f"is one of {channels[3]:,} RGB images, while {channels[1]:,} are gray, such as {examples[1]}"
    return [Problem(examples[3], reason, "choose --color gray or --color rgb")]


def find_conflicts(digests: UInt8[np.ndarray, "n 32"], labels: Labels) -> list[list[int]]:
    """Groups of identical images with different labels, as indices; a digest of zeros is none."""
    # Compare eight bytes of all first, then whole digests of the few that agree.
    heads = np.ascontiguousarray(digests[:, :8]).view(np.uint64).ravel()
    _, inverse, counts = np.unique(heads, return_inverse=True, return_counts=True)
    alike = np.flatnonzero(counts[inverse] > 1)
    groups: dict[bytes, list[int]] = {}
    for index in alike[digests[alike].any(axis=1)].tolist():
        groups.setdefault(digests[index].tobytes(), []).append(index)
    return [group for group in groups.values() if len(group) > 1 and len({*labels[group].tolist()}) > 1]


def warn_of_conflicts(dataset: Dataset) -> None:
    """Warn of identical images with different labels, where they are not refused: published .npz files have some."""
    if dataset.counts.conflicting:
        groups = find_conflicts(dataset.digests, dataset.labels)
        examples = [" = ".join(dataset.ids[group][:3]) for group in groups]
        warnings.warn(
            f"{dataset.name}: {dataset.counts.conflicting} images have the same pixels as another one under another "
            f"label: {listed(examples, 3)}",
            stacklevel=3,
        )


def conflict_problems(
    groups: Iterable[Sequence[int]], ids: Sequence[str], labels: Labels, class_names: Sequence[str]
) -> list[Problem]:
    """A problem for every image whose label differs from that of the first image of its group."""
    problems = []
    for first, *others in groups:
        for other in others:
            if labels[other] != labels[first]:
                names = f"{class_names[labels[other]]} and {class_names[labels[first]]}"
                fault = Fault(
                    f"has the same pixels as {ids[first]} under another label: {names}",
                    "remove the wrong one",
                )
                problems.append(problem_of(ids[other], fault))
    return problems
