"""A run, restored from its directory alone; the network too, if it is one of medjax."""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from medjax.config import CrossvalConfig, DataConfig, ReadingConfig
from medjax.data.given import tell_apart
from medjax.data.load import fingerprint, load
from medjax.data.load_images import load_images
from medjax.errors import Problem, counted, refuse
from medjax.jobs.calibration import Calibrators, calibrate, recorded_calibrators
from medjax.jobs.datasets import describe_loading
from medjax.jobs.external_data import keep_external, with_classes
from medjax.jobs.fold_answers import average_predictions, predict_each
from medjax.jobs.from_config import (
    Config,
    folds_of,
    make_splits,
    training_of,
)
from medjax.jobs.label_thresholds import apply_thresholds, recorded_thresholds
from medjax.jobs.operating_point import Point, decide, require_point, score_point
from medjax.jobs.outside_range import outside_ranges, ranges_of, warn_of_outside
from medjax.jobs.own_source import own_source, unquoted
from medjax.jobs.prediction_sets import (
    Conformals,
    make_sets,
    merged_sets,
    read_sets,
    require_coverage,
    score_run_sets,
    sets_of_folds,
)
from medjax.jobs.recorded_config import recorded_config
from medjax.jobs.restored_network import make_run_learner, restore_variables
from medjax.jobs.resume import parts_of_table
from medjax.jobs.run_images import (
    as_source,
    like_trained,
    of_eight_bits,
    read_by,
    read_images,
    refusing_sixteen_bits,
    warn_of_dicom,
    without_table,
)
from medjax.jobs.run_record import describe_groups
from medjax.jobs.score_folds import score_part
from medjax.records import (
    Dataset,
    Images,
    Names,
    Predictions,
    Probabilities,
    concatenate_predictions,
    name_labels,
)
from medjax.report.prediction_sets import void_sentence
from medjax.runs import directory as run_files
from medjax.training.predict import predict


class PredictedImages(NamedTuple):
    """What a run says of images without labels."""

    ids: Names
    probabilities: Float32[np.ndarray, "fold m class"]
    # Statistics of each image, by name (see `medjax.data.ranges`).
    outside_training_range: list[tuple[str, ...]]
    # Name of the class; of several labels those that reach their thresholds, joined by "|".
    predicted: list[str]
    images: Images  # as the network sees them


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

    @property
    def operating_point(self) -> Point | None:
        """The threshold on the probability of a class, of a run that was trained with `positive`; else None."""
        config = recorded_config(self.directory, self.record)
        if training_of(config).positive is None:
            return None
        return require_point(self.metrics.get("operating_point"), config, self.record["class_names"])

    def decide(self, probabilities: Probabilities) -> Bool[np.ndarray, "m"] | None:
        """Which images are called positive by the probabilities of `predict`; None without an operating point."""
        point = self.operating_point
        return None if point is None else decide(point, self.record["class_names"], probabilities)

    @property
    def _conformals(self) -> Conformals:
        config = recorded_config(self.directory, self.record)
        return read_sets(self.directory, config, len(self.record["class_names"]))

    def prediction_sets(
        self, probabilities: Float32[np.ndarray, "fold m class"], coverage: float
    ) -> Bool[np.ndarray, "m class"]:
        """Which classes are in the set of each image, by the probabilities of `predict_folds` or `predict_images`.

        A set holds the true class with probability `coverage` at least, of a run that was trained with a conformal part of its
        own. Of a cross-validation it holds the classes that are in more than half of the folds' sets, which makes that twice as
        far from 1 at worst. Warns where the guarantee is void. Raises RefusedError for a run that was not trained with `coverage`, and for one whose part has
        too few images for this one.
        """
        self.require_coverage(coverage)
        config = recorded_config(self.directory, self.record)
        folds = folds_of(config)
        if (void := void_sentence(dataclasses.asdict(training_of(config)))) is not None:
            warnings.warn(void, stacklevel=2)
        return make_sets(self._conformals, dict(zip(folds, probabilities, strict=True)), coverage)

    def require_coverage(self, coverage: float) -> None:
        """RefusedError where `prediction_sets` would refuse this coverage."""
        require_coverage(self._conformals, coverage, len(self.record["class_names"]))

    @refusing_sixteen_bits
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
        settings, recorded = read_by(config, reading), training_of(config).data
        data = as_source(data, self.record["class_names"])
        if data is not None:
            if reading is None:
                settings = without_table(settings)
            alike = like_trained(self.directory, self.record, settings)
            # Those of the run's own images, which others are not in.
            if settings.groups == recorded.groups:
                alike = dataclasses.replace(alike, groups=None)
            if settings.group_pattern == recorded.group_pattern:
                alike = dataclasses.replace(alike, group_pattern=None)
            dataset = read_images(self.directory, self.record, data, alike, is_quiet=is_quiet)
            if fingerprint(dataset) != self.record["data"]["fingerprint"]:
                return _evaluate_external(self, config, data, dataset, alike, part, fold)
        folds = _chosen_folds(config, part, fold)
        _require_converged(self, folds)
        if data is None or settings.groups is not None or settings.group_pattern is not None:
            source = own_source(self.directory, self.record) if data is None else data
            groups = recorded.groups if settings.groups == recorded.groups else None
            labels = recorded.labels if settings.labels == recorded.labels else None
            with unquoted(groups, "--groups"), unquoted(labels, "--labels"):
                dataset = read_images(self.directory, self.record, source, settings, is_quiet=is_quiet)
        _require_own(self, settings, dataset)
        splits = make_splits(config, dataset)
        network, learner = make_run_learner(self.directory, self.record, self.model, config, splits)
        calibrators = _calibrators_of(self, config)
        predictions, numbers = [], []
        for number in folds:
            indices = getattr(splits[number], part)
            if len(indices) == 0:
                raise refuse(f"--split {part}", "this run held no such part back", "score its test part")
            variables = restore_variables(self.directory, self.record, config, network, number)
            found = calibrate(calibrators, number, predict(learner, variables, dataset, indices))
            predictions.append(decided(self, found, [number]))
            numbers.append(np.full(len(indices), number))
        together = concatenate_predictions(predictions)
        scores = score_part(together, dataset, part, ordinal=training_of(config).ordinal)
        point = self.operating_point
        if point is not None:
            scores["operating_point"] = score_point(point, dataset, together, np.concatenate(numbers))
        if training_of(config).coverage is not None:
            sets = sets_of_folds(config, self._conformals, together, np.concatenate(numbers))
            scores["prediction_sets"] = score_run_sets(config, dataset, together, sets)
        return {part: scores}

    def predict(self, images: Any, *, reading: ReadingConfig | None = None) -> tuple[Names, Probabilities]:
        """Ids and class probabilities of images without labels.

        `images` is the path of an image, folder or archive; the bytes of an image file; a file opened with "rb"; a uint8
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

    @refusing_sixteen_bits
    def predict_images(
        self, images: Any, *, reading: ReadingConfig | None = None, left_out: list[Problem] | None = None
    ) -> PredictedImages:
        """`predict_folds`, and which images lie outside the range of the training images; these are warned of."""
        config = recorded_config(self.directory, self.record)
        settings = like_trained(self.directory, self.record, read_by(config, reading))
        given = tell_apart(images)
        loaded = load_images(given, settings, left_out=left_out)
        warn_of_dicom(self.record, loaded.are_dicom)
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
        network, learner = make_run_learner(self.directory, self.record, self.model, config, [])
        calibrators = _calibrators_of(self, config)
        each = [
            calibrate(
                calibrators,
                fold,
                predict(
                    learner,
                    restore_variables(self.directory, self.record, config, network, fold),
                    loaded.images,
                ),
            ).probabilities
            for fold in folds_of(config)
        ]
        warn_of_outside(outside)
        probabilities = np.stack(each)
        return PredictedImages(
            loaded.ids,
            probabilities,
            outside,
            _name_predicted(self, config, probabilities),
            loaded.images,
        )


def load_run(directory: str | Path, *, model: Any = None) -> Run:
    """Open a run directory; RefusedError where it is none.

    A run of a network that is none of medjax's needs that network again as `model`: nothing is ever imported because a
    run directory, which may be a stranger's, says so.
    """
    return Run(Path(directory), run_files.read_record(Path(directory)), model)


def _name_predicted(
    run: Run, config: Config, probabilities: Float32[np.ndarray, "fold m class"]
) -> list[str]:
    """What the mean of all folds' probabilities says of each image, by name."""
    names, mean = run.record["class_names"], probabilities.mean(axis=0)
    indices = np.arange(len(mean))
    if not run.record.get("several_labels", False):
        return [names[label] for label in mean.argmax(axis=1)]
    answers = decided(run, Predictions(indices, None, mean, None), folds_of(config))
    return [name_labels(chosen, names) for chosen in answers.decisions]


def _calibrators_of(run: Run, config: Config) -> Calibrators:
    """How the probabilities of each fold's network are calibrated; nothing in a run without `calibrate`."""
    if training_of(config).calibrate is None:
        return {}
    has_several = run.record.get("several_labels", False)
    return recorded_calibrators(
        run.metrics, config, len(run.record["class_names"]), several_labels=has_several
    )


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
    warn_of_dicom(run.record, dataset.dicom is not None)
    _require_converged(run, folds_of(config))
    has_several = run.record.get("several_labels", False)
    dataset = with_classes(dataset, tuple(run.record["class_names"]), several_labels=has_several)
    network, learner = make_run_learner(run.directory, run.record, run.model, config, [])
    models = {
        number: restore_variables(run.directory, run.record, config, network, number)
        for number in folds_of(config)
    }
    arrays, everything = (dataset.images, dataset.labels), np.arange(len(dataset.labels))
    each = predict_each(learner, models, arrays, everything, _calibrators_of(run, config))
    predictions = average_predictions(each)
    predictions = decided(run, predictions, folds_of(config))
    source = None if isinstance(data, Dataset) else data
    in_color = dataclasses.replace(settings, color="rgb")
    outside = outside_ranges(
        ranges_of(run.directory, run.record),
        dataset.images,
        dataset.counts.recolored > 0,
        lambda: data.images if isinstance(data, Dataset) else load(data, in_color).images,
    )
    has_sets = training_of(config).coverage is not None
    sets = merged_sets(config, run._conformals, each) if has_sets else None
    scores = keep_external(
        run.directory,
        source,
        dataset,
        predictions,
        outside,
        config,
        run.operating_point,
        sets,
    )
    warn_of_outside(outside)
    return scores


def decided(run: Run, predictions: Predictions, folds: Sequence[int]) -> Predictions:
    """Predictions with the thresholds of the run, the mean over some of its folds; of one class an image as they are."""
    if not run.record.get("several_labels", False):
        return predictions
    path = str(run.directory / "metrics.json")
    thresholds = recorded_thresholds(run.metrics, run.record["class_names"], folds, path)
    return apply_thresholds(predictions, thresholds)


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
    """RefusedError where these are not the images, or not the groups or given parts, of the run."""
    data = run.record["data"]
    if fingerprint(dataset) != data["fingerprint"]:
        raise refuse(
            dataset.name,
            f"is not the data of this run: {counted(len(dataset.labels), 'image')} with another fingerprint than its "
            f"{data['n']}",
            f"give the {data['name']} it was trained on",
        )
    has_other_groups = describe_groups(dataset) != data["groups"]
    has_other_parts = parts_of_table(data) != parts_of_table(describe_loading(dataset))
    if not (has_other_groups or has_other_parts):
        return
    if data.get("table") is not None and settings.labels is None:
        reason = "has not the groups or parts that the run took from a table of labels"
        raise refuse(dataset.name, reason, "give the table again: --labels FILE")
    if settings.groups is None and settings.labels is None:
        raise refuse(dataset.name, "its duplicates are not those of this run any more", "train again")
    what = "groups" if has_other_groups else "parts"
    is_of_groups = settings.groups is not None and not has_other_parts
    path, flag = (settings.groups, "--groups") if is_of_groups else (settings.labels, "--labels")
    remedy = f"restore the file from a copy, or say where it is: {flag} FILE"
    raise refuse(path, f"is not the {what} of this run any more", remedy)


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
