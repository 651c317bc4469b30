"""Give the images of a source the labels, groups and parts of a table, and refuse what is in one of both only."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medjax.config import ReadingConfig
from medjax.data.reading.layout import ImageEntry, Layout, list_images
from medjax.data.reading.listing import Entry, Fault, problem_of
from medjax.data.splitting.match_ids import Matches, has_file_suffix, match_ids
from medjax.data.tables.class_names import name_classes
from medjax.data.tables.parts import read_parts
from medjax.data.tables.read_labels import LabelTable, Row
from medjax.data.tables.several_labels import describe_marks, read_several, single_label
from medjax.errors import Problem, RefusedError, listed, refuse
from medjax.records import Indices, LabelMatrix, Names, TableUse

_LEAVE_OUT = "leave such out: --allow-missing"


class Labelled(NamedTuple):
    """The images that a table labels, and what it says of them, in the order of the images."""

    layout: Layout  # its images have classes, but no parts
    groups: Names | None
    parts: Names | None  # "train", "val" or "test" for each image
    folds: Names | None
    use: TableUse
    elsewhere: list[tuple[str, str]]  # pairs of image and id in the table whose folders differ
    matrix: LabelMatrix | None = None  # of images that may have several labels: those of each


class _Found(NamedTuple):
    """Images and rows, matched."""

    rows: dict[str, Row]  # by the id of the image
    unlisted: list[str]  # ids of images without a row
    beside: list[str]  # ids of images without a row in folders none of whose images has one
    folders: int  # how many such folders there are
    unknown: int  # files that are neither named by the table nor as images are


def label_images(
    entries: Iterable[Entry],
    table: LabelTable,
    source: str,
    config: ReadingConfig,
    known: Collection[str] = (),
) -> Labelled:
    """The images among `entries` that rows of the table name, with their classes.

    Images in a folder none of whose images has a row are left out. Any other image without a row or a label, and a row
    without an image, is refused unless `config.allow_missing` leaves it out. Rows that say the same of an image are one;
    rows that differ are refused. RefusedError names them all. `known` are ids of images whose names do not tell.
    """
    layout = list_images(entries, config.ignore)
    ids = [image.id for image in layout.images]
    matches = match_ids(ids, table.rows)
    _require_any(ids, matches, table, source)
    found = _sort_out(ids, matches, table, known)
    unlabelled = [id for id, row in found.rows.items() if not row.label]
    without_image = _without_image(table, matches)
    problems = [
        *layout.problems,
        *_ambiguous_problems(table, matches),
        *_contradictions(table, matches),
        *([] if config.allow_missing else _missing(table, found.unlisted, unlabelled, without_image)),
    ]
    if problems:
        raise RefusedError(problems)
    images, names, matrix = _with_classes(layout.images, found.rows, table, config)
    is_kept = [image.class_name != "" for image in images]
    kept = [image for image in images if image.class_name]
    rows = [found.rows[image.id] for image in kept]
    parts, folds = (
        (None, None)
        if table.columns.part is None
        else read_parts([row.part.strip() for row in rows], table.name, table.columns.part)
    )
    use = TableUse(
        os.path.basename(table.name),
        table.sha256,
        table.columns.image,
        table.columns.labels,
        table.columns.group,
        table.columns.part,
        table.num_rows,
        len(without_image),
        len(found.unlisted),
        len(images) - len(kept),
        len(found.beside),
        found.folders,
    )
    layout = layout._replace(images=kept, class_names=names, skipped=layout.skipped + found.unknown)
    matrix = None if matrix is None else matrix[is_kept]
    return Labelled(layout, _groups(kept, rows, table), parts, folds, use, matches.elsewhere, matrix)


def at_places(labelled: Labelled, images: list[ImageEntry], places: Indices) -> Labelled:
    """What the table says of other `images`, each a part of the one at its place; their classes are in them already."""
    groups, parts, folds, matrix = (
        None if values is None else values[places]
        for values in (labelled.groups, labelled.parts, labelled.folds, labelled.matrix)
    )
    return labelled._replace(
        layout=labelled.layout._replace(images=images),
        groups=groups,
        parts=parts,
        folds=folds,
        matrix=matrix,
    )


def _require_any(ids: Sequence[str], matches: Matches, table: LabelTable, source: str) -> None:
    """Raise RefusedError where no row fits an image: another column or folder was meant."""
    if matches.found or matches.ambiguous:
        return
    if not ids:
        raise refuse(source, "contains no images", "name the folder or archive that holds them")
    if not table.rows:
        raise refuse(table.name, "has no rows", "give one for each image")
    reason = f"names none of the images: {table.columns.image} holds {listed([*table.rows], 2)}; the images are {listed(ids, 2)}"
    remedy = (
        "name the column with their ids or paths: --image-column NAME; or give the folder that holds them"
    )
    raise refuse(table.name, reason, remedy)


def _sort_out(ids: Sequence[str], matches: Matches, table: LabelTable, known: Collection[str]) -> _Found:
    named = {*matches.found, *matches.ambiguous}
    full = {folder for id in named for folder in _folders_of(id)}
    unlisted, beside, unknown, empty = [], [], 0, set()
    for id in ids:
        if id in named:
            continue
        outside = next((folder for folder in _folders_of(id) if folder not in full), None)
        if not has_file_suffix(id) and id not in known:
            unknown += 1
        elif outside is not None:
            beside.append(id)
            empty.add(outside)
        else:
            unlisted.append(id)
    rows = {id: table.rows[matches.found[id]] for id in ids if id in matches.found}
    return _Found(rows, unlisted, beside, len(empty), unknown)


def _folders_of(id: str) -> list[str]:
    """The folders that an image is in, the outermost first."""
    components = id.split("/")[:-1]
    return ["/".join(components[: end + 1]) for end in range(len(components))]


def _with_classes(
    images: Iterable[ImageEntry], rows: Mapping[str, Row], table: LabelTable, config: ReadingConfig
) -> tuple[list[ImageEntry], tuple[str, ...], LabelMatrix | None]:
    """The images that have a row, each with its class, "" for none; all classes; and the labels of images with several.

    These have any class but "".
    """
    listed_images = [image for image in images if image.id in rows]
    labels = [rows[image.id].label for image in listed_images]
    columns = table.columns.labels
    several = read_several(labels, columns, table.name)
    if several is not None:
        named = [image._replace(class_name=rows[image.id].label) for image in listed_images]
        return named, several.names, several.matrix
    if len(columns) > 1:
        labels = [single_label(marks, columns) for marks in labels]
    classes, names = name_classes(labels, table.name, ", ".join(columns), config)
    named = [image._replace(class_name=name) for image, name in zip(listed_images, classes, strict=True)]
    return named, names, None


def _without_image(table: LabelTable, matches: Matches) -> list[str]:
    """The ids in the table that no image has. Of ids that are not clear none is known to be without one."""
    used = {*matches.found.values()}
    return [] if matches.ambiguous else [id for id in table.rows if id not in used]


def _ambiguous_problems(table: LabelTable, matches: Matches) -> list[Problem]:
    fault = Fault(
        f"fits several rows of {table.name}, or shares one with another image",
        "name images by whole paths in the table",
    )
    return [problem_of(id, fault) for id in matches.ambiguous]


def _contradictions(table: LabelTable, matches: Matches) -> list[Problem]:
    problems = []
    for image, id in matches.found.items() if table.contradicted else ():
        if id in table.contradicted:
            first, other = table.rows[id], table.contradicted[id]
            kind, one, two = next(
                (kind, one, two)
                for kind, one, two in zip(Row._fields, first, other, strict=True)
                if one != two
            )
            if kind == "label" and len(table.columns.labels) > 1:
                one, two = (describe_marks(marks, table.columns.labels) for marks in (one, two))
            reason = f"has rows in {table.name} that differ: {kind} {one or 'missing'} and {two or 'missing'}"
            problems.append(Problem(image, reason, "keep one of them"))
    return problems


def _missing(
    table: LabelTable, unlisted: Sequence[str], unlabelled: Sequence[str], without_image: Sequence[str]
) -> list[Problem]:
    """A problem for each image without a row or label, and for each row without an image."""
    found = (
        (unlisted, f"is an image without a row in {table.name}"),
        (unlabelled, f"is an image without a label in {table.name}"),
        (without_image, f"has a row in {table.name}, but is not among the images"),
    )
    return [Problem(id, reason, _LEAVE_OUT) for ids, reason in found for id in ids]


def _groups(images: Sequence[ImageEntry], rows: Sequence[Row], table: LabelTable) -> Names | None:
    if table.columns.group is None:
        return None
    empty = [image.id for image, row in zip(images, rows, strict=True) if not row.group]
    if empty:
        column = table.columns.group
        reason = f"column {column} is empty for {len(empty):,} images: {listed(empty)}"
        remedy = "name one; an image that is alone has its own group; or --group-column none"
        raise refuse(table.name, reason, remedy)
    return np.array([row.group for row in rows])
