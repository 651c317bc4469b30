"""A cache of decoded data sets on disk, so that loading a source again is quick.

An entry is one file: the sha256 of the rest in hexadecimal and a newline, then .npy arrays one after another. Its name
is a hash of everything that the result depends on, and its checksum is verified when it is read. Damaged, foreign or
unsafe entries are ignored; no error in here stops a load. Entries that were not used for longest make room for new ones.
"""

import dataclasses
import hashlib
import json
import math
import os
import re
import stat
import warnings
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL

from medjax.config import DataConfig
from medjax.errors import Problem, RefusedError
from medjax.files import Folder, open_folder, open_regular, write_in
from medjax.memory import available_memory, empty_for_device, in_words
from medjax.records import Dataset, DicomUse, Images, LoadCounts, Window

FORMAT = 6
"""Increase this when the same source gives another `Dataset`, or the layout of the file changes."""

LIMIT_VARIABLE = "MEDJAX_CACHE_LIMIT"
"""Environment variable with the most that all entries together may take, in gigabytes of 10⁹ bytes."""
DEFAULT_LIMIT = 20.0

_ENTRY = re.compile(r"[0-9a-f]{64}(?:\.[0-9a-f]+\.partial)?")  # and what a killed process left of one
_CHECKSUM_BYTES = 65
_CHUNK_BYTES = 2**20
# Settings that do not change the images.
_IRRELEVANT = (
    *("cache", "groups", "image_column", "group_column", "group_duplicates", "near_threshold", "val_as_test"),
    *(
        "labels",
        "label_column",
        "label_columns",
        "part_column",
        "uncertain",
        "allow_missing",
        "table_encoding",
    ),
    "group_pattern",
)
_ARRAYS = ("images", "labels", "ids", "digests", "split", "groups")


def cache_folder() -> Path:
    """The folder of the cache: MEDJAX_CACHE_DIR if it is set, else in the user's cache folder."""
    if named := os.environ.get("MEDJAX_CACHE_DIR"):
        return Path(named)
    import platformdirs  # which a minimal installation may lack

    return Path(platformdirs.user_cache_dir("medjax"))


def cache_key(stamp: str, config: DataConfig) -> str:
    """The name of an entry: a hash of the source's stamp, the settings, and the versions of the format and Pillow."""
    settings = {**dataclasses.asdict(config), **dict.fromkeys(_IRRELEVANT)}
    return hashlib.sha256(json.dumps([FORMAT, PIL.__version__, stamp, settings]).encode()).hexdigest()


def file_stamp(path: Path) -> str:
    """The sha256 of a file."""
    with open_regular(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def file_identity(path: Path) -> tuple[int, ...]:
    """What changes when a file is replaced or written to: the change time, unlike others, cannot be set back."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read_cached(key: str) -> Dataset | None:
    """The data set stored under `key`; None without a warning if there is none or it is unusable."""
    try:
        with open_folder(cache_folder()) as folder:
            if not _is_private(folder):
                return None
            handle = open_regular(folder.at(key), dir_fd=folder.descriptor)
            with suppress(OSError):
                os.utime(folder.at(key), dir_fd=folder.descriptor)  # used now
        with handle:
            if handle.read(_CHECKSUM_BYTES) != _checksum(handle):
                return None
            handle.seek(_CHECKSUM_BYTES)
            return _read_dataset(handle)
    except (OSError, ValueError, KeyError, TypeError, EOFError, MemoryError):
        return None


def write_cached(key: str, dataset: Dataset) -> None:
    """Store `dataset` under `key`, in the place of the entries that were not used for longest; warns if that is not possible."""
    path, room = cache_folder(), _limit() - dataset.images.nbytes
    if room < 0:
        _warn(
            f"{dataset.name or 'the data set'} needs {in_words(dataset.images.nbytes)}, more than {LIMIT_VARIABLE} allows"
        )
        return
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open_folder(path) as folder:
            if not _is_private(folder):
                _warn(f"{path} is not used, as others can write there: chmod 700 it, or set MEDJAX_CACHE_DIR")
                return
            _drop_oldest(folder, room)
            with write_in(folder, key, mode=0o600) as handle:
                handle.write(bytes(_CHECKSUM_BYTES))
                _write_dataset(handle, dataset)
                handle.seek(_CHECKSUM_BYTES)
                checksum = _checksum(handle)
                handle.seek(0)
                handle.write(checksum)
    except OSError as error:
        _warn(f"cannot write to {path}: {error.strerror or error}")
    except RefusedError as error:
        _warn(str(error))


def _limit() -> float:
    """The most bytes that all entries together may take."""
    text = os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_LIMIT)
    with suppress(ValueError):
        if math.isfinite(gigabytes := float(text)) and gigabytes >= 0:
            return 1e9 * gigabytes
    _warn(f"{LIMIT_VARIABLE} is {text!r}, which is no number of gigabytes: {DEFAULT_LIMIT:g} are taken")
    return 1e9 * DEFAULT_LIMIT


def _drop_oldest(folder: Folder, room: float) -> None:
    """Remove the entries that were not used for longest, until the others take no more than `room` bytes."""
    entries = []
    for name in filter(_ENTRY.fullmatch, folder.names()):
        status = folder.status(name)
        if status is not None and stat.S_ISREG(status.st_mode):
            entries.append((status.st_mtime_ns, name, status.st_size))
    used = sum(size for _, _, size in entries)
    for _, name, size in sorted(entries):
        if used <= room:
            return
        with suppress(FileNotFoundError):  # another process makes room too
            folder.remove(name)
        used -= size


def _checksum(handle: BinaryIO) -> bytes:
    state = hashlib.sha256()
    while chunk := handle.read(_CHUNK_BYTES):
        state.update(chunk)
    return state.hexdigest().encode() + b"\n"


def _write_dataset(handle: BinaryIO, dataset: Dataset) -> None:
    text = {
        "class_names": dataset.class_names,
        "counts": dataset.counts._asdict(),
        "has_split": dataset.split is not None,
        "has_groups": dataset.groups is not None,  # those of DICOM files
        "dicom": dataset.dicom,
        "window": dataset.window,
        "source_sizes": dataset.source_sizes,
        "bad": dataset.bad,
    }
    np.save(handle, np.array(json.dumps(text)), allow_pickle=False)
    for name in _ARRAYS:
        array = getattr(dataset, name)
        np.save(handle, np.empty(0) if array is None else array, allow_pickle=False)


def _read_dataset(handle: BinaryIO) -> Dataset:
    size, free = os.fstat(handle.fileno()).st_size, available_memory()
    if free is not None and size > free:
        raise MemoryError  # the images are read from the source then, which is refused with what they need
    text = json.loads(str(np.load(handle, allow_pickle=False)))
    images = _read_images(handle)
    arrays = {name: np.load(handle, allow_pickle=False) for name in _ARRAYS[1:]}
    if not text["has_split"]:
        arrays["split"] = None
    if not text["has_groups"]:
        arrays["groups"] = None
    dicom = DicomUse(*text["dicom"]) if text["dicom"] else None
    smallest, largest = text["source_sizes"] or ((), ())
    return Dataset(
        images=images,
        **arrays,
        class_names=tuple(text["class_names"]),
        name="",
        counts=LoadCounts(**text["counts"]),
        window=Window(*text["window"]) if text["window"] else None,
        source_sizes=(tuple(smallest), tuple(largest)) if smallest else None,
        bad=tuple(Problem(*each) for each in text["bad"]),
        grouped_by=dicom.group_sources if dicom is not None and text["has_groups"] else (),
        dicom=dicom,
    )


def _read_images(handle: BinaryIO) -> Images:
    """An array that `np.save` wrote, where the device can share it."""
    if np.lib.format.read_magic(handle) != (1, 0):
        raise ValueError
    shape, _, dtype = np.lib.format.read_array_header_1_0(handle)
    images = empty_for_device(shape, dtype)
    flat = images.reshape(-1).view(np.uint8)
    for start in range(0, len(flat), _CHUNK_BYTES):
        part = flat[start : start + _CHUNK_BYTES]
        chunk = handle.read(len(part))
        if len(chunk) < len(part):
            raise EOFError
        part[:] = np.frombuffer(chunk, np.uint8)
    return images


def _is_private(folder: Folder) -> bool:
    """Whether only this user can write there.

    Who may write in a folder above could only put another private folder of this user in its place: it is opened first,
    then looked at, and entries are opened in it. So, unlike of programs, the folders above need not be private too.
    """
    status = folder.own_status()
    return os.name != "posix" or (status.st_uid == os.geteuid() and not status.st_mode & 0o022)


def _warn(text: str) -> None:
    warnings.warn(f"cache: {text}", stacklevel=2)
