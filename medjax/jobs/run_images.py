"""Images for a run, read as it read its own unless its user says otherwise."""

import dataclasses
import functools
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from medjax.config import DataConfig, ReadingConfig, TrainConfig
from medjax.config_checks import require_valid
from medjax.data.decoding.image import SIXTEEN_BITS
from medjax.data.from_arrays import make_dataset
from medjax.data.load import fit_dataset
from medjax.errors import Problem, RefusedError, refuse
from medjax.jobs.datasets import load_dataset
from medjax.jobs.from_config import Config, training_of
from medjax.jobs.recorded_config import recorded_config
from medjax.progress import Display
from medjax.records import Dataset
from medjax.runs import directory as run_files

P = ParamSpec("P")
Reading = TypeVar("Reading", bound=ReadingConfig)
R = TypeVar("R")

_DEFAULT = ReadingConfig()
_OF_BOTH_TABLES = ("image_column", "group_column", "table_encoding")
_OF_THE_TABLE = (
    *("labels", "label_column", "label_columns", "part_column", "uncertain", "allow_missing"),
    *_OF_BOTH_TABLES,
)


def refusing_sixteen_bits(method: Callable[P, R]) -> Callable[P, R]:
    """Decorator: refuse images of 16 bits by what the run's own were, not by an option that would read them anyhow."""

    @functools.wraps(method)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except RefusedError as error:
            raise RefusedError(map(of_eight_bits, error.problems)) from error

    return called


def of_eight_bits(problem: Problem) -> Problem:
    """The problem, with the remedy for an image of 16 bits: a run reads such only if its own were of 16 bits too."""
    if problem.reason != SIXTEEN_BITS:
        return problem
    remedy = "the model was trained on 8-bit images: convert these the same way, or choose --window LO HI"
    return problem._replace(remedy=remedy)


def reading_settings(directory: Path) -> ReadingConfig:
    """How the run read its images; RefusedError where `directory` is no run."""
    data = training_of(recorded_config(directory, run_files.read_record(directory))).data
    return ReadingConfig(
        **{each.name: getattr(data, each.name) for each in dataclasses.fields(ReadingConfig)}
    )


def without_table(settings: Reading) -> Reading:
    """The settings without the run's own table of labels, which says nothing of other images."""
    table = {name: getattr(_DEFAULT, name) for name in _OF_THE_TABLE}
    if settings.groups is not None:  # where that is another file, these are of both
        table = {name: table[name] for name in table if name not in _OF_BOTH_TABLES}
    return dataclasses.replace(settings, **table)


def read_by(config: Config, reading: ReadingConfig | None) -> DataConfig:
    """How the run read its images, with the settings of `reading` in place of its own; RefusedError for wrong ones."""
    settings = training_of(config).data
    if reading is None:
        return settings
    given = {each.name: getattr(reading, each.name) for each in dataclasses.fields(ReadingConfig)}
    settings = dataclasses.replace(settings, **given)
    require_valid(TrainConfig(data=settings))
    return settings


def warn_of_dicom(record: Mapping[str, Any], are_dicom: bool) -> None:
    """Warn of DICOM images for a network that was trained on others: nobody knows whether their gray levels are alike."""
    if are_dicom and record["data"].get("dicom") is None:
        text = "the run's own images were no DICOM files: make gray levels of these as theirs were made"
        warnings.warn(text, stacklevel=3)


def like_trained(directory: Path, record: Mapping[str, Any], settings: DataConfig) -> DataConfig:
    """The settings with the color and size that the network takes, and the window and depth of the run's own images.

    RefusedError where another color is asked for.
    """
    color: Literal["gray", "rgb"] = "gray" if record["data"]["image_shape"][-1] == 1 else "rgb"
    if settings.color not in ("source", color):
        reason = f"the network of {directory} was trained on {color} images"
        raise refuse(f"--color {settings.color}", reason, "leave it out: images are converted")
    height, width, _ = record["data"]["image_shape"]
    settings = dataclasses.replace(settings, color=color, image_size=(height, width))
    # Of a data set given in Python, which settings say nothing of.
    if 16 in [(record["data"].get(use) or {}).get("bits") for use in ("window", "dicom")]:
        settings = dataclasses.replace(settings, depth=16)
    return (
        dataclasses.replace(settings, window=_window_of(directory, record))
        if settings.window == "auto"
        else settings
    )


def _window_of(directory: Path, record: Mapping[str, Any]) -> Literal["auto"] | tuple[int, int]:
    """The window that was found for the run's own images; "auto" if none of them had 16 bits."""
    window = record["data"]["window"]
    if window is None:
        return "auto"
    if window["low"] >= window["high"]:
        raise refuse(directory / "run.json", "data.window is none", "restore it from a copy")
    return window["low"], window["high"]


def as_source(data: Any, class_names: Sequence[str]) -> Any:
    """A path or a `Dataset`, which is made of a pair of images and labels; RefusedError for anything else."""
    if data is None or isinstance(data, str | os.PathLike | Dataset):
        return data
    if isinstance(data, tuple) and len(data) == 2:
        return make_dataset(*data, class_names)
    remedy = "give a path, a Dataset (see medjax.make_dataset), or a pair (images, labels)"
    raise refuse("data", f"are a {type(data).__name__}", remedy)


def read_images(
    directory: Path, record: Mapping[str, Any], data: Any, settings: DataConfig, *, is_quiet: bool
) -> Dataset:
    """The data set at a path, or one that is given, in the size and color that the network takes."""
    with Display(is_quiet=is_quiet) as display:
        dataset = load_dataset(data, settings, display)
    if dataset.images.shape[1:] == tuple(record["data"]["image_shape"]):
        return dataset
    return fit_dataset(dataset, like_trained(directory, record, settings))
