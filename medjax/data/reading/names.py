"""What the name of a file says: whether it is valid, junk, a document, ignored by the user, a good class name."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from medjax.data.reading.listing import Entry, Fault
from medjax.errors import is_unicode

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
IMAGE_SUFFIXES = (*PICTURE_SUFFIXES, *DICOM_SUFFIXES)
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz")

TABLE_SUFFIXES = (".csv", ".tsv", ".xls", ".xlsx", ".ods", ".parquet")

_DOCUMENT_SUFFIXES = (
    *(".txt", ".md", ".rst", ".json", ".jsonl", ".html", ".htm", ".xml", ".yaml", ".yml"),
    *(".toml", ".ini", ".cfg", ".log", ".bib", ".cff", ".pdf", ".doc", ".docx"),
    *TABLE_SUFFIXES,
)
_DOCUMENT_NAMES = (
    "readme",
    "license",
    "licence",
    "copying",
    "notice",
    "authors",
    "citation",
    "changelog",
    "dicomdir",
)
# Of macOS, Windows, the Synology disk station, Unix and Python.
_JUNK_NAMES = (
    *("__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin"),
    *("system volume information", "@eadir", "lost+found", "__pycache__"),
)
# What Windows writes beside a file from the internet, where the file system knows no streams; WSL turns the colon into
# U+F03A.
_JUNK_ENDINGS = (":zone.identifier", "\uf03azone.identifier")
_JUNK_STARTS = ("._", "~$")  # attributes of macOS; documents that are open in Office
_MAYBE_JUNK = re.compile(
    rf"(?:^|/)(?:[.~]|{'|'.join(map(re.escape, _JUNK_NAMES))})|{'|'.join(_JUNK_ENDINGS)}", re.IGNORECASE
)
_FORMULA_STARTS = ("=", "+", "-", "@")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.() -]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.() -]*)*/?")


def tidy_name(raw: str) -> tuple[str, Fault | None]:
    """The id of a file or archive member of this name, in Unicode NFC, and what is wrong with the name, if anything.

    `.` and empty components are dropped, so that `tar -C folder .` gives the same ids as the folder.
    """
    if _PLAIN_NAME.fullmatch(raw):  # the common case first: there may be a million names
        return raw.rstrip("/"), None
    if any("\ud800" <= character <= "\udfff" for character in raw):
        return raw, Fault("has a name that is not UTF-8", "rename it")
    name = unicodedata.normalize("NFC", "/".join(each for each in raw.split("/") if each not in ("", ".")))
    if raw.startswith("/") or re.match("[A-Za-z]:", raw):
        return raw, Fault("has an absolute name", "pack it with names relative to the data")
    if ".." in raw.split("/"):
        return raw, Fault("has a name with '..', which leads out of the archive", "pack it with plain names")
    if "\\" in raw or "\0" in raw:
        return raw, Fault("has a backslash or a NUL in its name", "rename it")
    if not name:
        return raw, Fault("has no name", "pack the archive again")
    return name, None


def drop_junk(entries: Iterable[Entry]) -> tuple[list[Entry], int]:
    """The entries without operating-system and hidden files, and how many files were dropped.

    A folder with nothing but junk in it is kept, so that it is found to be empty.
    """
    kept, skipped = [], 0
    for entry in entries:
        if not _MAYBE_JUNK.search(entry.name):  # the common case first: there may be a million names
            kept.append(entry)
            continue
        components = entry.name.split("/")
        depth = next((i for i, component in enumerate(components) if _is_junk(component)), None)
        if depth is None:
            kept.append(entry)
            continue
        skipped += not entry.is_folder
        if depth > 0:
            kept.append(Entry("/".join(components[:depth]), entry.key, is_folder=True))
    return kept, skipped


def is_ignored(name: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern equals or matches the id `name`, its file name, or a folder it is in."""
    if not patterns:
        return False
    components = name.split("/")
    candidates = {*components, *("/".join(components[:end]) for end in range(1, len(components) + 1))}
    wanted = [unicodedata.normalize("NFC", pattern).rstrip("/") for pattern in patterns]
    return any(
        pattern in candidates or any(fnmatchcase(candidate, pattern) for candidate in candidates)
        for pattern in wanted
    )


def is_document(name: str) -> bool:
    """Whether this is the name of a text, table or license that may be beside the class folders."""
    lower = name.lower()
    if lower.endswith(_DOCUMENT_SUFFIXES):
        return True
    return lower.startswith(_DOCUMENT_NAMES) and not lower.endswith((*IMAGE_SUFFIXES, *ARCHIVE_SUFFIXES))


def is_note(name: str) -> bool:
    """Whether this is the name of a text or table among images, where names such as `notice 1` may be those of images."""
    lower = name.lower()
    return lower.endswith(_DOCUMENT_SUFFIXES) or lower in _DOCUMENT_NAMES


def is_table(name: str) -> bool:
    """Whether this is the name of a table, which may hold the labels of the images beside it."""
    return name.lower().endswith(TABLE_SUFFIXES)


def class_name_fault(name: str) -> Fault | None:
    """Why `name` cannot name a class: predictions.csv must be safe to open in a spreadsheet."""
    if name.startswith(_FORMULA_STARTS):
        return Fault("is a class that spreadsheets would take for a formula", "rename the folder")
    if any(unicodedata.category(character) == "Cc" for character in name):
        return Fault("is a class with a control character", "rename the folder")
    if not is_unicode(name):
        return Fault("is a class with half a character (an unpaired surrogate)", "rename the folder")
    return None


def _is_junk(component: str) -> bool:
    lower = component.lower()
    if lower.endswith(_JUNK_ENDINGS) or lower.startswith(_JUNK_STARTS):
        return True
    if component.startswith("."):
        return component != ".." and not lower.endswith(IMAGE_SUFFIXES)
    return lower in _JUNK_NAMES
