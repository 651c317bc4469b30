"""Load labelled images from a folder, a .zip, a .tar, a MedMNIST .npz, or the built-in phantom.

A source is listed first, then labelled by its names alone, then read and decoded once, in its own order. Archives are
never extracted. Everything that is wrong with a source is refused at once.
"""

import gc
import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from medjax.config import DataConfig
from medjax.data.bad_images import emptied_classes, refused_bad, warn_of_bad
from medjax.data.cache import cache_key, file_stamp, read_cached, write_cached
from medjax.data.decoding.collect import (
    Assembled,
    assemble,
    conflict_problems,
    develop,
    find_conflicts,
    mixed_color_problems,
    select,
    warn_of_conflicts,
)
from medjax.data.decoding.image import DecodedStack, decode_pixels
from medjax.data.decoding.window import warn_of_few_levels
from medjax.data.decoding.worker_pool import Progress, Worker, decode_all, start_workers
from medjax.data.phantom.dataset import make_phantom
from medjax.data.reading.folder import list_folder
from medjax.data.reading.layout import ImageEntry, Layout, label_by_folder
from medjax.data.reading.listing import Fault, Listing, UnfitError, problem_of
from medjax.data.reading.npz import load_npz
from medjax.data.reading.sources import (
    open_archive,
    open_unlabelled,
    require_source,
    source_name,
    source_suffix,
)
from medjax.data.splitting.duplicates import group_duplicates
from medjax.data.splitting.group_file import read_groups
from medjax.errors import Problem, RefusedError, listed
from medjax.records import Dataset, Images, LoadCounts, Names

PHANTOM = "phantom"
# Of an image in an archive, to guess how many there are; those of Medical MNIST have 1,464.
_LIKELY_IMAGE_BYTES = 4_096
_DEFAULTS = DataConfig()


def load(
    source: str | os.PathLike, config: DataConfig = _DEFAULTS, *, on_progress: Progress | None = None
) -> Dataset:
    """Load the data set at `source`, or make the built-in one for the word "phantom".

    Images are decoded on all cores and cached in a private folder unless `config.cache` is false. Groups are those of the
    file `config.groups`, if given, merged with the duplicates that `config.group_duplicates` asks for; None if no two
    images are to be kept together. `on_progress(done, total)` is called now and then in this process. Raises
    RefusedError with a problem for each file that cannot be used.
    """
    dataset = _load_phantom(config) if source == PHANTOM else _load_source(source, config, on_progress)
    warn_of_conflicts(dataset)
    warn_of_few_levels(dataset.name, dataset.window)
    warn_of_bad(dataset.name, dataset.bad, len(dataset.labels) + len(dataset.bad))
    if config.groups is not None:
        groups = read_groups(Path(config.groups), dataset.ids)
        dataset = dataset._replace(groups=groups, grouped_by=("user",))
    return group_duplicates(dataset, config.group_duplicates, config.near_threshold)


def load_images(
    paths: Sequence[str | os.PathLike],
    config: DataConfig = _DEFAULTS,
    *,
    left_out: list[Problem] | None = None,
) -> tuple[Images, Names]:
    """Load images without labels, and their ids, from files, folders of any depth and archives, in the order given.

    An id is the path as given, for folders and archives followed by the name inside. Raises RefusedError as `load` does.
    With a list `left_out` whatever cannot be used is left out and its problem appended there; RefusedError only if
    nothing can.
    """
    parts: list[tuple[Assembled, list[int]]] = []
    ids: list[str] = []
    problems: list[Problem] = []
    bad: list[Problem] = []
    channels: Counter[int] = Counter()
    examples: dict[int, str] = {}
    for path in [os.fspath(path) for path in paths]:
        try:
            with open_unlabelled(path, config) as (listing, layout):
                assembled, unread = _decode(listing, layout.images, config)
        except RefusedError as error:
            problems += error.problems
            continue
        problems += layout.problems
        bad += unread.values()
        kept = [position for position in range(len(layout.images)) if position not in unread]
        parts.append((assembled, kept))
        ids += [layout.images[position].id for position in kept]
        channels += assembled.channels
        for count, position in assembled.examples.items():
            examples.setdefault(count, layout.images[position].id)
    _require_usable(paths, ids, problems, bad, config, left_out)
    if mixed := mixed_color_problems(channels, examples):
        raise RefusedError(mixed)
    name = listed([*map(str, paths)], 1)
    warn_of_few_levels(name, develop([assembled for assembled, _ in parts], config.window))
    images = [select(assembled, np.array(kept, np.int64)).images for assembled, kept in parts if kept]
    return images[0] if len(images) == 1 else np.concatenate(images), np.array(ids)


def _require_usable(
    paths: Sequence[str | os.PathLike],
    ids: Sequence[str],
    problems: Sequence[Problem],
    bad: Sequence[Problem],
    config: DataConfig,
    left_out: list[Problem] | None,
) -> None:
    """Raise RefusedError for `problems` and `bad` images that may not be left out, and where nothing else is there."""
    name, total = listed([*map(str, paths)]), len(ids) + len(bad)
    if not ids:
        nothing = Problem(name, "contain no images", "give PNG or JPEG images")
        raise RefusedError([*problems, *bad] or nothing)
    if left_out is not None:
        left_out += [*problems, *bad]
    elif refused := [*problems, *refused_bad(bad, total, config)]:
        raise RefusedError(refused)
    else:
        warn_of_bad(name, bad, total)


def fingerprint(dataset: Dataset) -> str:
    """sha256 in hexadecimal over the id, class name and digest of each image, in order."""
    ids = (_with_length(id.encode()) for id in dataset.ids.tolist())
    names = [_with_length(name.encode()) for name in dataset.class_names]
    labels = (names[label] for label in dataset.labels.tolist())
    digests = (_with_length(digest.tobytes()) for digest in dataset.digests)
    everything = b"".join(itertools.chain.from_iterable(zip(ids, labels, digests, strict=True)))
    return hashlib.sha256(everything).hexdigest()


def _with_length(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big") + data


def _load_phantom(config: DataConfig) -> Dataset:
    made = make_phantom()
    decoded = (([i], decode_pixels(image, config).stacked()) for i, image in enumerate(made.images))
    assembled = assemble(decoded, len(made.images), config)
    counts = LoadCounts(**assembled.changes)
    return made._replace(images=assembled.images, counts=counts, source_sizes=assembled.sizes)


def _load_source(source: str | os.PathLike, config: DataConfig, on_progress: Progress | None) -> Dataset:
    path = require_source(source)
    try:
        folder = list_folder(path, follow_links=config.follow_links) if path.is_dir() else None
        if config.cache:
            return _load_cached(path, folder, config, on_progress)
        return _load(path, folder, config, on_progress)
    except UnfitError as error:
        raise RefusedError(problem_of(os.fspath(source), error.fault, can_ignore=False)) from None


def _load_cached(
    path: Path, folder: Listing | None, config: DataConfig, on_progress: Progress | None
) -> Dataset:
    stamp = file_stamp(path) if folder is None else folder.stamp
    key = cache_key(f"{source_suffix(path)} {stamp}", config)
    dataset = read_cached(key)
    if dataset is None:
        dataset = _load(path, folder, config, on_progress)
        write_cached(key, dataset)
    return dataset._replace(name=source_name(path))  # the same content may be cached under another name


def _load(path: Path, folder: Listing | None, config: DataConfig, on_progress: Progress | None) -> Dataset:
    if folder is None and source_suffix(path) == ".npz":
        return load_npz(path, config, on_progress)
    # Start workers before listing an archive, which takes a while.
    likely_images = 0 if folder is not None else path.stat().st_size // _LIKELY_IMAGE_BYTES
    with (
        _paused_garbage_collection(),
        start_workers(likely_images, config) as workers,
        nullcontext(folder) if folder is not None else open_archive(path) as listing,
    ):
        layout = label_by_folder(listing.entries, str(path), config.ignore)
        assembled, bad = _decode(listing, layout.images, config, on_progress, workers)
    return _make_dataset(path, layout, assembled, bad, config)


def _make_dataset(
    path: Path, layout: Layout, assembled: Assembled, bad: Mapping[int, Problem], config: DataConfig
) -> Dataset:
    """The data set of all images but the `bad` ones, by their positions; RefusedError if anything else is wrong."""
    ids = [image.id for image in layout.images]
    label_of = {name: label for label, name in enumerate(layout.class_names)}
    labels = np.array([label_of[image.class_name] for image in layout.images], np.int32)
    problems = layout.problems + refused_bad([*bad.values()], len(ids), config)
    problems += mixed_color_problems(assembled.channels, {n: ids[i] for n, i in assembled.examples.items()})
    problems += conflict_problems(find_conflicts(assembled.digests, labels), ids, labels, layout.class_names)
    problems = problems or emptied_classes(layout.images, bad)
    if problems:
        raise RefusedError(problems)
    window = develop([assembled], config.window)
    kept = np.delete(np.arange(len(ids)), [*bad])
    images = select(assembled, kept)
    return Dataset(
        images=images.images,
        labels=labels[kept],
        class_names=layout.class_names,
        ids=np.array(ids)[kept],
        digests=images.digests,
        name=source_name(path),
        split=np.array([image.part for image in layout.images])[kept] if layout.images[0].part else None,
        counts=LoadCounts(**assembled.changes, skipped=layout.skipped, ignored=layout.ignored, bad=len(bad)),
        window=window,
        source_sizes=assembled.sizes,
        bad=tuple(bad.values()),
    )


@contextmanager
def _paused_garbage_collection() -> Iterator[None]:
    """Pause the garbage collector: scanning lists of a million names costs a fifth of the time to make them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _decode(
    listing: Listing,
    images: Sequence[ImageEntry],
    config: DataConfig,
    on_progress: Progress | None = None,
    workers: Sequence[Worker] = (),
) -> tuple[Assembled, dict[int, Problem]]:
    """Arrays of the images, and the problems of those that cannot be used, by their positions in ascending order."""
    positions = {image.key: position for position, image in enumerate(images)}
    bad: dict[int, Problem] = {}

    def decoded() -> Iterator[tuple[Sequence[int], DecodedStack]]:
        for keys, result in decode_all(listing.read(positions), len(images), config, on_progress, workers):
            found = [positions[key] for key in keys]
            if not isinstance(result, Fault):
                yield found, result
                continue
            bad.update((position, problem_of(images[position].id, result)) for position in found)

    assembled = assemble(decoded(), len(images), config)
    return assembled, dict(sorted(bad.items()))
