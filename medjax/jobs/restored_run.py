"""A finished run, restored from its directory alone."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from medjax.config import CrossvalConfig, DataConfig, from_dict
from medjax.data.load import fingerprint, load_images
from medjax.errors import refuse
from medjax.jobs.datasets import load_dataset
from medjax.jobs.external_data import keep_external, with_classes
from medjax.jobs.from_config import Config, folds_of, make_fold_learner, make_splits, training_of
from medjax.jobs.score_folds import predict_together, score_part
from medjax.progress import Display
from medjax.records import Dataset, Names, Probabilities, concatenate_predictions
from medjax.runs import directory as run
from medjax.runs.checkpoint import load_checkpoint
from medjax.runs.checkpoint_series import checkpoint_path, list_epochs
from medjax.training.fit import predict


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run, from its directory alone."""

    directory: Path
    record: dict[str, Any]  # run.json

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json: what the run scored when it was trained."""
        return run.read_json(self.directory / "metrics.json")

    def evaluate(
        self,
        source: str | Path | None = None,
        *,
        part: str = "test",
        fold: int | None = None,
        is_quiet: bool = True,
    ) -> dict[str, Any]:
        """Restore the model and score one part of the run's own data, wherever they lie now; or all of other data.

        Returns {part: metrics}, the block of metrics.json. Of a cross-validation, `fold` names the fold whose model
        is scored; "test" is its out-of-fold part, and of all folds together without `fold`. Data that differ from
        the run's are scored whole, as `keep_external` tells, by the mean of all folds' models: their classes are
        matched by name, and images that the run was trained on are scored apart.
        """
        config = from_dict(self.record["config"])
        settings = training_of(config).data
        if source is not None:
            # Without the groups of the run's own images, which others are not in.
            alike = dataclasses.replace(self._like_trained(settings), groups=None)
            dataset = _read(source, alike, is_quiet=is_quiet)
            if fingerprint(dataset) != self.record["data"]["fingerprint"]:
                return self._evaluate_external(config, source, dataset, part, fold)
        folds = self._chosen_folds(config, part, fold)
        self._require_converged(folds)
        if source is None or settings.groups is not None:
            own = self._own_data() if source is None else source
            dataset = _read(own, settings, is_quiet=is_quiet)
        self._require_own(config, dataset)
        splits = make_splits(config, dataset)
        learner = make_fold_learner(training_of(config), len(dataset.class_names), splits)
        each = []
        for number in folds:
            indices = getattr(splits[number], part)
            if len(indices) == 0:
                raise refuse(f"--split {part}", "this run held no such part back", "score its test part")
            each.append(predict(learner, self._restore(number), dataset.images, dataset.labels, indices))
        return {part: score_part(concatenate_predictions(each), dataset, part)}

    def _evaluate_external(
        self, config: Config, source: str | Path, dataset: Dataset, part: str, fold: int | None
    ) -> dict[str, Any]:
        for flag, is_given in (("--split", part != "test"), ("--fold", fold is not None)):
            if is_given:
                remedy = f"leave {flag} out, or give the {self.record['data']['name']} it was trained on"
                raise refuse(dataset.name, f"is not the data of this run, so it has no {flag}", remedy)
        self._require_converged(folds_of(config))
        dataset = with_classes(dataset, tuple(self.record["class_names"]))
        learner = make_fold_learner(training_of(config), len(dataset.class_names), [])
        models = [self._restore(number) for number in folds_of(config)]
        arrays = dataset.images, dataset.labels
        predictions = predict_together(learner, models, arrays, np.arange(len(dataset.labels)))
        return keep_external(self.directory, source, dataset, predictions)

    def predict(self, paths: Sequence[str | Path]) -> tuple[Names, Probabilities]:
        """Ids and class probabilities of unlabelled images: files, folders and archives.

        Of a cross-validation the probabilities are the mean over the models of its folds.
        """
        ids, probabilities = self.predict_folds(paths)
        return ids, probabilities.mean(axis=0)

    def predict_folds(self, paths: Sequence[str | Path]) -> tuple[Names, Float32[np.ndarray, "fold m class"]]:
        """Ids and class probabilities of unlabelled images, by the model of each fold."""
        if not paths:
            raise refuse("IMAGES", "none given", "name image files, folders or archives")
        config = from_dict(self.record["config"])
        images, ids = load_images(paths, self._like_trained(training_of(config).data))
        self._require_converged(folds_of(config))
        learner = make_fold_learner(training_of(config), len(self.record["class_names"]), [])
        nothing, all_images = np.zeros(len(images), np.int32), np.arange(len(images))
        each = [
            predict(learner, self._restore(fold), images, nothing, all_images).probabilities
            for fold in folds_of(config)
        ]
        return ids, np.stack(each)

    def _chosen_folds(self, config: Config, part: str, fold: int | None) -> Sequence[int]:
        trained = folds_of(config)
        if fold is not None:
            if fold not in trained:
                numbers = f"{trained[0]} to {trained[-1]}" if len(trained) > 1 else str(trained[0])
                raise refuse(f"--fold {fold}", "no such fold in this run", f"it has {numbers}")
            return [fold]
        if isinstance(config, CrossvalConfig) and part != "test":
            raise refuse(f"--split {part}", "differs from fold to fold", "name one: --fold K")
        return trained

    def _require_own(self, config: Config, dataset: Dataset) -> None:
        """RefusedError where these are not the images, or not the groups, of the run."""
        data = self.record["data"]
        if fingerprint(dataset) != data["fingerprint"]:
            raise refuse(
                dataset.name,
                f"is not the data of this run: {len(dataset.labels)} images with another fingerprint than its "
                f"{data['n']}",
                f"give the {data['name']} it was trained on",
            )
        if run.describe_groups(dataset) != data["groups"]:
            groups = training_of(config).data.groups
            if groups is None:
                raise refuse(dataset.name, "its duplicates are not those of this run any more", "train again")
            raise refuse(groups, "is not the groups of this run any more", "restore the file from a copy")

    def _own_data(self) -> str:
        path = self.record["data"]["path"]
        if not self.record["data"]["is_synthetic"] and not Path(path).exists():
            raise refuse(
                path, "is not there any more", f"name its place: medjax evaluate {self.directory} DATA"
            )
        return path

    def _require_converged(self, folds: Sequence[int]) -> None:
        """RefusedError where one of the folds of a cross-validation diverged: its score is withheld."""
        if self.record["job"] != "crossval" or self.record["status"] != "diverged":
            return
        path = self.directory / "metrics.json"
        scored = (
            [fold["fold"] for fold in self.metrics["folds"] if not fold["diverged"]] if path.exists() else []
        )
        for fold in folds:
            if fold not in scored:
                remedy = (
                    f"name another: --fold {scored[0]}" if scored else "train with a smaller --learning-rate"
                )
                raise refuse(str(self.directory), f"fold {fold} diverged, so its score is withheld", remedy)

    def _restore(self, fold: int) -> Any:
        """The parameters of one fold that are scored, of the newest epoch that all folds have saved."""
        parent = self.directory / "checkpoints"
        epochs = list_epochs(parent, folds_of(from_dict(self.record["config"])))
        if not epochs:
            raise refuse(str(parent), "holds no finished checkpoint", "train again")
        return load_checkpoint(checkpoint_path(parent, fold, epochs[0]), "parameters")

    def _like_trained(self, config: DataConfig) -> DataConfig:
        """The run's way of reading images, with its color made explicit."""
        is_gray = self.record["data"]["image_shape"][-1] == 1
        return dataclasses.replace(config, color="gray" if is_gray else "rgb")


def _read(source: str | Path, settings: DataConfig, *, is_quiet: bool) -> Dataset:
    with Display(is_quiet=is_quiet) as display:
        return load_dataset(source, settings, display)


def load_run(directory: str | Path) -> Run:
    """Open a run directory; RefusedError where it is none."""
    return Run(Path(directory), run.read_json(Path(directory) / "run.json"))
