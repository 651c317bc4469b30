"""Check the path of a source and open it, whatever kind it is."""

import os
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from medjax.config import ReadingConfig
from medjax.data.reading.folder import list_folder, read_file
from medjax.data.reading.layout import ImageEntry, Layout, list_unlabelled
from medjax.data.reading.listing import Listing, UnfitError, problem_of
from medjax.data.reading.names import ARCHIVE_SUFFIXES
from medjax.data.reading.tar import open_tar
from medjax.data.reading.zip import open_zip
from medjax.errors import RefusedError, printable, refuse
from medjax.files import open_regular

CHECK_PATH = "check the path and its permissions"
"""Remedy for a source that cannot be opened."""
_KNOWN = "give a folder, a .zip, .tar, .tar.gz or .tar.xz of one, a MedMNIST .npz, or the word phantom"


def require_source(source: str | os.PathLike, *, has_labels: bool = True) -> Path:
    """The path of a folder or non-empty file of a known kind; RefusedError for anything else.

    With `has_labels` a file must be an archive or .npz, without it an archive or a single image. The file type is checked
    before opening, because opening a FIFO would block.
    """
    name = os.fspath(source)
    path = Path(name)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with open_regular(path) as handle:
                is_empty = not handle.read(1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = f"cannot be read: {getattr(error, 'strerror', error)}"
        raise refuse(name, reason, CHECK_PATH) from None
    if stat.S_ISDIR(mode) and name:
        if path.resolve() == Path(path.resolve().anchor):
            raise refuse(name, "is the root of the file system", "name the folder of the images")
        return path
    suffix = source_suffix(path)
    if not stat.S_ISREG(mode):
        raise refuse(name, "is not a regular file or folder", _KNOWN)
    if (has_labels and not suffix) or (not has_labels and suffix == ".npz"):
        raise refuse(name, "is not a kind of file that contains a data set", _KNOWN)
    if is_empty:
        raise refuse(name, "is empty", "copy it again")
    return path


def source_suffix(path: Path) -> str:
    """The suffix of an archive or .npz in lower case, else ""."""
    lower = path.name.lower()
    return next((suffix for suffix in (*ARCHIVE_SUFFIXES, ".npz") if lower.endswith(suffix)), "")


def source_name(path: Path) -> str:
    """The name of a folder, or of an archive without its suffix."""
    name = path.resolve().name
    return (name if path.is_dir() else name[: len(name) - len(source_suffix(path))]) or "data"


@contextmanager
def open_source(path: Path, config: ReadingConfig) -> Iterator[Listing]:
    """The listing of a folder or an archive, readable within the context. Raises UnfitError."""
    if path.is_dir():
        yield list_folder(path, follow_links=config.follow_links)
    else:
        with open_archive(path, config) as listing:
            yield listing


def open_archive(path: Path, config: ReadingConfig) -> AbstractContextManager[Listing]:
    """The listing of a zip or tar, readable within the context. Raises UnfitError."""
    return open_zip(path, config.zip_encoding) if source_suffix(path) == ".zip" else open_tar(path)


def warn_of_guessed_names(source: str, count: int, names: Iterable[str]) -> None:
    """Warn where the names of `count` images of a zip are in an unknown encoding; one of `names` shows what became of it."""
    if count:
        example = next((name for name in names if not name.isascii()), "")
        warnings.warn(
            f"{printable(source)}: the names of {count:,} images are not UTF-8 and were read as code page 437, such as "
            f"{printable(example)}: if that is wrong, give --zip-encoding, such as gbk, shift_jis or cp1251",
            stacklevel=3,
        )


@contextmanager
def open_unlabelled(given: str, config: ReadingConfig) -> Iterator[tuple[Listing, Layout]]:
    """An image, or all images in a folder or archive, without labels, readable within the context.

    Ids begin with the path as given. Raises RefusedError.
    """
    path = require_source(given, has_labels=False)
    try:
        if path.is_dir() or source_suffix(path):
            with open_source(path, config) as listing:
                layout = list_unlabelled(listing.entries, given.rstrip("/"), config.ignore)
                guessed = [image.id for image in layout.images if image.key in listing.guessed]
                warn_of_guessed_names(given, len(guessed), guessed)
                yield listing, layout
        else:
            listing = Listing([], lambda keys: ((key, read_file(path)) for key in keys))
            yield listing, Layout([ImageEntry(given, given)], (), [], 0, 0)
    except UnfitError as error:
        raise RefusedError(problem_of(given, error.fault, can_ignore=False)) from None
    except OSError as error:  # it was there a moment ago
        raise refuse(given, f"cannot be read: {error.strerror or error}", CHECK_PATH) from error
