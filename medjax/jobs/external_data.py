"""Score a restored run on external data: another hospital, scanner or year."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from medjax.errors import Problem, RefusedError, listed, refuse
from medjax.evaluation.prediction_sets import Sets
from medjax.files import open_folder
from medjax.jobs.from_config import Config, training_of
from medjax.jobs.operating_point import Point, score_point
from medjax.jobs.outside_range import COLUMN, count_outside
from medjax.jobs.overlap import OWN, find_overlap, write_kinds
from medjax.jobs.prediction_sets import score_run_sets
from medjax.jobs.run_record import describe_data
from medjax.jobs.score_folds import NO_FOLD, score_part
from medjax.records import UNKNOWN, Dataset, Predictions, has_label
from medjax.report import wording
from medjax.runs import directory as run_files
from medjax.runs.links import require_no_links

TRAINED = "trained_digests.npy"
"""File in a run directory: sha256 of the full-size pixels of each image that was trained on, uint8 [n, 32]."""


def with_classes(dataset: Dataset, class_names: tuple[str, ...], *, several_labels: bool = False) -> Dataset:
    """The data set with its labels numbered as in `class_names`, which are several an image with `several_labels`.

    RefusedError names every class of the data that is not among them; some of them may have no image here. One class an
    image is one label; several labels an image are refused by a model of one class. A label that the data lack is unknown.
    """
    if dataset.has_several_labels and not several_labels:
        reason = "has several labels an image, and the model knows one class an image"
        raise refuse(dataset.name, reason, "give a table with one class an image: --labels FILE")
    unknown = [name for name in dataset.class_names if name not in class_names]
    if unknown:
        raise RefusedError(
            Problem(
                f"class {name}",
                "is none of the model's",
                f"rename or leave out its folder: the model knows {listed(class_names)}",
            )
            for name in unknown
        )
    numbers = np.array([class_names.index(name) for name in dataset.class_names], np.int32)
    if several_labels:
        labels = np.full((len(dataset.labels), len(class_names)), UNKNOWN, np.int32)
        present = (has_label(dataset.labels, label) for label in range(len(numbers)))
        own = dataset.labels if dataset.has_several_labels else np.stack([*present], axis=1)
        labels[:, numbers] = own
        return dataset._replace(labels=labels, class_names=class_names)
    return dataset._replace(labels=numbers[dataset.labels], class_names=class_names)


def find_trained(directory: Path, dataset: Dataset) -> Bool[np.ndarray, "n"]:
    """Which images are identical, pixel by pixel, to images that the run was trained on."""
    known = {digest.tobytes() for digest in run_files.read_digests(directory / TRAINED)}
    return np.array([digest.tobytes() in known for digest in dataset.digests], bool)


def keep_external(
    directory: Path,
    source: str | Path | None,
    dataset: Dataset,
    predictions: Predictions,
    outside: Sequence[tuple[str, ...]],
    config: Config,
    point: Point | None = None,
    sets: Sets | None = None,
) -> dict[str, Any]:
    """Score the predictions of all images of external data, and write them under the run.

    `config` is that of the run. Returns `external`, the scores of images that the run was not trained on;
    `identical`, those of images that it was trained on (each None where there are none, or no label of them is known);
    `num_identical`, how many these are; `overlap`, how many are the run's own
    and which of its images are missing (see `Overlap`); `new`, the scores of images that are not the run's own, where some
    of the external ones are; `outside_training_range`, how many lie `outside` in some statistic, and in each; and the
    `directory` of the files. With an operating `point` all scores have the decisions by it, and
    with prediction `sets` how good these are. Warns where most images are the run's own.
    """
    require_no_links(directory)
    if not (predictions.labels != UNKNOWN).any():
        raise refuse(
            dataset.name, "has no image with a known label", "predict without scores: medjax predict"
        )
    seen = find_trained(directory, dataset)
    new, old = (predictions.take(mask[predictions.indices]) for mask in (~seen, seen))
    overlap = find_overlap(directory, dataset, seen)
    is_held_back = overlap.kinds[new.indices] == "held_back"
    unseen = new.take(~is_held_back) if is_held_back.any() else None
    with open_folder(directory / "external", root=directory, create=True) as external:
        folder = run_files.make_numbered(external, run_files.file_name(dataset.name))

    def scored(some: Predictions | None) -> dict[str, Any] | None:
        if some is None or not (some.labels != UNKNOWN).any():  # none at all, or none whose labels are known
            return None
        block = score_part(some, dataset, "test", ordinal=training_of(config).ordinal)
        if point is not None:
            block["operating_point"] = score_point(point, dataset, some)
        if sets is not None:  # a row for each image of the data set, as there is of the predictions
            block["prediction_sets"] = score_run_sets(config, dataset, some, sets[some.indices])
        return block

    scores = {
        "external": scored(new),
        "identical": scored(old),
        "new": scored(unseen),
        "num_identical": int(seen.sum()),
        "overlap": overlap.describe(),
        COLUMN: count_outside(outside),
        "data": describe_data(
            source, dataset, "none: all of them are scored", {"external": predictions.indices}
        ),
    }
    parts = [
        run_files.PredictedPart(name, part, np.full(len(part.labels), NO_FOLD), 0)
        for name, part in (("external", new), ("identical", old))
    ]
    run_files.write_skipped(folder, dataset.bad, root=directory)
    run_files.write_predictions(folder / "predictions.csv", dataset, parts, root=directory)
    run_files.write_json(folder / "metrics.json", scores, root=directory)
    write_kinds(folder / OWN, dataset, overlap, outside, root=directory)
    if overlap.is_mostly_own:
        sentence = wording.overlap(overlap.describe())
        warnings.warn(f"{dataset.name}: these are no data from elsewhere: {sentence}", stacklevel=3)
    return {**scores, "directory": str(folder)}
