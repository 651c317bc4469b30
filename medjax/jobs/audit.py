"""Duplicates in a data set, and how many scored images have a copy among the training images of a split."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medjax.config import PRESETS, DataConfig, TrainConfig
from medjax.config_checks import require_valid
from medjax.data.splitting import duplicates
from medjax.errors import RefusedError, refuse
from medjax.jobs.datasets import load_dataset
from medjax.jobs.from_config import make_splits
from medjax.jobs.run_record import describe_data, describe_leakage, describe_parts
from medjax.progress import Display
from medjax.records import Dataset, Indices
from medjax.runs import directory as run_files

GROUPS_SHOWN = 8
"""Groups in the figure: the largest."""


def audit(
    source: str | Path,
    config: DataConfig = PRESETS["report"].data,
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
    directory, that is written there as audit.json, and the largest groups are drawn as figures/duplicates.png.
    Raises RefusedError as `load` does.
    """
    training = TrainConfig(seed=seed, data=config)
    require_valid(training)
    directory = None if out is None else _take_directory(Path(out))
    with Display(is_quiet=is_quiet) as display:
        dataset = load_dataset(source, config, display)
        display.start("comparing")
        groups = duplicates.near_groups(dataset, config.near_threshold)
        found = {"seed": seed, **_describe(training, source, dataset, groups)}
        if directory is not None:
            display.start("drawing")
            _draw(directory, dataset, groups)
            run_files.write_skipped(directory, dataset.bad)
            run_files.write_json(directory / "audit.json", found)
    return found


def _describe(
    training: TrainConfig, source: str | Path, dataset: Dataset, groups: duplicates.Groups
) -> dict[str, Any]:
    parts: Mapping[str, Indices]
    try:
        (split,) = make_splits(training, dataset)
        parts, parting = split._asdict(), describe_leakage(training, dataset, [split])
    except RefusedError as error:
        parts, parting = {"images": np.arange(len(dataset.labels))}, {"refused": error.lines()}
    return {
        "data": describe_data(source, dataset, describe_parts(training, dataset), parts),
        "exact_duplicates": duplicates.describe_exact(dataset),
        "exact_by_class": duplicates.redundant_by_class(dataset),
        "conflicts": duplicates.list_conflicts(dataset),
        "near_duplicates": duplicates.describe_near(dataset, groups, training.data.near_threshold),
        "leakage": parting,
    }


def _draw(directory: Path, dataset: Dataset, groups: duplicates.Groups) -> None:
    # Imported here: Matplotlib takes a second to import, and most audits draw no figure.
    from medjax.report.figures.duplicate_groups import plot_groups
    from medjax.report.figures.plots import save_figure

    largest = duplicates.largest_groups(groups, GROUPS_SHOWN)
    names = [dataset.class_names[dataset.labels[members[0]]] for members in largest]
    images = [dataset.images[members] for members in largest]
    (directory / "figures").mkdir()
    figure = plot_groups(images, names, is_synthetic=dataset.is_synthetic)
    save_figure(figure, directory / "figures" / "duplicates.png")


def _take_directory(directory: Path) -> Path:
    """A new or empty directory; RefusedError for any other."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        is_taken = any(directory.iterdir())
    except OSError as error:
        raise refuse(directory, f"cannot be made ({error.strerror})", "choose another --out") from error
    if is_taken:
        raise refuse(directory, "is not empty, and nothing is overwritten", "choose another --out")
    return directory
