"""Whether a source is of DICOM files, by its first few: their folders are patients, studies and series then."""

import itertools

from medjax.config import ReadingConfig
from medjax.data.dicom.signature import is_dicom
from medjax.data.reading.layout import Layout, label_by_folder
from medjax.data.reading.listing import Fault, Listing
from medjax.data.reading.names import PICTURE_SUFFIXES, drop_junk, is_document

_FILES = 5


def label_folders(listing: Listing, source: str, config: ReadingConfig) -> Layout:
    """`label_by_folder`; folders inside class folders are no problem where the files are DICOM, which say whose they are."""
    layout = label_by_folder(listing.entries, source, config.ignore, config.nested)
    if layout.problems and config.nested == "refuse" and holds_dicom(listing):
        return label_by_folder(listing.entries, source, config.ignore, "ignore")
    return layout


def holds_dicom(listing: Listing) -> bool:
    """Whether one of the first files that may be is a DICOM file; it is read to its end, not decoded."""
    entries, _ = drop_junk(listing.entries)
    names = (
        entry
        for entry in entries
        if not (entry.is_folder or entry.fault) and _may_be(entry.name.rpartition("/")[2])
    )
    keys = [entry.key for entry in itertools.islice(names, _FILES)]
    return any(not isinstance(data, Fault) and is_dicom(data) for _, data in listing.read(keys))


def _may_be(name: str) -> bool:
    return not (name.lower().endswith(PICTURE_SUFFIXES) or is_document(name))
