"""Read a groups file: a table that maps image ids to groups (patient, lesion, scan)."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medjax.config import ReadingConfig
from medjax.data.splitting.match_ids import match_ids, tidy_id
from medjax.data.tables.columns import find_group_column, find_image_column
from medjax.data.tables.open_table import QUOTE, open_table
from medjax.errors import Problem, RefusedError, listed
from medjax.records import Names

_WHOLE_PATHS = "give the ids as paths that are as long as in the data"
_NAME_ONE = "name one; an image that is alone has its own group"
_DEFAULTS = ReadingConfig()


class Table(NamedTuple):
    """The content of the file."""

    groups: dict[str, str]  # by id, "" where it is empty
    image_column: str
    contradicted: list[str]  # ids with two groups
    ragged: list[str]  # line numbers of rows with more or fewer fields than the header


def read_groups(path: Path, ids: Names, config: ReadingConfig = _DEFAULTS) -> Names:
    """The group of each image, in the order of `ids`.

    The file at `path` is separated by comma, semicolon or tab. Its columns with images and groups are those that `config`
    names, or that are known by their names, such as id and group; other columns are ignored. Ids are those of the data set (a path relative to the
    source, `cat/0001.png`), or have the end of the path in common with one image only, with or without file suffix (see
    `match_ids`). Those of no image are named in a warning. Raises RefusedError with everything that is wrong.
    """
    wanted = [str(id) for id in ids]
    table = _read_table(path, config)
    matches = match_ids(wanted, table.groups)
    found, used = matches.found, set(matches.found.values())
    ambiguous = set(matches.ambiguous)
    missing = [id for id in wanted if id not in found and id not in ambiguous]
    empty = [id for id in wanted if id in found and not table.groups[found[id]]]
    contradicted = [id for id in table.contradicted if id in used]
    unknown = [id for id in table.groups if id not in used]
    # Where nothing fits, the wrong column was named, or other data: two examples say which.
    example = f"; {table.image_column} holds {listed(unknown, 2)}" if unknown and not used and missing else ""
    other = "name the column with their ids: --image-column NAME" if example else "add a line for each"
    problems = [
        Problem(str(path), f"{len(names)} {reason}: {listed(names)}{more}", remedy)
        for names, reason, more, remedy in (
            (table.ragged, "lines have more or fewer fields than the header", "", QUOTE),
            (contradicted, "images have two groups", "", "keep one line for each"),
            (matches.ambiguous, "images fit several lines, or one line several images", "", _WHOLE_PATHS),
            (empty, "images have an empty group", "", _NAME_ONE),
            (missing, "images of the data have no group", example, f"{other}, with the id as written here"),
        )
        if names
    ]
    if problems:
        raise RefusedError(problems)
    if unknown:
        warnings.warn(f"{path}: {len(unknown)} ids are not in the data: {listed(unknown)}", stacklevel=2)
    if matches.elsewhere:
        pairs = [f"{id} for {image}" for image, id in matches.elsewhere]
        text = f"{path}: {len(pairs)} ids are in other folders than their images: {listed(pairs, 3)}"
        warnings.warn(text, stacklevel=2)
    return np.array([table.groups[found[id]] for id in wanted])


def _read_table(path: Path, config: ReadingConfig) -> Table:
    named = [name for name in (config.image_column, config.group_column) if name is not None]
    groups: dict[str, str] = {}
    contradicted: dict[str, None] = {}
    wanted = named or ["id", "group"]
    with open_table(path, config.table_encoding, wanted=wanted, flag="--groups") as table:
        # Beside a table of labels the column is that table's, and this one's only if it has such a one.
        is_other = config.labels is not None and config.image_column not in table.header
        named_image = None if is_other else config.image_column
        image_column = find_image_column(table.name, table.header, named_image, config.group_column)
        group_column = find_group_column(
            table.name, table.header, config.group_column, image_column, is_required=True
        )
        first, second = table.header.index(image_column), table.header.index(group_column)
        for row in table.rows:
            id, group = tidy_id(row[first]), row[second].strip()
            if groups.setdefault(id, group) != group:
                contradicted[id] = None
    return Table(groups, image_column, list(contradicted), table.ragged)
