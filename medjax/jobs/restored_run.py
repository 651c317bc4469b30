"""A run, restored from its directory alone; the network too, if it is one of medjax."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np
from jaxtyping import Float32

from medjax.config import CrossvalConfig, DataConfig, ReadingConfig, TrainConfig
from medjax.config_checks import from_dict, require_valid
from medjax.data.decoding.image import SIXTEEN_BITS
from medjax.data.load import fingerprint, load_images
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
from medjax.jobs.resume import require_same_network
from medjax.jobs.run_record import describe_groups, describe_network
from medjax.jobs.score_folds import predict_together, score_part
from medjax.models.network import Network, Variables, abstract_variables
from medjax.progress import Display
from medjax.records import Dataset, Names, Probabilities, Split, concatenate_predictions
from medjax.runs import directory as run_files
from medjax.runs.checkpoint import load_checkpoint
from medjax.runs.checkpoint_series import checkpoint_path, list_epochs
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
    return problem._replace(remedy="the model was trained on 8-bit images: convert these the same way")


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
        return run_files.read_json(self.directory / "metrics.json")

    @_like_its_own
    def evaluate(
        self,
        data: str | Path | Dataset | None = None,
        *,
        part: str = "test",
        fold: int | None = None,
        reading: ReadingConfig | None = None,
        is_quiet: bool = True,
    ) -> dict[str, Any]:
        """Restore the network and score one part of the run's own data, or all of other data.

        Returns {part: metrics}, the block of metrics.json. `data` says where the run's own data lie now, or gives other
        data, which are scored whole by the mean of all folds' networks (see `keep_external`): their classes are matched
        by name, and images that the run was trained on are scored apart. Of a cross-validation, `fold` names the fold
        whose network is scored; "test" is its out-of-fold part, and without `fold` that of all folds together.
        `reading` says how the images are read, None as the run read its own.
        """
        config = from_dict(self.record["config"])
        settings = _read_by(config, reading)
        if data is not None:
            alike = _like_trained(self, settings)
            if (
                settings.groups == training_of(config).data.groups
            ):  # of the run's own images, which others are not in
                alike = dataclasses.replace(alike, groups=None)
            dataset = _read(data, alike, is_quiet=is_quiet)
            if fingerprint(dataset) != self.record["data"]["fingerprint"]:
                return _evaluate_external(self, config, data, dataset, part, fold)
        folds = _chosen_folds(config, part, fold)
        _require_converged(self, folds)
        if data is None or settings.groups is not None:
            dataset = _read(_own_data(self) if data is None else data, settings, is_quiet=is_quiet)
        _require_own(self, config, dataset)
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

    def predict(
        self, paths: Sequence[str | Path], *, reading: ReadingConfig | None = None
    ) -> tuple[Names, Probabilities]:
        """Ids and class probabilities of unlabelled images: files, folders and archives.

        Of a cross-validation the probabilities are the mean over the networks of its folds. `reading` says how the images
        are read, None as the run read its own.
        """
        ids, probabilities = self.predict_folds(paths, reading=reading)
        return ids, probabilities.mean(axis=0)

    @_like_its_own
    def predict_folds(
        self, paths: Sequence[str | Path], *, reading: ReadingConfig | None = None
    ) -> tuple[Names, Float32[np.ndarray, "fold m class"]]:
        """Ids and class probabilities of unlabelled images, by the network of each fold; see `predict`."""
        if not paths:
            raise refuse("IMAGES", "none given", "name image files, folders or archives")
        config = from_dict(self.record["config"])
        settings = _like_trained(self, _read_by(config, reading))
        images, ids = load_images(paths, settings)
        _require_converged(self, folds_of(config))
        network, learner = _make_learner(self, config, [])
        each = [
            predict(learner, _restore(self, config, network, fold), images).probabilities
            for fold in folds_of(config)
        ]
        return ids, np.stack(each)


def load_run(directory: str | Path, *, model: Any = None) -> Run:
    """Open a run directory; RefusedError where it is none.

    A run of a network that is none of medjax's needs that network again as `model`: nothing is ever imported because a
    run directory, which may be a stranger's, says so.
    """
    return Run(Path(directory), run_files.read_record(Path(directory)), model)


def reading_settings(directory: Path) -> ReadingConfig:
    """How the run read its images; RefusedError where `directory` is no run."""
    data = training_of(from_dict(run_files.read_record(directory)["config"])).data
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
    run: Run, config: Config, data: str | Path | Dataset, dataset: Dataset, part: str, fold: int | None
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
    return keep_external(run.directory, source, dataset, predictions)


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


def _require_own(run: Run, config: Config, dataset: Dataset) -> None:
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
        groups = training_of(config).data.groups
        if groups is None:
            raise refuse(dataset.name, "its duplicates are not those of this run any more", "train again")
        raise refuse(groups, "is not the groups of this run any more", "restore the file from a copy")


def _own_data(run: Run) -> str:
    path = run.record["data"]["path"]
    if path is None:
        raise refuse(str(run.directory), "its data were given in Python", "give them again: evaluate(data)")
    if not run.record["data"]["is_synthetic"] and not Path(path).exists():
        raise refuse(path, "is not there any more", f"say where it is: medjax evaluate {run.directory} DATA")
    return path


def _require_converged(run: Run, folds: Sequence[int]) -> None:
    """RefusedError where one of the folds of a cross-validation diverged: its score is withheld."""
    if run.record["job"] != "crossval" or run.record["status"] != "diverged":
        return
    path = run.directory / "metrics.json"
    scored = [fold["fold"] for fold in run.metrics["folds"] if not fold["diverged"]] if path.exists() else []
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
    return load_checkpoint(checkpoint_path(parent, fold, epochs[0]), "variables", like)


def _like_trained(run: Run, settings: DataConfig) -> DataConfig:
    """The settings with the color that the network takes made explicit; RefusedError where another is asked for."""
    color: Literal["gray", "rgb"] = "gray" if run.record["data"]["image_shape"][-1] == 1 else "rgb"
    if settings.color not in ("source", color):
        reason = f"the network of {run.directory} was trained on {color} images"
        raise refuse(f"--color {settings.color}", reason, "leave it out: images are converted")
    return dataclasses.replace(settings, color=color)


def _read(data: str | Path | Dataset, settings: DataConfig, *, is_quiet: bool) -> Dataset:
    with Display(is_quiet=is_quiet) as display:
        return load_dataset(data, settings, display)
