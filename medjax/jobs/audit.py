"""Duplicates in a data set, and how many scored images have a copy among the training images of a split."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from medjax.config import DataConfig, TrainConfig
from medjax.config_checks import require_valid
from medjax.csv_text import write_csv
from medjax.data.splitting import duplicates
from medjax.errors import RefusedError
from medjax.jobs.datasets import load_dataset
from medjax.jobs.from_config import make_splits
from medjax.jobs.run_record import describe_data, describe_leakage, describe_parts
from medjax.progress import Display
from medjax.records import Dataset, Indices, describe_labels
from medjax.runs import directory as run_files

_DATA = DataConfig()
GROUPS_SHOWN = 8
"""Groups in the figure: the largest."""
NEAR_DUPLICATES = "near_duplicates.csv"
"""File that names every image of every group of duplicates."""


def audit(
    source: str | Path,
    config: DataConfig = _DATA,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    is_quiet: bool = True,
) -> dict[str, Any]:
    """Count the images of `source`, its identical and nearly identical ones, and copies on both sides of a split.

    The split is the one that `medjax train` would use with this `seed` and this `config`: parts that the source fixes
    are kept. Returns what JSON can hold: `data` (as in run.json), `exact_duplicates`, `exact_by_class`, `conflicts`
    (ids of identical images under different labels), `near_duplicates` (see `data.duplicates`) and `leakage` (see
    `describe_leakage`; only `refused`, a list of reasons, where the data cannot be split). With `out`, a new or empty
    directory, that is written there as audit.json, the images of all groups are named in near_duplicates.csv, and the
    largest groups are drawn as figures/duplicates.png. Raises RefusedError as `load` does.
    """
    training = TrainConfig(seed=seed, data=config)
    require_valid(training)
    directory = None if out is None else run_files.take_out_dir(Path(out))
    with Display(is_quiet=is_quiet) as display:
        dataset = load_dataset(source, config, display)
        display.start("comparing")
        groups = duplicates.near_groups(dataset, config.near_threshold)
        parts, described = _describe(training, source, dataset, groups)
        found = {"seed": seed, **described}
        if directory is not None:
            display.start("drawing")
            _draw(directory, dataset, groups)
            run_files.write_text(directory / NEAR_DUPLICATES, write_csv(_name_groups(dataset, groups, parts)))
            run_files.write_skipped(directory, dataset.bad)
            run_files.write_json(directory / "audit.json", found)
    return found


def _describe(
    training: TrainConfig, source: str | Path, dataset: Dataset, groups: duplicates.Groups
) -> tuple[Mapping[str, Indices], dict[str, Any]]:
    """The images of each part, by its name, and what is returned beside the seed."""
    parts: Mapping[str, Indices]
    try:
        (split,) = make_splits(training, dataset)
        parts, parting = split._asdict(), describe_leakage(training, dataset, [split])
    except RefusedError as error:
        parts, parting = {"images": np.arange(len(dataset.labels))}, {"refused": error.lines()}
    return parts, {
        "data": describe_data(source, dataset, describe_parts(training, dataset), parts),
        "exact_duplicates": duplicates.describe_exact(dataset),
        "exact_by_class": duplicates.redundant_by_class(dataset),
        "conflicts": duplicates.list_conflicts(dataset),
        "near_duplicates": duplicates.describe_near(dataset, groups, training.data.near_threshold),
        "leakage": parting,
    }


def _name_groups(
    dataset: Dataset, groups: duplicates.Groups, parts: Mapping[str, Indices]
) -> Iterator[Sequence[object]]:
    """Rows that name the images of all groups of two or more, the largest group first.

    `identical` numbers the sets of identical images, and is empty for an image that has no identical one.
    """
    part_of = np.full(len(groups), "", object)
    for part, indices in parts.items():
        part_of[indices] = part
    sizes, copies = _size_of_each(groups), duplicates.exact_groups(dataset.digests)
    order = np.lexsort((np.arange(len(groups)), groups, -sizes))
    order = order[sizes[order] > 1]
    near, identical = (
        _numbered(groups[order]),
        _numbered(np.where(_size_of_each(copies) > 1, copies, -1)[order]),
    )
    class_of = describe_labels(dataset.labels, dataset.class_names)
    yield "group", "id", "class", "part", "identical"
    for row, index in enumerate(order.tolist()):
        yield near[row], str(dataset.ids[index]), class_of(index), part_of[index], identical[row]


def _size_of_each(groups: duplicates.Groups) -> Int[np.ndarray, "n"]:
    """For each image the number of images in its group."""
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return counts[inverse]


def _numbered(groups: Int[np.ndarray, "n"]) -> list[int | None]:
    """Groups numbered from 0 in the order in which they come; None for -1."""
    numbers: dict[int, int] = {}
    return [None if group < 0 else numbers.setdefault(group, len(numbers)) for group in groups.tolist()]


def _draw(directory: Path, dataset: Dataset, groups: duplicates.Groups) -> None:
    # Imported here: Matplotlib takes a second to import, and most audits draw no figure.
    from medjax.report.figures.duplicate_groups import IMAGES_SHOWN, plot_groups
    from medjax.report.figures.render import save_figure

    largest = duplicates.largest_groups(groups, GROUPS_SHOWN)
    class_of = describe_labels(dataset.labels, dataset.class_names)
    names = [class_of(int(members[0])) for members in largest]
    shown = [duplicates.spread_members(dataset.images, members, IMAGES_SHOWN) for members in largest]
    images = [dataset.images[each] for each in shown]
    (directory / "figures").mkdir()
    figure = plot_groups(images, [*map(len, largest)], names, is_synthetic=dataset.is_synthetic)
    save_figure(figure, directory / "figures" / "duplicates.png")
