"""Tables that name DICOM images by a tag and not by a file: SOPInstanceUID, StudyInstanceUID or PatientID."""

import re
from collections.abc import Collection, Iterable, Mapping

from medjax.config import ReadingConfig
from medjax.data.dicom.header import read_names
from medjax.data.reading.layout import ImageEntry, list_images
from medjax.data.reading.listing import Entry, Fault, Listing
from medjax.data.reading.names import PICTURE_SUFFIXES, is_document
from medjax.data.splitting.match_ids import has_file_suffix, match_ids, tidy_id
from medjax.data.tables.read_labels import LabelTable

TAGS = ("SOPInstanceUID", "StudyInstanceUID", "PatientID")
"""Of an image, of a study and of a patient, the finest first."""


def name_images(
    table: LabelTable, listing: Listing, config: ReadingConfig
) -> tuple[LabelTable, Collection[str]]:
    """The table, with ids of images in the place of values of a tag where it names no image by its file.

    And the ids of files that are DICOM whatever their names, of those that the table does not name.

    The tag is the one that the column is called after, else the first that has a value of the table. A row may be of many
    images. Rows of no image are called after their place: values of tags may name patients.
    """
    if not any(map(_may_be_dicom, listing.entries)):  # the common case: there may be a million entries
        return table, ()
    entries = list_images(listing.entries, config.ignore).images
    images = [image for image in entries if not image.id.lower().endswith(PICTURE_SUFFIXES)]
    if found := match_ids([image.id for image in images], table.rows).found:
        unclear = [image for image in images if image.id not in found and not has_file_suffix(image.id)]
        return table, _names_of(unclear, listing).keys()
    names = _names_of(images, listing)
    called = re.sub(r"[\W_]+", "", table.columns.image.lower())
    tags = [tag for tag in TAGS if tag.lower() == called] or TAGS
    for tag in tags:
        values = {id: tidy_id(found[tag]) for id, found in names.items() if found[tag]}
        if not table.rows.keys().isdisjoint(values.values()):
            return _renamed(table, values), names.keys()
    # A refusal shows the first ids, which a column that is called after a tag takes from patients.
    return (table if tags is TAGS else _renamed(table, {})), names.keys()


def _may_be_dicom(entry: Entry) -> bool:
    return not (entry.is_folder or entry.name.lower().endswith(PICTURE_SUFFIXES) or is_document(entry.name))


def _names_of(images: Iterable[ImageEntry], listing: Listing) -> dict[str, dict[str, str]]:
    """The values of the tags of each image, by its id; files that are no DICOM are left out."""
    id_of = {image.key: image.id for image in images}
    found = {}
    for key, data in listing.read(id_of):
        if not isinstance(data, Fault) and (names := read_names(data, TAGS)) is not None:
            found[id_of[key]] = names
    return found


def _renamed(table: LabelTable, values: Mapping[str, str]) -> LabelTable:
    used = {*values.values()}
    left = {
        f"id {number} of {table.name}": row
        for number, (value, row) in enumerate(table.rows.items(), start=1)
        if value not in used
    }
    rows = {id: table.rows[value] for id, value in values.items() if value in table.rows}
    contradicted = {
        id: table.contradicted[value] for id, value in values.items() if value in table.contradicted
    }
    return table._replace(rows={**rows, **left}, contradicted=contradicted)
