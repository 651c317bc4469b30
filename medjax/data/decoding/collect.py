"""Collect decoded images into arrays, and find what only all of them together show: mixed colors, label conflicts."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from medjax.config import DataConfig
from medjax.data.decoding.image import DecodedStack
from medjax.data.decoding.resize import Size
from medjax.data.decoding.window import apply_window, choose_window, widened, window_table
from medjax.data.reading.folder_names import mask_pattern
from medjax.data.reading.listing import Fault, problem_of, quoted
from medjax.errors import Problem, listed, refuse
from medjax.memory import empty_for_device, require_memory
from medjax.records import Dataset, Images, Indices, Labels, Window, label_sets

_MOVED_TOGETHER = 256  # images


class Deep(NamedTuple):
    """Which images hold values of 16 bits, until the window of the set is known."""

    # The others have gray levels already: of DICOM files, or of 8 bits, widened to 16.
    is_deep: Bool[np.ndarray, "n"]
    largest: int  # value in any of them, at full size


class Assembled(NamedTuple):
    """All decoded images, in the order of their positions."""

    images: Images  # gray levels only after `develop`
    digests: UInt8[np.ndarray, "n 32"]
    changes: Counter[str]  # number of images by field of LoadCounts
    examples: dict[int, int]  # by number of channels: position of the first image with so many
    channels: Counter[int]  # number of images by number of channels
    recolored: Bool[np.ndarray, "n"]  # which images were converted to gray or RGB
    sizes: tuple[Size, Size] | None = None  # of the smallest and the largest image, before any change
    deep: Deep | None = None
    subjects: Mapping[int, bytes] = {}  # whose images DICOM files are of, by position


def assemble(
    decoded: Iterable[tuple[Sequence[int], DecodedStack]], size: int, config: DataConfig
) -> Assembled:
    """Put `size` images into one array, each at its position, in whatever order they come.

    The first image fixes the number of channels; images with another number are counted and not copied. Raises
    RefusedError before the first is decoded if they do not fit into memory.
    """
    require_memory(size, config.sides, _least_bytes(config))
    images = np.empty((0, *config.sides, 1), np.uint8)
    is_deep, is_there, largest = np.zeros(size, bool), np.zeros(size, bool), 0
    digests = np.zeros((size, 32), np.uint8)
    changes: Counter[str] = Counter()
    examples: dict[int, int] = {}
    channels: Counter[int] = Counter()
    recolored = np.zeros(size, bool)
    sizes: tuple[Size, Size] | None = None
    subjects: dict[int, bytes] = {}
    for positions, stack in decoded:
        count = stack.pixels.shape[-1]
        if not channels:
            images = _empty((size, *config.sides, count), np.uint8)
        channels[count] += len(positions)
        examples[count] = min(*positions, examples.get(count, size))
        changes.update(dict.fromkeys(stack.changes, len(positions)))
        sizes = _range([stack.size, *(sizes or ())])
        digests[positions] = stack.digests
        recolored[positions] = "recolored" in stack.changes
        if stack.subjects:
            subjects[positions[0]] = stack.subjects
        if count != images.shape[-1]:
            continue
        is_deep[positions] = stack.waits_for_window
        if stack.pixels.dtype == np.uint16 and images.dtype == np.uint8:
            images = _deepened(images, np.flatnonzero(is_there))
        images[positions] = stack.pixels if images.dtype == stack.pixels.dtype else widened(stack.pixels)
        is_there[positions] = True
        largest = max(largest, stack.largest)
    deep = Deep(is_deep, largest) if is_deep.any() else None
    return Assembled(images, digests, changes, examples, channels, recolored, sizes, deep, subjects)


def _deepened(images: Images, rows: Indices) -> Images:
    """An array of 16 bits with the images of 8 bits at these `rows`, and nothing yet at the others."""
    deep = _empty(images.shape, np.uint16)
    for start in range(0, len(rows), _MOVED_TOGETHER):
        chosen = rows[start : start + _MOVED_TOGETHER]
        deep[chosen] = widened(images[chosen])
    return deep


def develop(parts: Sequence[Assembled], config: DataConfig) -> tuple[list[Assembled], Window | None]:
    """The parts with gray levels of `config.depth` bits, made through one window, which is None without images of 16 bits."""
    deep = [part.deep for part in parts if part.deep is not None]
    if not deep:
        return list(parts), None
    low, high = choose_window(config.window, max(each.largest for each in deep))
    table = window_table(low, high, config.depth)
    is_used = np.zeros(2**config.depth, bool)
    developed = [
        part
        if part.deep is None
        else part._replace(images=apply_window(table, part.images, part.deep.is_deep, is_used), deep=None)
        for part in parts
    ]
    return developed, Window(low, high, int(is_used.sum()), config.depth)


def select(assembled: Assembled, kept: Indices) -> Assembled:
    """Only the images at `kept`, in ascending order; made in place, so that memory holds no second copy."""
    if len(kept) < len(assembled.images):
        for start in range(0, len(kept), _MOVED_TOGETHER):
            chosen = kept[start : start + _MOVED_TOGETHER]
            assembled.images[start : start + len(chosen)] = assembled.images[chosen]
    return assembled._replace(images=assembled.images[: len(kept)], digests=assembled.digests[kept])


def _least_bytes(config: DataConfig) -> int:
    """The fewest bytes that a pixel takes; images of 16 bits take two, and one more while their depth becomes 8."""
    return (3 if config.color == "rgb" else 1) * (
        1 if config.window == "refuse" else 2 if config.depth == 16 else 3
    )


def _empty(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """An array without values; RefusedError if it does not fit into memory."""
    count, height, width, channels = shape
    require_memory(count, (height, width), channels * np.dtype(dtype).itemsize)
    try:
        return empty_for_device(shape, dtype)
    except MemoryError:  # a limit of this process
        raise refuse(f"{count:,} images", "do not fit into memory", "give fewer images") from None


def _range(sizes: Iterable[Size]) -> tuple[Size, Size]:
    """The sizes with the fewest and with the most pixels."""
    by_pixels = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    return by_pixels[0], by_pixels[-1]


def mixed_color_problems(channels: Counter[int], examples: Mapping[int, str]) -> list[Problem]:
    """The problem that some images are gray and others RGB, if so; `examples` has an id by number of channels."""
    if len(channels) < 2:
        return []
    reason = f"is one of {channels[3]:,} RGB images, while {channels[1]:,} are gray, such as {examples[1]}"
    remedy = "choose --color gray or --color rgb"
    if (pattern := mask_pattern(examples[1]) or mask_pattern(examples[3])) is not None:
        remedy = f"leave masks out: --ignore {quoted(pattern)}; or {remedy}"
    return [Problem(examples[3], reason, remedy)]


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
        groups = find_conflicts(dataset.digests, label_sets(dataset.labels))
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
