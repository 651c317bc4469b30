"""A run, restored from its directory alone; the network too, if it is one of medjax."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from medjax.config import CrossvalConfig, DataConfig
from medjax.data.load import fingerprint, load_images
from medjax.errors import refuse
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

    def evaluate(
        self,
        data: str | Path | Dataset | None = None,
        *,
        part: str = "test",
        fold: int | None = None,
        is_quiet: bool = True,
    ) -> dict[str, Any]:
        """Restore the network and score one part of the run's own data, or all of other data.

        Returns {part: metrics}, the block of metrics.json. `data` says where the run's own data lie now, or gives other
        data, which are scored whole by the mean of all folds' networks (see `keep_external`): their classes are matched
        by name, and images that the run was trained on are scored apart. Of a cross-validation, `fold` names the fold
        whose network is scored; "test" is its out-of-fold part, and without `fold` that of all folds together.
        """
        config = recorded_config(self.directory, self.record)
        settings = training_of(config).data
        if data is not None:
            # Without the groups of the run's own images, which others are not in.
            alike = dataclasses.replace(_like_trained(self, settings), groups=None)
            dataset = _read(data, alike, is_quiet=is_quiet)
            if fingerprint(dataset) != self.record["data"]["fingerprint"]:
                return _evaluate_external(self, config, data, dataset, part, fold)
        folds = _chosen_folds(config, part, fold)
        _require_converged(self, folds)
        if data is None or settings.groups is not None:
            source = own_source(self.directory, self.record) if data is None else data
            with unquoted_groups(settings.groups):
                dataset = _read(source, settings, is_quiet=is_quiet)
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

    def predict(self, paths: Sequence[str | Path]) -> tuple[Names, Probabilities]:
        """Ids and class probabilities of unlabelled images: files, folders and archives.

        Of a cross-validation the probabilities are the mean over the networks of its folds.
        """
        ids, probabilities = self.predict_folds(paths)
        return ids, probabilities.mean(axis=0)

    def predict_folds(self, paths: Sequence[str | Path]) -> tuple[Names, Float32[np.ndarray, "fold m class"]]:
        """Ids and class probabilities of unlabelled images, by the network of each fold."""
        if not paths:
            raise refuse("IMAGES", "none given", "name image files, folders or archives")
        config = recorded_config(self.directory, self.record)
        images, ids = load_images(paths, _like_trained(self, training_of(config).data))
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
            f"is not the data of this run: {len(dataset.labels)} images with another fingerprint than its "
            f"{data['n']}",
            f"give the {data['name']} it was trained on",
        )
    if describe_groups(dataset) != data["groups"]:
        groups = training_of(config).data.groups
        if groups is None:
            raise refuse(dataset.name, "its duplicates are not those of this run any more", "train again")
        raise refuse(groups, "is not the groups of this run any more", "restore the file from a copy")


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


def _like_trained(run: Run, config: DataConfig) -> DataConfig:
    """The run's way of reading images, with its color and size made explicit."""
    height, width, channels = run.record["data"]["image_shape"]
    # A data set given in Python has the size that it has; files are resized to squares only.
    size = height if height == width else config.image_size
    return dataclasses.replace(config, color="gray" if channels == 1 else "rgb", image_size=size)


def _read(data: str | Path | Dataset, settings: DataConfig, *, is_quiet: bool) -> Dataset:
    with Display(is_quiet=is_quiet) as display:
        return load_dataset(data, settings, display)
