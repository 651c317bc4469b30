"""A source laid out anew as OUT/train/<class>/<file> and OUT/test/<class>/<file>, byte for byte."""

import os
import shutil
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from medjax.config import DataConfig
from medjax.data.decoding.worker_pool import Progress
from medjax.data.load import PHANTOM, load
from medjax.data.reading.layout import label_by_folder
from medjax.data.reading.listing import Fault, UnfitError, problem_of
from medjax.data.reading.sources import open_source
from medjax.data.splitting.splits import draw_parts
from medjax.errors import Problem, RefusedError, refuse
from medjax.records import Dataset

PARTS = ("train", "test")
# Tells what an earlier, killed run of ours left behind; locked as long as the run lives.
MARKER = ".medjax-split-unfinished"
_DEFAULTS = DataConfig()
_IMAGES_A_CALL = 100


def export_split(
    source: str | os.PathLike,
    target: str | os.PathLike,
    test_share: float,
    *,
    seed: int = 0,
    config: DataConfig = _DEFAULTS,
    on_progress: Progress | None = None,
) -> dict[str, dict[str, int]]:
    """Copy the images of `source`, a folder or archive of class folders, into a new folder of two parts.

    Each part holds every class; test holds `test_share` of the images, drawn by `seed`, stratified, groups and
    duplicates kept whole as `config` says. The bytes of an image are copied as they are; of the settings only those
    matter that decide which images are read. Returns the number of images by part and class name.

    All images are read and checked first, as `load` does; then copied, into a folder beside `target` that
    takes its name when it is complete. Both times `on_progress(done, total)` is called. Raises RefusedError
    before anything is written for a target that is in use or inside the source, for a source without a folder
    per class or with parts of its own, and for whatever `load` refuses.
    """
    if not 0 < test_share < 1:
        raise refuse("--test", f"{test_share} is out of range", "more than 0, less than 1, such as 0.2")
    if source == PHANTOM:
        raise refuse(PHANTOM, "is made anew each time: it has no files to copy", "train on it as it is")
    origin, target = Path(source), Path(os.path.abspath(target))
    if origin.suffix.lower() == ".npz" and not origin.is_dir():
        raise refuse(origin, "holds arrays and no image files, in parts of its own", "train on it as it is")
    _require_free(target, origin)
    dataset = load(origin, config, on_progress=on_progress)
    _require_no_parts(origin, dataset)
    _require_portable(dataset)
    train, test = draw_parts(
        np.arange(len(dataset.ids)), dataset.labels, (test_share,), seed, dataset.groups, dataset.class_names
    )
    part_of = {
        str(id): part for part, chosen in zip(PARTS, (train, test), strict=True) for id in dataset.ids[chosen]
    }
    with _appearing(target) as folder:
        _copy_images(origin, folder, part_of, config, on_progress)
    return {
        part: dict(zip(dataset.class_names, np.bincount(dataset.labels[chosen]).tolist(), strict=True))
        for part, chosen in zip(PARTS, (train, test), strict=True)
    }


def _require_free(target: Path, source: Path) -> None:
    """Raise RefusedError unless `target` is new or an empty folder, and apart from the source."""
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
    """Whether `path` is `folder` or lies in it, by whatever name: cases, links and mounts give it several."""
    path = path.resolve()
    return folder.exists() and any(each.exists() and each.samefile(folder) for each in (path, *path.parents))


def _require_no_parts(source: Path, dataset: Dataset) -> None:
    if dataset.split is not None:
        parts = ", ".join(sorted(set(dataset.split.tolist())))
        remedy = "train on it as it is: its parts are kept; or give a folder with a folder per class"
        raise refuse(source, f"has parts already: {parts}", remedy)


def _require_portable(dataset: Dataset) -> None:
    """Raise RefusedError where two names would be one on a file system that does not tell cases apart.

    They are compared whichever part they fall into: the seed must not decide whether a source will do.
    """
    names = [*dataset.class_names, *map(str, dataset.ids)]
    alike = defaultdict(list)
    for name in names:
        alike[unicodedata.normalize("NFC", name.casefold())].append(name)
    problems = [
        Problem(other, f"differs from {first} in upper and lower case alone", "rename one")
        for first, *others in alike.values()
        for other in others
    ]
    if problems:
        raise RefusedError(problems)


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A new folder beside `target` to write into; in the end it becomes `target`, or goes on failure."""
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
                    target.rmdir()  # it is empty, or this fails
                folder.rename(target)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        # Only now: a run killed just before leaves a complete folder, and in it a hidden file that `load`
        # skips.
        (target / MARKER).unlink()
    except OSError as error:
        raise _failed(target, error) from None


def _remove_leftover(folder: Path) -> None:
    """Remove what a killed run has left; RefusedError where it may be anything else, or the run is alive."""
    is_folder = stat.S_ISDIR(folder.lstat().st_mode)
    names = {path.name for path in folder.iterdir()} if is_folder else {""}
    if not names:
        folder.rmdir()
        return
    if not {MARKER} <= names <= {MARKER, *PARTS} or not stat.S_ISREG((folder / MARKER).lstat().st_mode):
        raise refuse(folder, "is in the way, and nothing that medjax left", "remove or rename it")
    with _locked(folder):
        shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    import filelock  # it brings asyncio, which nothing else here needs

    try:
        with filelock.FileLock(folder / MARKER, timeout=0):
            yield
    except filelock.Timeout:
        raise refuse(
            folder, "is being written by another run", "wait for it, or give another folder"
        ) from None


def _copy_images(
    source: Path, folder: Path, part_of: dict[str, str], config: DataConfig, on_progress: Progress | None
) -> None:
    """Write the bytes of every image of `source` to its place in its part."""
    try:
        with open_source(source, config) as listing:
            id_of = {
                image.key: image.id
                for image in label_by_folder(listing.entries, str(source), config.ignore).images
            }
            if set(id_of.values()) != part_of.keys():
                raise refuse(source, "has changed while it was read", "run it again")
            for done, (key, data) in enumerate(listing.read(id_of), start=1):
                id = id_of[key]
                if isinstance(data, Fault):
                    raise RefusedError(problem_of(id, data))
                path = _place_of(folder / part_of[id], id)
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "xb") as handle:
                    handle.write(data)
                if on_progress is not None and (done % _IMAGES_A_CALL == 0 or done == len(id_of)):
                    on_progress(done, len(id_of))
    except UnfitError as error:
        raise RefusedError(problem_of(str(source), error.fault, can_ignore=False)) from None


def _place_of(folder: Path, id: str) -> Path:
    """The path of an image below the `folder` of its part; no name that got this far may lead out of it."""
    names = id.split("/")
    is_plain = all(name not in ("", ".", "..") and not {"\\", "\0"} & set(name) for name in names)
    path = folder.joinpath(*names)
    if len(names) != 2 or not is_plain or path.parent.parent != folder:
        raise refuse(id, "is not a plain class/file name", "rename it")
    return path


def _unfinished(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


def _failed(target: Path, error: OSError) -> RefusedError:
    reason = f"the copy failed: {error.strerror or error}"
    return refuse(error.filename or target, reason, "check permissions, names and the space left")
