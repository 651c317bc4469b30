"""Load labelled images from a folder, a .zip, a .tar, a MedMNIST .npz, or the built-in phantom.

A source is listed first, then labelled by its names alone, then read and decoded once, in its own order. Archives are
never extracted. Everything that is wrong with a source is refused at once.
"""

import gc
import hashlib
import itertools
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from medjax.config import DataConfig
from medjax.data.cache import cache_key, file_identity, file_stamp, read_cached, write_cached
from medjax.data.decoding.collect import (
    Assembled,
    assemble,
    conflict_problems,
    find_conflicts,
    mixed_color_problems,
    warn_of_conflicts,
)
from medjax.data.decoding.image import DecodedStack, decode_pixels
from medjax.data.decoding.worker_pool import (
    NoAnswerError,
    Progress,
    Worker,
    decode_all,
    start_workers,
)
from medjax.data.phantom.dataset import make_phantom
from medjax.data.reading.folder import list_folder
from medjax.data.reading.layout import ImageEntry, label_by_folder
from medjax.data.reading.listing import Fault, Listing, UnfitError, problem_of
from medjax.data.reading.npz import load_npz
from medjax.data.reading.sources import (
    CHECK_PATH,
    open_archive,
    open_unlabelled,
    require_source,
    source_name,
    source_suffix,
)
from medjax.data.splitting.duplicates import group_duplicates
from medjax.data.splitting.group_file import read_groups
from medjax.errors import Problem, RefusedError, listed, refuse
from medjax.records import Dataset, Images, LoadCounts, Names

PHANTOM = "phantom"
MAX_PROBLEMS = 1_000
"""Decoding stops after so many bad images."""
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
    if config.groups is not None:
        groups = read_groups(Path(config.groups), dataset.ids)
        dataset = dataset._replace(groups=groups, grouped_by=("user",))
    return group_duplicates(dataset, config.group_duplicates, config.near_threshold)


def load_images(paths: Sequence[str | os.PathLike], config: DataConfig = _DEFAULTS) -> tuple[Images, Names]:
    """Load images without labels, and their ids, from files, folders of any depth and archives, in the order given.

    An id is the path as given, for folders and archives followed by the name inside. Raises RefusedError as `load` does.
    """
    images: list[Images] = []
    ids: list[str] = []
    problems: list[Problem] = []
    channels: Counter[int] = Counter()
    examples: dict[int, str] = {}
    for path in [os.fspath(path) for path in paths]:
        try:
            with open_unlabelled(path, config) as (listing, layout):
                assembled, faults = _decode(listing, layout.images, config)
        except RefusedError as error:
            problems += error.problems
            continue
        problems += layout.problems + faults
        images.append(assembled.images)
        ids += [image.id for image in layout.images]
        channels += assembled.channels
        for count, position in assembled.examples.items():
            examples.setdefault(count, layout.images[position].id)
    problems += mixed_color_problems(channels, examples)
    if not ids and not problems:
        problems.append(Problem(listed([*map(str, paths)]), "contain no images", "give PNG or JPEG images"))
    if problems:
        raise RefusedError(problems)
    return np.concatenate([stack for stack in images if len(stack)]), np.array(ids)


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
    assembled = assemble(decoded, len(made.images), config.image_size)
    return made._replace(images=assembled.images, counts=LoadCounts(**assembled.changes))


def _load_source(source: str | os.PathLike, config: DataConfig, on_progress: Progress | None) -> Dataset:
    path = require_source(source)
    try:
        folder = _list_folder(path, config)
        if config.cache:
            return _load_cached(path, folder, config, on_progress)
        return _load(path, folder, config, on_progress)
    except UnfitError as error:
        raise RefusedError(problem_of(os.fspath(source), error.fault, can_ignore=False)) from None
    except OSError as error:  # it was there a moment ago
        raise refuse(source, f"cannot be read: {error.strerror or error}", CHECK_PATH) from error


def _list_folder(path: Path, config: DataConfig) -> Listing | None:
    return list_folder(path, follow_links=config.follow_links) if path.is_dir() else None


def _state(path: Path, folder: Listing | None) -> tuple[str, tuple[int, ...]]:
    """The stamp of a source, and of a file what else changes when another is read in its place.

    A file that is put back has the same sha256, but not the same change time. One that is written to within a tick of the
    clock, or through a memory map, may have the same times, but not the same sha256.
    """
    return (file_stamp(path), file_identity(path)) if folder is None else (folder.stamp, ())


def _load_cached(
    path: Path, folder: Listing | None, config: DataConfig, on_progress: Progress | None
) -> Dataset:
    state = _state(path, folder)
    key = cache_key(f"{source_suffix(path)} {state[0]}", config)
    dataset = read_cached(key)
    if dataset is None:
        dataset = _load(path, folder, config, on_progress)
        if _state(path, _list_folder(path, config)) == state:
            write_cached(key, dataset)
        else:
            text = f"{path} was changed while it was read, so it is not kept in the cache: load it again"
            warnings.warn(text, stacklevel=2)
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
        assembled, problems = _decode(listing, layout.images, config, on_progress, workers)
    ids = [image.id for image in layout.images]
    label_of = {name: label for label, name in enumerate(layout.class_names)}
    labels = np.array([label_of[image.class_name] for image in layout.images], np.int32)
    problems = layout.problems + problems
    problems += mixed_color_problems(assembled.channels, {n: ids[i] for n, i in assembled.examples.items()})
    problems += conflict_problems(find_conflicts(assembled.digests, labels), ids, labels, layout.class_names)
    if problems:
        raise RefusedError(problems)
    return Dataset(
        images=assembled.images,
        labels=labels,
        class_names=layout.class_names,
        ids=np.array(ids),
        digests=assembled.digests,
        name=source_name(path),
        split=np.array([image.part for image in layout.images]) if layout.images[0].part else None,
        counts=LoadCounts(**assembled.changes, skipped=layout.skipped, ignored=layout.ignored),
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
) -> tuple[Assembled, list[Problem]]:
    """Arrays of the images, and the problems of those that cannot be decoded."""
    positions = {image.key: position for position, image in enumerate(images)}
    problems: list[Problem] = []

    def decoded() -> Iterator[tuple[Sequence[int], DecodedStack]]:
        for keys, result in decode_all(listing.read(positions), len(images), config, on_progress, workers):
            found = [positions[key] for key in keys]
            if not isinstance(result, Fault):
                yield found, result
                continue
            problems.extend(problem_of(images[position].id, result) for position in found)
            if len(problems) >= MAX_PROBLEMS:
                return

    try:
        assembled = assemble(decoded(), len(images), config.image_size)
    except NoAnswerError as error:
        names = [images[positions[key]].id for key in error.keys]
        which = "one of these" if len(names) > 1 else "it"
        reason = f"the process that decodes {which} has given {error}"
        remedy = "try again; if it happens again, leave out the one that is damaged: --ignore"
        raise refuse(listed(names), reason, remedy) from None
    return assembled, sorted(problems)
