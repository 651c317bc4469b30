"""A run, restored from its directory alone; the network too, if it is one of medjax."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from medjax.config import CrossvalConfig, DataConfig, ReadingConfig, TrainConfig
from medjax.config_checks import require_valid
from medjax.data.decoding.image import SIXTEEN_BITS
from medjax.data.from_arrays import make_dataset
from medjax.data.given import tell_apart
from medjax.data.load import fingerprint, fit_dataset, load
from medjax.data.load_images import load_images
from medjax.errors import Problem, RefusedError, counted, refuse
from medjax.jobs.datasets import load_dataset
from medjax.jobs.external_data import keep_external, with_classes
from medjax.jobs.from_config import (
    Config,
    folds_of,
    is_built_in,
    make_fold_learner,
    make_network,
    make_splits,
    training_of,
)
from medjax.jobs.outside_range import outside_ranges, ranges_of, warn_of_outside
from medjax.jobs.own_source import own_source, unquoted_groups
from medjax.jobs.recorded_config import recorded_config
from medjax.jobs.resume import require_same_network, unchanging_facts
from medjax.jobs.run_record import describe_groups, describe_network
from medjax.jobs.score_folds import predict_together, score_part
from medjax.models.network import Network, Variables, abstract_variables
from medjax.progress import Display
from medjax.records import Dataset, Names, Probabilities, Split, concatenate_predictions
from medjax.runs import directory as run_files
from medjax.runs.checkpoint import load_checkpoint, require_facts
from medjax.runs.checkpoint_series import checkpoint_path, list_epochs
from medjax.runs.stored_arrays import count_bytes
from medjax.training.learner import Learner
from medjax.training.predict import predict

P = ParamSpec("P")
R = TypeVar("R")


def _like_its_own(method: Callable[P, R]) -> Callable[P, R]:
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


class PredictedImages(NamedTuple):
    """What a run says of images without labels."""

    ids: Names
    probabilities: Float32[np.ndarray, "fold m class"]
    outside_training_range: list[
        tuple[str, ...]
    ]  # statistics of each image, by name (see `medjax.data.ranges`)


@dataclasses.dataclass(frozen=True, repr=False)
class Run:
    """A run and what it left in its directory."""

    directory: Path
    record: dict[str, Any]  # run.json
    model: Any = None  # the network, where it is none of medjax's

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r}, {self.record.get('job')}, {self.record.get('status')})"

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json: what the run scored when it was trained."""
        return run_files.read_metrics(self.directory)

    @_like_its_own
    def evaluate(
        self,
        data: Any = None,
        *,
        part: str = "test",
        fold: int | None = None,
        reading: ReadingConfig | None = None,
        is_quiet: bool = True,
    ) -> dict[str, Any]:
        """Restore the network and score one part of the run's own data, or all of other data.

        Returns {part: metrics}, the block of metrics.json. `data` (a path, a `Dataset`, or a pair of images and labels that
        index the run's classes) says where the run's own data lie now, or gives other data. These are scored whole by the
        mean of all folds' networks (see `keep_external`): their classes are matched by name, and images that the run was
        trained on are scored apart. Of a cross-validation, `fold` names the fold whose network is scored; "test" is its
        out-of-fold part, and without `fold` that of all folds together. `reading` says how the images are read, None as
        the run read its own.
        """
        config = recorded_config(self.directory, self.record)
        settings = _read_by(config, reading)
        data = _as_source(self, data)
        if data is not None:
            alike = _like_trained(self, settings)
            # Those of the run's own images, which others are not in.
            if settings.groups == training_of(config).data.groups:
                alike = dataclasses.replace(alike, groups=None)
            dataset = _read(self, data, alike, is_quiet=is_quiet)
            if fingerprint(dataset) != self.record["data"]["fingerprint"]:
                return _evaluate_external(self, config, data, dataset, alike, part, fold)
        folds = _chosen_folds(config, part, fold)
        _require_converged(self, folds)
        if data is None or settings.groups is not None:
            source = own_source(self.directory, self.record) if data is None else data
            recorded_groups = training_of(config).data.groups
            with unquoted_groups(recorded_groups if settings.groups == recorded_groups else None):
                dataset = _read(self, source, settings, is_quiet=is_quiet)
        _require_own(self, settings, dataset)
        splits = make_splits(config, dataset)
        network, learner = _make_learner(self, config, splits)
        predictions = []
        for number in folds:
            indices = getattr(splits[number], part)
            if len(indices) == 0:
                raise refuse(f"--split {part}", "this run held no such part back", "score its test part")
            variables = _restore(self, config, network, number)
            predictions.append(predict(learner, variables, dataset, indices))
        return {part: score_part(concatenate_predictions(predictions), dataset, part)}

    def predict(self, images: Any, *, reading: ReadingConfig | None = None) -> tuple[Names, Probabilities]:
        """Ids and class probabilities of images without labels.

        `images` is the path of an image, folder or archive; the bytes of a PNG or JPEG; a file opened with "rb"; a uint8
        array (height, width), (height, width, channels) or (n, height, width, channels); a `Dataset`; or a sequence of
        these. All are brought to the model's size and color. Of a cross-validation the probabilities are the mean over
        the networks of its folds. `reading` says how files are read, None as the run read its own.
        """
        ids, probabilities = self.predict_folds(images, reading=reading)
        return ids, probabilities.mean(axis=0)

    def predict_folds(
        self, images: Any, *, reading: ReadingConfig | None = None, left_out: list[Problem] | None = None
    ) -> tuple[Names, Float32[np.ndarray, "fold m class"]]:
        """Ids and class probabilities of images without labels, by the network of each fold; see `predict`.

        With a list `left_out` images that cannot be used are left out and their problems appended there, not raised.
        """
        predicted = self.predict_images(images, reading=reading, left_out=left_out)
        return predicted.ids, predicted.probabilities

    @_like_its_own
    def predict_images(
        self, images: Any, *, reading: ReadingConfig | None = None, left_out: list[Problem] | None = None
    ) -> PredictedImages:
        """`predict_folds`, and which images lie outside the range of the training images; these are warned of."""
        config = recorded_config(self.directory, self.record)
        settings = _like_trained(self, _read_by(config, reading))
        given = tell_apart(images)
        loaded = load_images(given, settings, left_out=left_out)
        if left_out is not None:
            left_out[:] = map(of_eight_bits, left_out)
        in_color = dataclasses.replace(settings, color="rgb")
        outside = outside_ranges(
            ranges_of(self.directory, self.record),
            loaded.images,
            bool(loaded.is_recolored.any()),
            lambda: load_images(given, in_color, left_out=[]).images,
        )
        _require_converged(self, folds_of(config))
        network, learner = _make_learner(self, config, [])
        each = [
            predict(learner, _restore(self, config, network, fold), loaded.images).probabilities
            for fold in folds_of(config)
        ]
        warn_of_outside(outside)
        return PredictedImages(loaded.ids, np.stack(each), outside)


def load_run(directory: str | Path, *, model: Any = None) -> Run:
    """Open a run directory; RefusedError where it is none.

    A run of a network that is none of medjax's needs that network again as `model`: nothing is ever imported because a
    run directory, which may be a stranger's, says so.
    """
    return Run(Path(directory), run_files.read_record(Path(directory)), model)


def reading_settings(directory: Path) -> ReadingConfig:
    """How the run read its images; RefusedError where `directory` is no run."""
    data = training_of(recorded_config(directory, run_files.read_record(directory))).data
    return ReadingConfig(
        **{each.name: getattr(data, each.name) for each in dataclasses.fields(ReadingConfig)}
    )


def _read_by(config: Config, reading: ReadingConfig | None) -> DataConfig:
    """How the run read its images, with the settings of `reading` in place of its own; RefusedError for wrong ones."""
    settings = training_of(config).data
    if reading is None:
        return settings
    given = {each.name: getattr(reading, each.name) for each in dataclasses.fields(ReadingConfig)}
    settings = dataclasses.replace(settings, **given)
    require_valid(TrainConfig(data=settings))
    return settings


def _evaluate_external(
    run: Run,
    config: Config,
    data: str | Path | Dataset,
    dataset: Dataset,
    settings: DataConfig,
    part: str,
    fold: int | None,
) -> dict[str, Any]:
    for flag, is_given in (("--split", part != "test"), ("--fold", fold is not None)):
        if is_given:
            remedy = f"leave {flag} out, or give the {run.record['data']['name']} it was trained on"
            raise refuse(dataset.name, f"is not the data of this run, so it has no {flag}", remedy)
    _require_converged(run, folds_of(config))
    dataset = with_classes(dataset, tuple(run.record["class_names"]))
    network, learner = _make_learner(run, config, [])
    folds = [_restore(run, config, network, number) for number in folds_of(config)]
    arrays = dataset.images, dataset.labels
    predictions = predict_together(learner, folds, arrays, np.arange(len(dataset.labels)))
    source = None if isinstance(data, Dataset) else data
    in_color = dataclasses.replace(settings, color="rgb")
    outside = outside_ranges(
        ranges_of(run.directory, run.record),
        dataset.images,
        dataset.counts.recolored > 0,
        lambda: data.images if isinstance(data, Dataset) else load(data, in_color).images,
    )
    scores = keep_external(run.directory, source, dataset, predictions, outside)
    warn_of_outside(outside)
    return scores


def _make_learner(run: Run, config: Config, splits: Sequence[Split]) -> tuple[Network, Learner]:
    """The network and the learner of the run; RefusedError where they cannot be made again without the user's network."""
    training, recorded = training_of(config), run.record["model"]
    model = run.model
    if model is None and not (recorded["source"] == "medjax" and is_built_in(training)):
        raise refuse(
            str(run.directory),
            f"was trained with {recorded['name']}, a network that is none of medjax's",
            "name it again: --model package.module:name or file.py:name, in Python load_run(..., model=...)",
        )
    shape = tuple(run.record["data"]["image_shape"])
    network = make_network(training, model, run.record["class_names"], shape)
    found = describe_network(config, network, shape, is_own=run.model is not None)
    if recorded["source"] == "medjax" and run.model is not None:
        recorded = {**recorded, "name": network.name}
    require_same_network(run.directory, recorded, found)
    return network, make_fold_learner(training, network, splits)


def _chosen_folds(config: Config, part: str, fold: int | None) -> Sequence[int]:
    trained = folds_of(config)
    if fold is not None:
        if fold not in trained:
            numbers = f"{trained[0]} to {trained[-1]}" if len(trained) > 1 else str(trained[0])
            raise refuse(f"--fold {fold}", "no such fold in this run", f"it has {numbers}")
        return [fold]
    if isinstance(config, CrossvalConfig) and part != "test":
        raise refuse(f"--split {part}", "differs from fold to fold", "name one: --fold K")
    return trained


def _require_own(run: Run, settings: DataConfig, dataset: Dataset) -> None:
    """RefusedError where these are not the images, or not the groups, of the run."""
    data = run.record["data"]
    if fingerprint(dataset) != data["fingerprint"]:
        raise refuse(
            dataset.name,
            f"is not the data of this run: {counted(len(dataset.labels), 'image')} with another fingerprint than its "
            f"{data['n']}",
            f"give the {data['name']} it was trained on",
        )
    if describe_groups(dataset) != data["groups"]:
        if settings.groups is None:
            raise refuse(dataset.name, "its duplicates are not those of this run any more", "train again")
        remedy = "restore the file from a copy, or say where it is: --groups FILE"
        raise refuse(settings.groups, "is not the groups of this run any more", remedy)


def _require_converged(run: Run, folds: Sequence[int]) -> None:
    """RefusedError where one of the folds of a cross-validation diverged: its score is withheld."""
    if run.record["job"] != "crossval" or run.record["status"] != "diverged":
        return
    path = run.directory / "metrics.json"
    scored = (
        [fold["fold"] for fold in run.metrics.get("folds", []) if not fold["diverged"]]
        if path.exists()
        else []
    )
    for fold in folds:
        if fold not in scored:
            remedy = f"name another: --fold {scored[0]}" if scored else "train with a smaller --learning-rate"
            raise refuse(str(run.directory), f"fold {fold} diverged, so its score is withheld", remedy)


def _restore(run: Run, config: Config, network: Network, fold: int) -> Variables:
    """The variables of one fold that are scored, of the newest epoch that all folds have saved."""
    parent = run.directory / "checkpoints"
    epochs = list_epochs(parent, folds_of(config))
    if not epochs:
        raise refuse(str(parent), "holds no finished checkpoint", "train again")
    like = abstract_variables(network, tuple(run.record["data"]["image_shape"]))
    _require_memory(run.directory, count_bytes(like))
    path = checkpoint_path(parent, fold, epochs[0])
    variables = load_checkpoint(path, "variables", like)
    require_facts(path, unchanging_facts(run.record), run.directory / "run.json")
    _require_finite(path, variables)
    return variables


def _require_memory(directory: Path, needed: int) -> None:
    """RefusedError where the variables alone would take more than half of the machine's memory."""
    if hasattr(os, "sysconf") and needed > (
        half := os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    ):
        reason = f"its network takes {needed / 1e9:,.1f} GB, more than half of this machine's memory"
        raise refuse(
            str(directory), reason, f"use a machine with more than {needed / half:,.1f} times as much"
        )


def _require_finite(path: Path, variables: Variables) -> None:
    """RefusedError, naming the first, where a number of a network is NaN or infinite: its answers mean nothing."""
    for keys, leaf in jax.tree_util.tree_leaves_with_path(variables):
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(leaf).all():
            name = jax.tree_util.keystr(keys, simple=True, separator="/")
            raise refuse(
                path,
                f"{name} holds numbers that are not finite",
                "train again, with a smaller --learning-rate",
            )


def _like_trained(run: Run, settings: DataConfig) -> DataConfig:
    """The settings with the color and size that the network takes, and the window that was found for the run's own images.

    RefusedError where another color is asked for.
    """
    color: Literal["gray", "rgb"] = "gray" if run.record["data"]["image_shape"][-1] == 1 else "rgb"
    if settings.color not in ("source", color):
        reason = f"the network of {run.directory} was trained on {color} images"
        raise refuse(f"--color {settings.color}", reason, "leave it out: images are converted")
    height, width, _ = run.record["data"]["image_shape"]
    # A data set given in Python has the size that it has; files are resized to squares only.
    size = height if height == width else settings.image_size
    settings = dataclasses.replace(settings, color=color, image_size=size)
    return dataclasses.replace(settings, window=_window_of(run)) if settings.window == "auto" else settings


def _window_of(run: Run) -> Literal["auto"] | tuple[int, int]:
    """The window that was found for the run's own images; "auto" if none of them had 16 bits."""
    window = run.record["data"]["window"]
    if window is None:
        return "auto"
    if window["low"] >= window["high"]:
        raise refuse(run.directory / "run.json", "data.window is none", "restore it from a copy")
    return window["low"], window["high"]


def _as_source(run: Run, data: Any) -> Any:
    """A path or a `Dataset`, which is made of a pair of images and labels; RefusedError for anything else."""
    if data is None or isinstance(data, str | os.PathLike | Dataset):
        return data
    if isinstance(data, tuple) and len(data) == 2:
        return make_dataset(*data, run.record["class_names"])
    remedy = "give a path, a Dataset (see medjax.make_dataset), or a pair (images, labels)"
    raise refuse("data", f"are a {type(data).__name__}", remedy)


def _read(run: Run, data: Any, settings: DataConfig, *, is_quiet: bool) -> Dataset:
    with Display(is_quiet=is_quiet) as display:
        dataset = load_dataset(data, settings, display)
    if dataset.images.shape[1:] == tuple(run.record["data"]["image_shape"]):
        return dataset
    return fit_dataset(dataset, _like_trained(run, settings))
