"""Load labelled images from a folder, a .zip, a .tar, a MedMNIST .npz, or the built-in phantom.

A source is listed first, then labelled by its names alone, then read and decoded once, in its own order. Archives are
never extracted. Everything that is wrong with a source is refused at once.
"""

import gc
import hashlib
import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from medjax.config import DataConfig
from medjax.data.bad_images import emptied_classes, refused_bad, warn_of_bad
from medjax.data.cache import cache_key, file_identity, file_stamp, read_cached, write_cached
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
from medjax.data.decoding.image import DecodedStack, check_size, decode_pixels
from medjax.data.decoding.window import warn_of_few_levels
from medjax.data.decoding.worker_pool import (
    NoAnswerError,
    Progress,
    Worker,
    decode_all,
    start_workers,
)
from medjax.data.dicom.frames import frame_source, split_frames
from medjax.data.dicom.levels import describe_rules
from medjax.data.dicom.peek import label_folders
from medjax.data.label_matrix import warn_of_odd_rows
from medjax.data.phantom.dataset import make_phantom
from medjax.data.private_ids import private_name_of
from medjax.data.reading.folder import list_folder
from medjax.data.reading.layout import ImageEntry, Layout
from medjax.data.reading.listing import Fault, Listing, UnfitError, problem_of, quoted
from medjax.data.reading.npz import load_npz
from medjax.data.reading.sources import (
    CHECK_PATH,
    open_archive,
    require_source,
    source_name,
    source_suffix,
    warn_of_guessed_names,
)
from medjax.data.reading.tables import table_problems
from medjax.data.splitting.duplicates import group_duplicates, merge_groups
from medjax.data.splitting.folder_groups import inner_folders
from medjax.data.splitting.group_file import read_groups
from medjax.data.splitting.group_pattern import pattern_groups, suggest_pattern
from medjax.data.splitting.patient_groups import patient_groups
from medjax.data.tables.dicom_rows import name_images
from medjax.data.tables.label_dataset import label_dataset, without_labels
from medjax.data.tables.label_images import at_places, label_images
from medjax.data.tables.read_labels import read_labels
from medjax.errors import Problem, RefusedError, listed, refuse
from medjax.records import Dataset, DicomUse, Images, LoadCounts, Names, describe_labels

PHANTOM = "phantom"
# Of an image in an archive, to guess how many there are; those of Medical MNIST have 1,464.
_LIKELY_IMAGE_BYTES = 4_096
_DEFAULTS = DataConfig()


def load(
    source: str | os.PathLike,
    config: DataConfig = _DEFAULTS,
    *,
    labels: Any = None,
    on_progress: Progress | None = None,
) -> Dataset:
    """Load the data set at `source`, or make the built-in one for the word "phantom".

    Labels are those of the folders, or of a table: `labels`, a path or columns by their names, such as a dict of lists or a
    pandas DataFrame; without it the file `config.labels`. Images are decoded on all cores and cached in a private folder
    unless `config.cache` is false. Groups are those of the file `config.groups`, of the table, and of
    `config.group_pattern`, merged with the duplicates that `config.group_duplicates` asks for; None if no two images are to
    be kept together. With `config.nested` "group", images of one folder inside a class folder are a group as well. Images
    in DICOM are grouped by patient without asking, and folders inside class folders are theirs.
    `on_progress(done, total)` is called now and then in this process. Raises RefusedError with a problem for each file
    that cannot be used.
    """
    table = config.labels if labels is None else labels
    if source == PHANTOM:
        _require_no_table(PHANTOM, table)
        dataset = fit_dataset(make_phantom(), config)
    else:
        dataset = _load_source(source, config, table, on_progress)
    warn_of_conflicts(dataset)
    warn_of_odd_rows(dataset)
    warn_of_few_levels(dataset.name, dataset.window)
    if config.depth == 16 and dataset.images.dtype == np.uint8:
        warnings.warn(
            f"{dataset.name}: no image has more than 8 bits, so --depth 16 changes nothing", stacklevel=2
        )
    warn_of_bad(dataset.name, dataset.bad, len(dataset.labels) + len(dataset.bad))
    warn_of_guessed_names(dataset.name, dataset.counts.guessed_names, dataset.ids.tolist())
    if config.nested == "group":
        dataset = _add_groups(dataset, inner_folders(dataset.ids, has_parts=dataset.split is not None))
    if config.groups is not None:
        dataset = _add_groups(dataset, read_groups(Path(config.groups), dataset.ids, config))
    if config.group_pattern is not None:
        dataset = _add_groups(dataset, pattern_groups(dataset.ids, config.group_pattern))
    if "user" not in dataset.grouped_by:
        _warn_of_unknown_patients(dataset)
    if config.anonymous_ids:
        dataset = _without_names(dataset)
    return group_duplicates(dataset, config.group_duplicates, config.near_threshold)


def _warn_of_unknown_patients(dataset: Dataset) -> None:
    """Warn where the names of the images seem to hold the patient, and where DICOM files do not tell patients apart."""
    if (pattern := suggest_pattern(dataset.ids)) is not None:
        text = "the names of the images seem to hold the patient; without groups one may be on both sides of a split"
        warnings.warn(f"{dataset.name}: {text}: give --group-pattern {quoted(pattern)}", stacklevel=3)
    if dataset.dicom is not None:
        text = "PatientID and StudyInstanceUID are the same in all DICOM files, or absent: if they are of several patients"
        remedy = "give --groups FILE; else one may be on both sides of a split"
        warnings.warn(f"{dataset.name}: {text}, {remedy}", stacklevel=3)


def _without_names(dataset: Dataset) -> Dataset:
    """The data set with hashes under the user's key in the place of ids, which may hold names of patients."""
    ids = np.array([private_name_of(id) for id in dataset.ids.tolist()])
    groups = dataset.groups
    if groups is not None:
        groups = np.array([private_name_of(group) for group in groups.tolist()])
    bad = tuple(problem._replace(name=private_name_of(problem.name)) for problem in dataset.bad)
    return dataset._replace(ids=ids, groups=groups, bad=bad)


def _require_no_table(source: str | os.PathLike, table: Any) -> None:
    if table is not None:
        raise refuse("--labels", f"{source} has labels of its own", "leave it out")


def _add_groups(dataset: Dataset, groups: Names | None) -> Dataset:
    """The data set with groups that a user gave, merged with those that it has."""
    if groups is None:
        return dataset
    if dataset.groups is not None:
        groups = merge_groups(groups, dataset.groups)
    return dataset._replace(groups=groups, grouped_by=("user",))


def fit_dataset(dataset: Dataset, config: DataConfig) -> Dataset:
    """A data set in memory in the size and color that the settings ask for; RefusedError for images that are too large.

    Its gray levels keep their bits: they have been through a window.
    """
    assembled, bad = fit_all(dataset.images, dataset.ids.tolist(), config)
    if bad:
        raise RefusedError(bad.values())
    counts = LoadCounts(**assembled.changes)
    return dataset._replace(images=assembled.images, counts=counts, source_sizes=assembled.sizes)


def fit_all(images: Images, ids: Sequence[str], config: DataConfig) -> tuple[Assembled, dict[int, Problem]]:
    """`decode_listing` for images in memory."""
    bad: dict[int, Problem] = {}

    def fitted() -> Iterator[tuple[Sequence[int], DecodedStack]]:
        for position, pixels in enumerate(images):
            try:
                check_size(pixels.shape[1], pixels.shape[0], config.max_megapixels)
            except UnfitError as error:
                bad[position] = problem_of(ids[position], error.fault, can_ignore=False)
            else:
                yield [position], decode_pixels(pixels, config).stacked()

    # Gray levels of 16 bits are no values that wait for a window.
    return assemble(fitted(), len(images), config)._replace(deep=None), bad


def fingerprint(dataset: Dataset) -> str:
    """sha256 in hexadecimal over the id, class name (or labels) and digest of each image, in order."""
    ids = (_with_length(id.encode()) for id in dataset.ids.tolist())
    names = [_with_length(name.encode()) for name in dataset.class_names]
    if dataset.has_several_labels:
        describe = describe_labels(dataset.labels, dataset.class_names)
        labels = (_with_length(describe(image).encode()) for image in range(len(dataset.ids)))
    else:
        labels = (names[label] for label in dataset.labels.tolist())
    digests = (_with_length(digest.tobytes()) for digest in dataset.digests)
    everything = b"".join(itertools.chain.from_iterable(zip(ids, labels, digests, strict=True)))
    return hashlib.sha256(everything).hexdigest()


def _with_length(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big") + data


def _load_source(
    source: str | os.PathLike, config: DataConfig, table: Any, on_progress: Progress | None
) -> Dataset:
    path = require_source(source)
    try:
        folder = _list_folder(path, config)
        if table is not None:
            return _load_by_table(path, folder, config, table, on_progress)
        return _cached(path, folder, config, "", lambda: _load(path, folder, config, on_progress))
    except UnfitError as error:
        raise RefusedError(problem_of(os.fspath(source), error.fault, can_ignore=False)) from None
    except OSError as error:  # it was there a moment ago
        raise refuse(source, f"cannot be read: {error.strerror or error}", CHECK_PATH) from error


def _load_by_table(
    path: Path, folder: Listing | None, config: DataConfig, table: Any, on_progress: Progress | None
) -> Dataset:
    """The images that a table names. Decoded images are cached without labels: these come after."""
    if folder is None and source_suffix(path) == ".npz":
        _require_no_table(path, table)
    with (
        _paused_garbage_collection(),
        nullcontext(folder) if folder is not None else open_archive(path, config) as listing,
    ):
        rows, known = name_images(read_labels(table, config), listing, config)
        labelled = label_images(listing.entries, rows, str(path), config, known)
        if config.frames == "all":
            listing, images, places = split_frames(listing, labelled.layout.images)
            labelled = at_places(labelled, images, places)
        layout = without_labels(labelled.layout)
        ids = "\0".join(image.id for image in layout.images)
        chosen = hashlib.sha256(ids.encode()).hexdigest()

        def decode() -> Dataset:
            with start_workers(0 if folder is not None else len(layout.images), config) as workers:
                assembled, bad = decode_listing(listing, layout.images, config, on_progress, workers)
            return _make_dataset(path, listing, layout, assembled, bad, config)

        dataset = _cached(path, folder, config, chosen, decode)
    return label_dataset(dataset, labelled)


def _list_folder(path: Path, config: DataConfig) -> Listing | None:
    return list_folder(path, follow_links=config.follow_links) if path.is_dir() else None


def _state(path: Path, folder: Listing | None) -> tuple[str, tuple[int, ...]]:
    """The stamp of a source, and of a file what else changes when another is read in its place.

    A file that is put back has the same sha256, but not the same change time. One that is written to within a tick of the
    clock, or through a memory map, may have the same times, but not the same sha256.
    """
    return (file_stamp(path), file_identity(path)) if folder is None else (folder.stamp, ())


def _cached(
    path: Path, folder: Listing | None, config: DataConfig, chosen: str, read: Callable[[], Dataset]
) -> Dataset:
    """What `read` makes of the source, from the cache if it is there; `chosen` tells which of its images, "" for all."""
    if not config.cache or config.anonymous_ids:  # the cache holds ids as they are
        return read()
    state = _state(path, folder)
    key = cache_key(f"{source_suffix(path)} {state[0]} {chosen}".rstrip(), config)
    dataset = read_cached(key)
    if dataset is None:
        dataset = read()
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
        nullcontext(folder) if folder is not None else open_archive(path, config) as listing,
    ):
        layout = label_folders(listing, str(path), config)
        if config.frames == "all":
            listing, images, _ = split_frames(listing, layout.images)
            layout = layout._replace(images=images)
        if layout.images:
            _require_no_labels(listing, layout, path, config)
        assembled, bad = decode_listing(listing, layout.images, config, on_progress, workers)
    return _make_dataset(path, listing, layout, assembled, bad, config)


def _require_no_labels(listing: Listing, layout: Layout, path: Path, config: DataConfig) -> None:
    """Raise RefusedError where a table beside the images, other than the groups file, seems to hold their labels."""
    groups = None if config.groups is None else os.path.abspath(config.groups)
    tables = [
        table for table in (*layout.tables, *layout.texts) if os.path.abspath(path / str(table.key)) != groups
    ]
    if problems := [*table_problems(listing, tables, layout.images)]:
        raise RefusedError(layout.problems + problems)  # before decoding: the images may be other ones


def _make_dataset(
    path: Path,
    listing: Listing,
    layout: Layout,
    assembled: Assembled,
    bad: Mapping[int, Problem],
    config: DataConfig,
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
    (assembled,), window = develop([assembled], config)
    kept = np.delete(np.arange(len(ids)), [*bad])
    groups, dicom = _use_dicom(assembled, layout, config)
    images = select(assembled, kept)
    return Dataset(
        images=images.images,
        labels=labels[kept],
        class_names=layout.class_names,
        ids=np.array(ids)[kept],
        digests=images.digests,
        name=source_name(path),
        split=np.array([image.part for image in layout.images])[kept] if layout.images[0].part else None,
        counts=LoadCounts(
            **assembled.changes,
            skipped=layout.skipped,
            tables=len(layout.tables),
            ignored=layout.ignored,
            bad=len(bad),
            guessed_names=sum(layout.images[position].key in listing.guessed for position in kept),
        ),
        window=window,
        source_sizes=assembled.sizes,
        bad=tuple(bad.values()),
        groups=None if groups is None else groups[kept],
        grouped_by=dicom.group_sources if dicom is not None and groups is not None else (),
        dicom=dicom,
    )


def _use_dicom(
    assembled: Assembled, layout: Layout, config: DataConfig
) -> tuple[Names | None, DicomUse | None]:
    """The group of each image, and what is told of DICOM files; None where there are none."""
    if not assembled.subjects:
        return None, None
    ids, files = zip(*((image.id, frame_source(image.key)) for image in layout.images), strict=True)
    groups, tag = patient_groups(assembled.subjects, ids, files)
    bits = 8 * assembled.images.itemsize
    return groups, DicomUse(describe_rules(config.window, assembled.changes), tag, bits)


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


def decode_listing(
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

    try:
        assembled = assemble(decoded(), len(images), config)
    except NoAnswerError as error:
        names = [images[positions[key]].id for key in error.keys]
        which = "one of these" if len(names) > 1 else "it"
        reason = f"the process that decodes {which} has given {error}"
        remedy = "try again; if it happens again, leave out the one that is damaged: --ignore"
        raise refuse(listed(names), reason, remedy) from None
    return assembled, dict(sorted(bad.items()))
