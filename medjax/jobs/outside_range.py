"""Which images lie outside the ranges that the training images of a run span (see `medjax.data.ranges`)."""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medjax.data.ranges import STATISTICS, Ranges, find_outside, find_ranges, measure, require_ranges
from medjax.records import Dataset, Images, Indices

COLUMN = "outside_training_range"
"""Column of a CSV: names of the statistics of an image that lie outside, separated by spaces; empty for most images."""


def describe_ranges(dataset: Dataset, trained: Indices) -> dict[str, list[float]]:
    """The block `data.ranges` of run.json, of the images that are trained on: the least and the largest of each statistic.

    Without color where images were made gray: how colorful they were is not known any more.
    """
    ranges = find_ranges(dataset.images, trained)
    if dataset.images.shape[-1] == 1 and dataset.counts.recolored:
        del ranges["color"]
    return {name: list(bounds) for name, bounds in ranges.items()}


def ranges_of(directory: Path, record: Mapping[str, Any]) -> Ranges:
    """The ranges in run.json; RefusedError where they are none."""
    return require_ranges(f"{directory / 'run.json'}: data.ranges", record["data"].get("ranges"))


def outside_ranges(
    ranges: Ranges, images: Images, has_lost_color: bool, read_in_color: Callable[[], Images]
) -> list[tuple[str, ...]]:
    """The statistics of each image that lie outside.

    Images that were made gray for the network (`has_lost_color`) are read once more, in color, where the training
    images had none.
    """
    statistics = dict(measure(images))
    if has_lost_color and images.shape[-1] == 1 and "color" in ranges:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they were given the first time
            statistics["color"] = measure(read_in_color())["color"]
    return find_outside(statistics, ranges)


def count_outside(outside: Sequence[tuple[str, ...]]) -> dict[str, int]:
    """The number of images that lie outside in any statistic, and in each one, by its name."""
    counts = Counter(name for names in outside for name in names)
    return {"n": sum(map(bool, outside)), **{name: counts[name] for name in STATISTICS}}


def warn_of_outside(outside: Sequence[tuple[str, ...]]) -> None:
    """Warn of images that lie outside, if there are any."""
    counts = count_outside(outside)
    if counts["n"]:
        which = ", ".join(f"{name} {counts[name]:,}" for name in STATISTICS if counts[name])
        warnings.warn(
            f"images outside the range of the training images: {counts['n']:,} of {len(outside):,} ({which}); what the "
            "model says of them means little",
            stacklevel=4,
        )
