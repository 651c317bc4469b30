"""Find out what the columns of a table mean: by their names where these leave no doubt, else by what the user names."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from medjax.errors import RefusedError, listed, refuse

NONE = "none"
"""In the place of a column: take none, whatever the table has."""

# Without case and punctuation. Of ISIC, APTOS, HAM10000, CheXpert, ChestX-ray14, EyePACS, SIIM and others.
_IMAGE_NAMES = re.compile(
    "id|name|path|images|(?:image|file)(?:id|name|index|path|file|filename)?|idcode|isicid"
)
_DICOM_NAMES = re.compile("sopinstance(?:uid)?")
_LABEL_NAMES = re.compile(
    "labels?|class(?:name|label)?|dx|diagnosis|target|category|findinglabels|grade|level"
)
_GROUP_NAMES = re.compile("(?:group|patient|subject|lesion|case)(?:id)?")
_PART_NAMES = re.compile("split|folds?|set|subset|partition")
_MOST_SHOWN = 20


class Columns(NamedTuple):
    """Names of the columns that are taken; None where there is none."""

    image: str
    # One, or several of 0 and 1; none yet where they are to be found by what is in them.
    labels: tuple[str, ...]
    group: str | None = None
    part: str | None = None

    @property
    def taken(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(name for name in (self.image, *self.labels, self.group, self.part) if name)


def find_image_column(table: str, header: Sequence[str], named: str | None, other: str | None = None) -> str:
    """The column with the images; `other` is a column that is none of them. RefusedError where none or several may be."""
    if named is not None:
        return require_column(table, header, named, "--image-column")
    found = _named_like(header, _IMAGE_NAMES, {other}) or _named_like(header, _DICOM_NAMES, {other})
    # An id beside a name of a file is the id of something else.
    found = [name for name in found if _plain(name) not in ("id", "name")] or found
    if len(found) == 1:
        return require_column(table, header, found[0], "--image-column")
    raise _unclear(table, header, found, "the images", "--image-column NAME")


def find_group_column(
    table: str, header: Sequence[str], named: str | None, image: str, *, is_required: bool = False
) -> str | None:
    """The column with the groups; None where there is none and none `is_required`, or "none" is named."""
    if named == NONE and not is_required:
        return None
    if named is not None:
        return require_column(table, header, named, "--group-column")
    found = _named_like(header, _GROUP_NAMES, {image})
    if len(found) == 1:
        return require_column(table, header, found[0], "--group-column")
    if not found and not is_required:
        return None
    remedy = "--group-column NAME" if is_required else f"--group-column NAME, or --group-column {NONE}"
    raise _unclear(table, header, found, "the groups (patient, lesion, scan)", remedy)


def find_part_column(
    table: str, header: Sequence[str], named: str | None, others: Sequence[str | None]
) -> str | None:
    """The column with parts or folds; None where there is none, or "none" is named."""
    if named == NONE:
        return None
    if named is not None:
        return require_column(table, header, named, "--part-column")
    found = _named_like(header, _PART_NAMES, {*others})
    if len(found) > 1:
        remedy = f"--part-column NAME, or --part-column {NONE}"
        raise _unclear(table, header, found, "the parts", remedy)
    return require_column(table, header, found[0], "--part-column") if found else None


def find_label_columns(
    table: str, header: Sequence[str], named: str | None, several: Sequence[str], others: Sequence[str | None]
) -> tuple[str, ...]:
    """The column with the class, or the `several` with 0 and 1 that a user names; none where no name tells."""
    if several:
        return tuple(require_column(table, header, name, "--label-columns") for name in several)
    if named is not None:
        return (require_column(table, header, named, "--label-column"),)
    found = _named_like(header, _LABEL_NAMES, {*others})
    if len(found) > 1:
        raise _unclear(table, header, found, "the labels", "--label-column NAME")
    return tuple(require_column(table, header, name, "--label-column") for name in found)


def refuse_labels(table: str, header: Sequence[str]) -> RefusedError:
    """The refusal of a table none of whose columns is known to hold the labels."""
    remedy = "--label-column NAME, or --label-columns NAME NAME ... where each class has a column of 0 and 1"
    return _unclear(table, header, [], "the labels", remedy)


def require_column(table: str, header: Sequence[str], name: str, flag: str) -> str:
    """The name of a column that the table has once; RefusedError for any other."""
    if header.count(name) == 1:
        return name
    times = "no column" if name not in header else "more than one column"
    remedy = f"name one of them: {flag} NAME" if name not in header else "name each column differently"
    raise refuse(table, f"has {times} {name}; it has {listed(header, _MOST_SHOWN)}", remedy)


def _named_like(header: Sequence[str], names: re.Pattern[str], others: set[str | None]) -> list[str]:
    return [name for name in dict.fromkeys(header) if names.fullmatch(_plain(name)) and name not in others]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


def _unclear(table: str, header: Sequence[str], found: Sequence[str], what: str, remedy: str) -> RefusedError:
    which = f"more than one may hold {what}: {listed(found)}" if found else f"none is known to hold {what}"
    return refuse(
        table, f"{which}; its columns are {listed(header, _MOST_SHOWN)}", f"name the one to take: {remedy}"
    )
