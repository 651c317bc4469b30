"""Labelled images from wherever they lie: a folder, a .zip, a .tar, a MedMNIST .npz, or the built-in phantom.

Every source is listed first, then laid out by names alone, then read and decoded once, in its own order.
Archives are never extracted. All that is wrong with a source is refused at once.
"""

import gc
import hashlib
import itertools
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np

from medjax.config import DataConfig
from medjax.data.cache import cache_key, file_stamp, read_cached, write_cached
from medjax.data.decoding.collect import (
    Assembled,
    assemble,
    conflict_problems,
    conflicting,
    mixed_colors,
    warn_of_conflicts,
)
from medjax.data.decoding.image import DecodedStack, decode_pixels
from medjax.data.decoding.worker_pool import Progress, Worker, decode_all, started_workers
from medjax.data.phantom.dataset import make_phantom
from medjax.data.reading.folder import list_folder, read_file
from medjax.data.reading.layout import LabelledImage, Layout, arrange, gather
from medjax.data.reading.listing import ARCHIVE_SUFFIXES, Fault, Listing, UnfitError, problem_of
from medjax.data.reading.npz import load_npz
from medjax.data.reading.tar import opened_tar
from medjax.data.reading.zip import opened_zip
from medjax.data.splitting.duplicates import group_duplicates
from medjax.data.splitting.group_file import read_groups
from medjax.errors import Problem, RefusedError, listed, refuse
from medjax.records import Dataset, Images, LoadCounts, Names

PHANTOM = "phantom"
MAX_PROBLEMS = 1_000
"""So many bad images are enough to know: the rest is not decoded."""
# Of an image in an archive, to guess how many there are; Medical MNIST's take 1,464.
_LIKELY_IMAGE_BYTES = 4_096
_DEFAULTS = DataConfig()
_KNOWN = "give a folder, a .zip, .tar, .tar.gz or .tar.xz of one, a MedMNIST .npz, or the word phantom"


def load(
    source: str | os.PathLike, config: DataConfig = _DEFAULTS, *, on_progress: Progress | None = None
) -> Dataset:
    """Read the data set at `source`, or make the built-in one for the word "phantom".

    Images are decoded on all cores, and kept in a private cache unless `config.cache` is false. Groups are
    those of the file `config.groups`, if it is given, in union with those of `config.group_duplicates`: none where
    neither keeps any two images together. `on_progress(done, total)` is called now and then, in
    this process. Raises RefusedError with a problem for each file that cannot be used.
    """
    dataset = _load_phantom(config) if source == PHANTOM else _load_source(source, config, on_progress)
    warn_of_conflicts(dataset)
    if config.groups is not None:
        groups = read_groups(Path(config.groups), dataset.ids)
        dataset = dataset._replace(groups=groups, grouped_by=("user",))
    return group_duplicates(dataset, config.group_duplicates, config.near_threshold)


def _load_source(source: str | os.PathLike, config: DataConfig, on_progress: Progress | None) -> Dataset:
    path = _existing(source)
    try:
        listing = list_folder(path, follow_links=config.follow_links) if path.is_dir() else None
        if config.cache:
            return _load_cached(path, listing, config, on_progress)
        return _load(path, listing, config, on_progress)
    except UnfitError as error:
        raise RefusedError(problem_of(os.fspath(source), error.fault, can_ignore=False)) from None


@contextmanager
def opened_source(path: Path, config: DataConfig) -> Iterator[Listing]:
    """The listing of a folder or an archive, which can be read while the context lasts. Raises UnfitError."""
    if path.is_dir():
        yield list_folder(path, follow_links=config.follow_links)
    else:
        with _opened_archive(path) as listing:
            yield listing


def fingerprint(dataset: Dataset) -> str:
    """sha256 in hexadecimal over the id, class name and digest of each image, in order."""
    ids = (_with_length(id.encode()) for id in dataset.ids.tolist())
    names = [_with_length(name.encode()) for name in dataset.class_names]
    labels = (names[label] for label in dataset.labels.tolist())
    digests = (_with_length(digest.tobytes()) for digest in dataset.digests)
    everything = b"".join(itertools.chain.from_iterable(zip(ids, labels, digests, strict=True)))
    return hashlib.sha256(everything).hexdigest()


def _with_length(part: bytes) -> bytes:
    return len(part).to_bytes(8, "big") + part


def load_images(paths: Sequence[str | os.PathLike], config: DataConfig = _DEFAULTS) -> tuple[Images, Names]:
    """Images without labels, and their ids: files, folders of any depth and archives, in the order given.

    An id is the path as given, for folders and archives followed by the name inside. Raises as `load` does.
    """
    pieces: list[Images] = []
    ids: list[str] = []
    problems: list[Problem] = []
    channels: Counter[int] = Counter()
    examples: dict[int, str] = {}
    for path in [os.fspath(path) for path in paths]:
        try:
            with _opened_unlabelled(path, config) as (listing, layout):
                assembled, faults = _decode(listing, layout.images, config)
        except RefusedError as error:
            problems += error.problems
            continue
        problems += layout.problems + faults
        pieces.append(assembled.images)
        ids += [image.id for image in layout.images]
        channels += assembled.channels
        for count, position in assembled.examples.items():
            examples.setdefault(count, layout.images[position].id)
    problems += mixed_colors(channels, examples)
    if not ids and not problems:
        problems.append(Problem(listed([*map(str, paths)]), "holds no images", "give PNG or JPEG images"))
    if problems:
        raise RefusedError(problems)
    return np.concatenate([piece for piece in pieces if len(piece)]), np.array(ids)


def _load_phantom(config: DataConfig) -> Dataset:
    made = make_phantom()
    decoded = (([i], decode_pixels(image, config).stacked()) for i, image in enumerate(made.images))
    assembled = assemble(decoded, len(made.images), config.image_size)
    return made._replace(images=assembled.images, counts=LoadCounts(**assembled.changes))


def _load_cached(
    path: Path, folder: Listing | None, config: DataConfig, on_progress: Progress | None
) -> Dataset:
    stamp = file_stamp(path) if folder is None else folder.stamp
    key = cache_key(f"{_suffix_of(path)} {stamp}", config)
    dataset = read_cached(key)
    if dataset is None:
        dataset = _load(path, folder, config, on_progress)
        write_cached(key, dataset)
    return dataset._replace(name=_name_of(path))  # the same file may have been kept under another name


def _load(path: Path, folder: Listing | None, config: DataConfig, on_progress: Progress | None) -> Dataset:
    if folder is None and _suffix_of(path) == ".npz":
        return load_npz(path, config, on_progress)
    # An archive takes a while to list, in which workers can start.
    likely = 0 if folder is not None else path.stat().st_size // _LIKELY_IMAGE_BYTES
    with (
        _collecting_no_garbage(),
        started_workers(likely, config) as workers,
        nullcontext(folder) if folder is not None else _opened_archive(path) as listing,
    ):
        layout = arrange(listing.entries, str(path), config.ignore)
        assembled, problems = _decode(listing, layout.images, config, on_progress, workers)
    ids = [image.id for image in layout.images]
    label_of = {name: label for label, name in enumerate(layout.class_names)}
    labels = np.array([label_of[image.class_name] for image in layout.images], np.int32)
    problems = layout.problems + problems
    problems += mixed_colors(assembled.channels, {n: ids[i] for n, i in assembled.examples.items()})
    problems += conflict_problems(conflicting(assembled.digests, labels), ids, labels, layout.class_names)
    if problems:
        raise RefusedError(problems)
    return Dataset(
        images=assembled.images,
        labels=labels,
        class_names=layout.class_names,
        ids=np.array(ids),
        digests=assembled.digests,
        name=_name_of(path),
        split=np.array([image.part for image in layout.images]) if layout.images[0].part else None,
        counts=LoadCounts(**assembled.changes, skipped=layout.skipped, ignored=layout.ignored),
    )


@contextmanager
def _collecting_no_garbage() -> Iterator[None]:
    """Lists of a million names are no garbage; looking whether they are takes a fifth of the time to make them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _decode(
    listing: Listing,
    images: Sequence[LabelledImage],
    config: DataConfig,
    on_progress: Progress | None = None,
    workers: Sequence[Worker] = (),
) -> tuple[Assembled, list[Problem]]:
    """The arrays of the sound ones among `images`, and what is wrong with the others."""
    positions = {image.key: position for position, image in enumerate(images)}
    problems: list[Problem] = []

    def sound() -> Iterator[tuple[Sequence[int], DecodedStack]]:
        for keys, answer in decode_all(listing.read(positions), len(images), config, on_progress, workers):
            found = [positions[key] for key in keys]
            if not isinstance(answer, Fault):
                yield found, answer
                continue
            problems.extend(problem_of(images[position].id, answer) for position in found)
            if len(problems) >= MAX_PROBLEMS:
                return

    assembled = assemble(sound(), len(images), config.image_size)
    return assembled, sorted(problems)


def _opened_archive(path: Path) -> AbstractContextManager[Listing]:
    """The listing of an archive, which can be read while the context lasts."""
    return opened_zip(path) if _suffix_of(path) == ".zip" else opened_tar(path)


@contextmanager
def _opened_unlabelled(given: str, config: DataConfig) -> Iterator[tuple[Listing, Layout]]:
    path = _existing(given, has_labels=False)
    try:
        if path.is_dir():
            listing = list_folder(path, follow_links=config.follow_links)
            yield listing, gather(listing.entries, given.rstrip("/"), config.ignore)
        elif _suffix_of(path):
            with _opened_archive(path) as listing:
                yield listing, gather(listing.entries, given, config.ignore)
        else:
            listing = Listing([], lambda keys: ((key, read_file(path)) for key in keys))
            yield listing, Layout([LabelledImage(given, given)], (), [], 0, 0)
    except UnfitError as error:
        raise RefusedError(problem_of(given, error.fault, can_ignore=False)) from None


def _existing(source: str | os.PathLike, *, has_labels: bool = True) -> Path:
    """The path of a source that is there and may be opened: of a pipe that would wait for ever."""
    name = os.fspath(source)
    path = Path(name)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with open(path, "rb") as handle:
                is_empty = not handle.read(1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = f"cannot be read: {getattr(error, 'strerror', error)}"
        raise refuse(name, reason, "check the path and its permissions") from None
    if stat.S_ISDIR(mode) and name:
        return path
    suffix = _suffix_of(path)
    if not stat.S_ISREG(mode):
        raise refuse(name, "is not a regular file or folder", _KNOWN)
    if (has_labels and not suffix) or (not has_labels and suffix == ".npz"):
        raise refuse(name, "is not a kind of file that holds a data set", _KNOWN)
    if is_empty:
        raise refuse(name, "is empty", "copy it again")
    return path


def _suffix_of(path: Path) -> str:
    """The suffix of an archive, in lower case, or ""."""
    lower = path.name.lower()
    return next((suffix for suffix in (*ARCHIVE_SUFFIXES, ".npz") if lower.endswith(suffix)), "")


def _name_of(path: Path) -> str:
    name = path.resolve().name
    return (name if path.is_dir() else name[: len(name) - len(_suffix_of(path))]) or "data"
