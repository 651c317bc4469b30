"""Load images without labels from whatever holds them: paths, encoded images, open files, arrays."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from medjax.config import DataConfig
from medjax.data.bad_images import refused_bad, warn_of_bad
from medjax.data.decoding.collect import Assembled, develop, mixed_color_problems, select
from medjax.data.decoding.headers import READABLE
from medjax.data.decoding.window import warn_of_few_levels, widened
from medjax.data.dicom.frames import split_frames
from medjax.data.given import Given, open_given, tell_apart
from medjax.data.load import decode_listing, fit_all
from medjax.data.private_ids import private_name_of
from medjax.errors import Problem, RefusedError, listed
from medjax.records import Images, Names

_DEFAULTS = DataConfig()


class LoadedImages(NamedTuple):
    """Images without labels."""

    images: Images
    ids: Names
    is_recolored: Bool[np.ndarray, "n"]  # whether the image was converted to gray or RGB
    are_dicom: bool = False  # any of them


class _Read(NamedTuple):
    """All images that one path, encoded image or array holds."""

    ids: list[str]
    assembled: Assembled
    problems: Sequence[Problem]  # of anything but single images
    bad: dict[int, Problem]  # of images, by their positions

    @property
    def kept(self) -> list[int]:
        """Positions of the images that can be used."""
        return [position for position in range(len(self.ids)) if position not in self.bad]


def load_images(
    images: Any, config: DataConfig = _DEFAULTS, *, left_out: list[Problem] | None = None
) -> LoadedImages:
    """Load images without labels from whatever holds them (see `given.tell_apart`), in the order given.

    Paths may be of files, folders of any depth and archives. An id is the path as given, for folders and archives
    followed by the name inside; of what has no name it is "image 0", with its position among all. Raises RefusedError
    as `load` does. With a list `left_out` whatever cannot be used is left out and its problem appended there;
    RefusedError only if nothing can.
    """
    told_apart = tell_apart(images)
    found: list[_Read] = []
    problems: list[Problem] = []
    number = 0
    for given in told_apart:
        try:
            read = _read(given, f"image {number}" if given.name is None else given.name, config)
        except RefusedError as error:
            problems += error.problems
            number += 1
            continue
        found.append(read)
        problems += read.problems
        number += len(read.ids)
    names = [given.name or "IMAGES" for given in told_apart]
    _require_usable(names, found, problems, config, left_out)
    channels: Counter[int] = Counter()
    examples: dict[int, str] = {}
    for read in found:
        channels += read.assembled.channels
        for count, position in read.assembled.examples.items():
            examples.setdefault(count, read.ids[position])
    if mixed := mixed_color_problems(channels, examples):
        raise RefusedError(mixed)
    developed, window = develop([read.assembled for read in found], config)
    warn_of_few_levels(listed(names, 1), window)
    found = [read._replace(assembled=each) for read, each in zip(found, developed, strict=True)]
    loaded = _joined([read for read in found if read.kept])
    if config.anonymous_ids:
        return loaded._replace(ids=np.array([private_name_of(id) for id in loaded.ids.tolist()]))
    return loaded


def _read(given: Given, name: str, config: DataConfig) -> _Read:
    if isinstance(given.content, np.ndarray):
        assembled, bad = fit_all(given.content[None], [name], config)
        return _Read([name], assembled, [], bad)
    with open_given(given, name, config) as (listing, layout):
        if config.frames == "all":
            listing, images, _ = split_frames(listing, layout.images)
            layout = layout._replace(images=images)
        assembled, bad = decode_listing(listing, layout.images, config)
    return _Read([image.id for image in layout.images], assembled, layout.problems, bad)


def _require_usable(
    names: Sequence[str],
    found: Sequence[_Read],
    problems: Sequence[Problem],
    config: DataConfig,
    left_out: list[Problem] | None,
) -> None:
    """Raise RefusedError for problems and bad images that may not be left out, and where nothing else is there."""
    bad = [problem for read in found for problem in read.bad.values()]
    total = sum(len(read.ids) for read in found)
    if total == len(bad):
        nothing = Problem(listed(names), "contain no images", f"give {READABLE} images")
        raise RefusedError([*problems, *bad] or nothing)
    if left_out is not None:
        left_out += [*problems, *bad]
    elif refused := [*problems, *refused_bad(bad, total, config)]:
        raise RefusedError(refused)
    else:
        warn_of_bad(listed(names), bad, total)


def _joined(found: Sequence[_Read]) -> LoadedImages:
    """The images that can be used, one after another."""
    kept = [np.array(read.kept, np.int64) for read in found]
    images = [select(read.assembled, rows).images for read, rows in zip(found, kept, strict=True)]
    recolored = [read.assembled.recolored[rows] for read, rows in zip(found, kept, strict=True)]
    ids = [read.ids[row] for read, rows in zip(found, kept, strict=True) for row in rows]
    if len({each.dtype for each in images}) > 1:
        images = [widened(each) for each in images]
    stack = images[0] if len(images) == 1 else np.concatenate(images)
    are_dicom = any(read.assembled.subjects for read in found)
    return LoadedImages(stack, np.array(ids), np.concatenate(recolored), are_dicom)
