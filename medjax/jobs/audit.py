"""What a data set holds twice, and what of it a split would let a model see before it is scored on it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.config import PRESETS, CrossvalConfig, DataConfig, TrainConfig
from medjax.data.splitting import duplicates, leakage
from medjax.errors import RefusedError, refuse
from medjax.jobs.datasets import load_dataset
from medjax.jobs.from_config import Config, folds_of, kept_test, make_splits, training_of
from medjax.jobs.naming import describe_level, describe_parts
from medjax.limits import require_valid
from medjax.progress import Display
from medjax.records import Dataset, Indices, Split
from medjax.runs import directory as run

GROUPS_SHOWN = 8
"""Groups in the figure, the largest ones."""
GROUPS_NAMED = 20
"""Groups across official parts that are named; all are counted."""


def audit(
    source: str | Path,
    config: DataConfig = PRESETS["report"].data,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    is_quiet: bool = True,
) -> dict[str, Any]:
    """Count the images of `source`, its identical and nearly identical ones, and those that a split parts.

    The split is the one that `medjax train` would use with this `seed` and this `config`: parts that the source fixes
    are kept. Returns what JSON can hold: `data` (as in run.json), `exact_duplicates`, `exact_by_class`, `conflicts`
    (ids of identical images under different labels), `near_duplicates` (see `data.duplicates`) and `leakage` (see
    `describe_parting`; only `refused`, a list of reasons, where the data cannot be split). With `out`, a new or empty
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
            run.write_json(directory / "audit.json", found)
    return found


def describe_parting(config: Config, dataset: Dataset, splits: Sequence[Split]) -> dict[str, Any]:
    """At which level the parts of a run are disjoint, and how many of the images that are scored have twins in train.

    That is `data.leakage` of run.json: `level` ("group" where given groups lie in no two parts, else "image") and
    `statement`, the same in words; `groups_across_parts`, how many groups lie in more than one part that the source
    fixes, the first of them by name; and `threshold`, `test` and `val` of `data.leakage.describe_leakage`, of a
    cross-validation over all folds that are trained, and of kept test images as `official_test`.
    """
    threshold = training_of(config).data.near_threshold
    found = leakage.describe_leakage(dataset, [splits[fold] for fold in folds_of(config)], threshold)
    is_pooled = isinstance(config, CrossvalConfig) and not config.keep_test
    if isinstance(config, CrossvalConfig) and config.keep_test:
        test = kept_test(dataset)
        others = np.setdiff1d(np.arange(len(dataset.labels)), test)
        apart = [Split(others, others[:0], test)]
        found["official_test"] = leakage.describe_leakage(dataset, apart, threshold)["test"]
    crossing = {} if is_pooled else leakage.groups_across_parts(dataset)
    level, statement = describe_level(dataset, len(crossing), threshold)
    named = dict(list(crossing.items())[:GROUPS_NAMED])
    across = {"n": len(crossing), "named": named}
    return {"level": level, "statement": statement, "groups_across_parts": across, **found}


def _describe(
    training: TrainConfig, source: str | Path, dataset: Dataset, groups: duplicates.Groups
) -> dict[str, Any]:
    parts: Mapping[str, Indices]
    try:
        (split,) = make_splits(training, dataset)
        parts, parting = split._asdict(), describe_parting(training, dataset, [split])
    except RefusedError as error:
        parts, parting = {"images": np.arange(len(dataset.labels))}, {"refused": error.lines()}
    return {
        "data": run.describe_data(source, dataset, describe_parts(training, dataset), parts),
        "exact_duplicates": duplicates.describe_exact(dataset),
        "exact_by_class": duplicates.redundant_by_class(dataset),
        "conflicts": duplicates.list_conflicts(dataset),
        "near_duplicates": duplicates.describe_near(dataset, groups, training.data.near_threshold),
        "leakage": parting,
    }


def _draw(directory: Path, dataset: Dataset, groups: duplicates.Groups) -> None:
    # Imported here: Matplotlib takes a second, which an audit without a figure need not wait for.
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
