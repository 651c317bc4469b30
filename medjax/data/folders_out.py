"""Copy a source into train and test folders, OUT/train/<class>/<file> and OUT/test/<class>/<file>, byte for byte."""

import dataclasses
import os
import shutil
import stat
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from medjax.config import DataConfig
from medjax.data.decoding.worker_pool import Progress
from medjax.data.dicom.peek import label_folders
from medjax.data.load import PHANTOM, load
from medjax.data.reading.layout import list_images
from medjax.data.reading.listing import Fault, UnfitError, problem_of
from medjax.data.reading.sources import open_source
from medjax.data.splitting.splits import draw_parts
from medjax.errors import Problem, RefusedError, refuse
from medjax.records import Dataset

PARTS = ("train", "test")
# Marks an unfinished folder as made by medjax; locked while that process lives.
MARKER = ".medjax-split-unfinished"
_DEFAULTS = DataConfig()
_PROGRESS_IMAGES = 100


def export_split(
    source: str | os.PathLike,
    target: str | os.PathLike,
    test_share: float,
    *,
    seed: int = 0,
    config: DataConfig = _DEFAULTS,
    on_progress: Progress | None = None,
) -> dict[str, dict[str, int]]:
    """Copy the images of `source`, a folder or archive of class folders, into a new folder with train and test.

    Both parts hold every class; test gets `test_share` of the images, drawn by `seed`, stratified, with groups and
    duplicates kept together as `config` says. Images that a table labels come into the folders of their classes. Files are copied unchanged, so only the settings that decide which images
    are read matter. Returns the number of images by part and class name.

    First all images are read and checked as by `load`, then copied into a folder beside `target`, which is renamed when
    it is complete; `on_progress(done, total)` is called for both. Raises RefusedError, before anything is written, for a
    target that is in use or inside the source, for a source without class folders or with parts of its own, and for
    whatever `load` refuses.
    """
    if not 0 < test_share < 1:
        raise refuse("--test", f"{test_share} is out of range", "more than 0, less than 1, such as 0.2")
    if source == PHANTOM:
        raise refuse(PHANTOM, "has no files to copy: it is generated in memory", "train on it as it is")
    if config.frames == "all":
        raise refuse(
            "--frames", "all: a file is copied with all its frames", "leave it out, or --frames middle"
        )
    origin, target = Path(source), Path(os.path.abspath(target))
    if origin.suffix.lower() == ".npz" and not origin.is_dir():
        raise refuse(origin, "holds arrays in parts of its own, and no image files", "train on it as it is")
    _require_free(target, origin)
    config = dataclasses.replace(config, anonymous_ids=False)  # copies have the names of their files
    dataset = load(origin, config, on_progress=on_progress)
    _require_no_parts(origin, dataset)
    if dataset.has_several_labels:
        reason = "has images of several labels, which fit no folder of one class"
        raise refuse(origin, reason, "train on it as it is: parts are drawn then")
    _require_portable(dataset)
    train, test = draw_parts(
        np.arange(len(dataset.ids)), dataset.labels, (test_share,), seed, dataset.groups, dataset.class_names
    )
    places = _places(dataset)
    target_of = {
        str(id): f"{part}/{places[id]}"
        for part, chosen in zip(PARTS, (train, test), strict=True)
        for id in dataset.ids[chosen].tolist()
    }
    with _write_folder(target) as folder:
        left_out = {problem.name for problem in dataset.bad}
        _copy_images(origin, folder, target_of, left_out, config, on_progress)
    return {
        part: dict(zip(dataset.class_names, np.bincount(dataset.labels[chosen]).tolist(), strict=True))
        for part, chosen in zip(PARTS, (train, test), strict=True)
    }


def _require_free(target: Path, source: Path) -> None:
    """Raise RefusedError unless `target` is a new or empty folder, neither inside the source nor around it."""
    try:
        if os.path.lexists(target):
            if not stat.S_ISDIR(target.lstat().st_mode):
                raise refuse(target, "exists and is not a folder", "give the name of a new folder")
            if any(target.iterdir()):
                raise refuse(target, "is not empty", "give the name of a new folder")
        for path in (target, _unfinished(target)):
            if _is_within(path, source):
                raise refuse(path, f"lies inside the source {source}", "give a folder outside of it")
            if _is_within(source, path):
                raise refuse(path, f"would replace the source {source}", "give another folder")
    except OSError as error:
        raise _failed(target, error) from None


def _is_within(path: Path, folder: Path) -> bool:
    """Whether `path` is `folder` or inside it, compared by file, as letter case, links and mounts give it many names."""
    path = path.resolve()
    return folder.exists() and any(each.exists() and each.samefile(folder) for each in (path, *path.parents))


def _require_no_parts(source: Path, dataset: Dataset) -> None:
    if dataset.split is not None:
        parts = ", ".join(sorted(set(dataset.split.tolist())))
        remedy = "train on it as it is: its parts are kept; or give a folder with a folder per class"
        raise refuse(source, f"has parts already: {parts}", remedy)


def _require_portable(dataset: Dataset) -> None:
    """Raise RefusedError if two names are the same on a file system that ignores case.

    All names are compared, whatever their parts: the seed must not decide whether a source is refused.
    """
    names = [*dataset.class_names, *map(str, dataset.ids)]
    same = defaultdict(list)
    for name in names:
        same[unicodedata.normalize("NFC", name.casefold())].append(name)
    problems = [
        Problem(other, f"differs from {first} only in upper and lower case", "rename one")
        for first, *others in same.values()
        for other in others
    ]
    if problems:
        raise RefusedError(problems)


def _places(dataset: Dataset) -> dict[str, str]:
    """The path of each image in a part, by id: the id itself, or the folder of the class that a table gives and a name.

    That is its file name, of images that share one their whole path. RefusedError for a class that cannot name a folder.
    """
    ids = dataset.ids.tolist()
    if dataset.table is None:
        return {id: id for id in ids}
    if unfit := [name for name in dataset.class_names if {"/", "\\"} & {*name} or name in (".", "..")]:
        raise RefusedError(
            Problem(f"class {name}", "cannot be the name of a folder", "rename it in the table")
            for name in unfit
        )
    names = Counter(id.rpartition("/")[2].casefold() for id in ids)
    places = {}
    for id, label in zip(ids, dataset.labels.tolist(), strict=True):
        name = id.rpartition("/")[2]
        name = name if names[name.casefold()] == 1 else id.replace("/", "_")
        places[id] = f"{dataset.class_names[label]}/{name}"
    return places


@contextmanager
def _write_folder(target: Path) -> Iterator[Path]:
    """A new folder beside `target` that is renamed to it when the block ends, or removed on an error.

    `medjax.files.write_whole` does this for a file; a folder also needs a lock, and can be killed half way.
    """
    folder = _unfinished(target)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(folder):
            _remove_leftover(folder)
        folder.mkdir()
        with _locked(folder):
            try:
                yield folder
                if target.is_dir():
                    target.rmdir()  # fails unless it is empty
                folder.rename(target)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        # Last: a process killed just before leaves a complete folder with a hidden file, which `load` skips.
        (target / MARKER).unlink()
    except OSError as error:
        raise _failed(target, error) from None


def _remove_leftover(folder: Path) -> None:
    """Remove what a killed process left; RefusedError if it may be something else, or the process is alive."""
    is_folder = stat.S_ISDIR(folder.lstat().st_mode)
    names = {path.name for path in folder.iterdir()} if is_folder else {""}
    if not names:
        folder.rmdir()
        return
    if not {MARKER} <= names <= {MARKER, *PARTS} or not stat.S_ISREG((folder / MARKER).lstat().st_mode):
        raise refuse(folder, "exists and was not made by medjax", "remove or rename it")
    with _locked(folder):
        shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    import filelock  # imports asyncio, which nothing else here needs

    try:
        with filelock.FileLock(folder / MARKER, timeout=0):
            yield
    except filelock.Timeout:
        raise refuse(
            folder, "is being written by another run", "wait for it, or give another folder"
        ) from None


def _copy_images(
    source: Path,
    folder: Path,
    target_of: dict[str, str],
    left_out: Collection[str],
    config: DataConfig,
    on_progress: Progress | None,
) -> None:
    """Copy the bytes of every image of `source`, but those `left_out`, to its path in the folder."""
    try:
        with open_source(source, config) as listing:
            if config.labels is None:
                found = label_folders(listing, str(source), config).images
            else:
                images = list_images(listing.entries, config.ignore).images
                found = [image for image in images if image.id in target_of]
            id_of = {image.key: image.id for image in found if image.id not in left_out}
            if set(id_of.values()) != target_of.keys():
                raise refuse(source, "has changed while it was read", "run the command again")
            for done, (key, data) in enumerate(listing.read(id_of), start=1):
                id = id_of[key]
                if isinstance(data, Fault):
                    raise RefusedError(problem_of(id, data))
                path = _image_path(folder, target_of[id])
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "xb") as handle:
                    handle.write(data)
                if on_progress is not None and (done % _PROGRESS_IMAGES == 0 or done == len(id_of)):
                    on_progress(done, len(id_of))
    except UnfitError as error:
        raise RefusedError(problem_of(str(source), error.fault, can_ignore=False)) from None


def _image_path(folder: Path, place: str) -> Path:
    """The path of an image at part/class/file in the `folder`; RefusedError for a name that would lead out of it."""
    names = place.split("/")
    is_plain = all(name not in ("", ".", "..") and not {"\\", "\0"} & set(name) for name in names)
    path = folder.joinpath(*names)
    if len(names) < 3 or not is_plain or folder not in path.parents:
        raise refuse(place.partition("/")[2], "is not a plain class/file name", "rename it")
    return path


def _unfinished(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


def _failed(target: Path, error: OSError) -> RefusedError:
    reason = f"the copy failed: {error.strerror or error}"
    return refuse(error.filename or target, reason, "check permissions, names and the space left")
