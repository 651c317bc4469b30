"""What training and cross-validation have in common: load, train, score, write, draw; and begin again where it stopped."""

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from medjax.config import CrossvalConfig
from medjax.errors import DivergedError, RefusedError, listed, refuse
from medjax.jobs import resume as opening
from medjax.jobs.audit import describe_parting
from medjax.jobs.baselines import fit_baselines
from medjax.jobs.datasets import load_dataset
from medjax.jobs.draw_report import illustrate
from medjax.jobs.external_data import TRAINED
from medjax.jobs.from_config import Config, folds_of, make_model, make_splits, training_of, with_whole_paths
from medjax.jobs.naming import describe_parts, file_name
from medjax.jobs.restored_run import Run
from medjax.jobs.score_folds import Scores, score_folds
from medjax.jobs.train_folds import TrainedFolds, train_folds
from medjax.limits import require_valid
from medjax.models.summary import summarize_model
from medjax.progress import Display
from medjax.records import Dataset, Predictions, Split
from medjax.runs import directory as run
from medjax.training.strategies import choose_strategy


@dataclasses.dataclass(frozen=True)
class Request:
    """What a user asks for, beside the configuration."""

    source: str | Path
    run_dir: Path | None
    resume: bool
    allow_version_change: bool
    command: str  # how to ask for it again


class _Opened(NamedTuple):
    """A directory that is there and locked, and run.json if a run was begun in it."""

    directory: Path | None
    record: Mapping[str, Any] | None


def run_job(config: Config, request: Request, *, is_quiet: bool) -> Run:
    """Train the folds of a configuration and leave everything in the run directory.

    RefusedError before anything is written; DivergedError when a fold's training diverged, with what the others
    scored kept.
    """
    require_valid(config)
    with Display(is_quiet=is_quiet) as display, contextlib.ExitStack() as stack:
        opened = _reopen(config, request, display, stack) if request.resume else _Opened(None, None)
        if opened.record is not None and _is_finished(opened.record, config):
            assert opened.directory is not None
            display.say(f"{opened.directory} is finished already; it is left as it is")
            return Run(opened.directory, dict(opened.record))
        work = _Work(config, request, display, opened)
        try:
            trained = work.run(stack)
        except RefusedError:
            work.leave_as_it_was()
            raise
        except (KeyboardInterrupt, SystemExit, OSError) as error:
            work.stop(error)
            raise
    assert work.directory is not None
    _require_converged(config, trained, work.directory)
    return Run(work.directory, run.read_json(work.directory / "run.json"))


def _reopen(config: Config, request: Request, display: Display, stack: contextlib.ExitStack) -> _Opened:
    """Lock the run to continue, if it was begun, and read its run.json."""
    directory = request.run_dir
    if directory is None:
        raise refuse("--resume", "needs to know which run", "name it: --run DIR")
    opening.require_run_or_nothing(directory)
    is_there = directory.is_dir()
    if is_there:
        stack.enter_context(opening.locked(directory))
    record = opening.read_record(directory)
    if record is None:
        display.say(f"nothing to continue in {directory} yet: starting at epoch 0")
    else:
        opening.require_same_job(directory, record, _job_name(config), config)
    return _Opened(directory if is_there else None, record)


def _is_finished(record: Mapping[str, Any], config: Config) -> bool:
    """Whether a run is done, and no further epochs are asked for."""
    before = record["config"].get("training", record["config"])["epochs"]
    return record["status"] == "done" and before == training_of(config).epochs


class _Work:
    """One run from its data to its page; knows at every moment what to say if it is stopped."""

    def __init__(self, config: Config, request: Request, display: Display, opened: _Opened) -> None:
        self.directory = opened.directory
        self._config = config
        self._request = request
        self._display = display
        self._previous = opened.record
        self._record: dict[str, Any] | None = None
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}

    def run(self, stack: contextlib.ExitStack) -> TrainedFolds:
        """Load, open, train, score, write and draw; run.json ends with the run's status."""
        config, display = self._config, self._display
        dataset = load_dataset(self._request.source, training_of(config).data, display)
        splits = make_splits(config, dataset)
        record = _describe(config, self._request, dataset, splits)
        if self._previous is not None:
            self._continue(record, self._previous)
        directory = self._take_directory(dataset, stack)
        self._write_record(record, "running")
        trained_on = np.unique(np.concatenate([splits[fold].train for fold in folds_of(config)]))
        run.write_digests(directory / TRAINED, dataset.digests[trained_on])
        self._seconds["load"] = time.perf_counter() - self._started
        arrays = jax.device_put((dataset.images, dataset.labels))
        trained = train_folds(
            directory,
            dataset,
            arrays,
            splits,
            folds_of(config),
            training_of(config),
            record["strategy"],
            display,
        )
        self._seconds["compile"] = trained.compile_seconds
        self._seconds["train"] = sum(row["seconds"] for row in trained.history)
        if np.all(trained.state.diverged):
            self._write_record(record, "diverged")
            return trained
        shown = self._score(dataset, arrays, splits, trained)
        # After training, whose start need not wait for it.
        record["data"]["leakage"] = describe_parting(config, dataset, splits)
        self._write_record(record, "running")
        status = "diverged" if np.any(trained.state.diverged) else "done"
        display.start("drawing")
        # The status is written last: a run that is done has its page.
        illustrate(directory, status, config, dataset, splits, shown, trained.history)
        self._write_record(record, status)
        return trained

    def leave_as_it_was(self) -> None:
        """Give a run that cannot be continued its run.json back."""
        if self._previous is not None and self._record is not None:
            assert self.directory is not None
            run.write_json(self.directory / "run.json", self._previous)

    def stop(self, error: BaseException) -> None:
        """Say how to continue, if there is something to continue; of an OSError make a refusal."""
        if self.directory is None:
            if isinstance(error, OSError):
                raise refuse(
                    str(error.filename), f"{error.strerror or error}", "choose another --run"
                ) from error
            return
        if self._record is not None:
            with contextlib.suppress(OSError):  # on a full disk not even this can be written
                self._write_record(self._record, "interrupted")
        remedy = f"continue with: {opening.continuation(self._request.command, self.directory)}"
        if isinstance(error, OSError):
            reason = f"cannot be written: {error.strerror or error}"
            raise refuse(str(error.filename or self.directory), reason, remedy) from error
        self._display.say(f"stopped; every epoch that was finished is kept in {self.directory}\n{remedy}")

    def _continue(self, record: dict[str, Any], previous: Mapping[str, Any]) -> None:
        """Let `record` take over what a run that continues keeps, if it may continue."""
        assert self.directory is not None
        opening.require_same_data(self.directory, previous["data"], record["data"])
        for warning in opening.compare_environments(
            self.directory, previous, record, allow_version_change=self._request.allow_version_change
        ):
            self._display.warn(warning)
        resumption = {name: record[name] for name in ("started", "command", "versions", "machine")}
        kept = ["started", "strategy", "versions", "machine"]
        if record["config"] == previous["config"]:
            kept.append(
                "command"
            )  # of more epochs than before, the new one is the command that repeats the run
        record |= {name: previous[name] for name in kept}
        record["resumptions"] = [*previous["resumptions"], resumption]

    def _take_directory(self, dataset: Dataset, stack: contextlib.ExitStack) -> Path:
        """The run directory, locked."""
        if self.directory is None:
            name = f"{file_name(dataset.name)}-{training_of(self._config).preset}"
            directory = run.create_run_dir(self._request.run_dir, name)
            stack.enter_context(opening.locked(directory))
            self.directory = directory
        return self.directory

    def _score(
        self,
        dataset: Dataset,
        arrays: tuple[jax.Array, jax.Array],
        splits: Sequence[Split],
        trained: TrainedFolds,
    ) -> Predictions | None:
        """Write predictions.csv and metrics.json, before and after the baselines; the predictions that the figures show."""
        assert self.directory is not None
        self._display.start("scoring")
        before = time.perf_counter()
        scores = score_folds(self._config, dataset, arrays, splits, trained)
        now = time.perf_counter()
        self._seconds |= {"evaluate": now - before, "total": now - self._started}
        run.write_predictions(self.directory / "predictions.csv", dataset, scores.parts)
        self._write_metrics(scores.metrics, None)
        if training_of(self._config).baselines and scores.shown is not None:
            self._score_baselines(dataset, splits, scores)
        return scores.shown

    def _score_baselines(self, dataset: Dataset, splits: Sequence[Split], scores: Scores) -> None:
        """Write metrics.json anew, with what simple models score."""
        self._display.start("baselines", "fits")
        before = time.perf_counter()
        baselines = fit_baselines(self._config, dataset, splits, scores.parts, self._display)
        now = time.perf_counter()
        self._seconds |= {f"baseline_{name}": seconds for name, seconds in baselines.seconds.items()}
        self._seconds |= {"baselines": now - before, "total": now - self._started}
        self._write_metrics(scores.metrics, baselines.metrics)

    def _write_metrics(self, metrics: Mapping[str, Any], baselines: Mapping[str, Any] | None) -> None:
        assert self.directory is not None
        metrics = {**metrics, "baselines": baselines, "seconds": self._seconds}
        run.write_json(self.directory / "metrics.json", metrics)

    def _write_record(self, record: dict[str, Any], status: str) -> None:
        assert self.directory is not None
        self._record = {**record, "status": status}
        run.write_json(self.directory / "run.json", self._record)


def _require_converged(config: Config, trained: TrainedFolds, directory: Path) -> None:
    """Raise DivergedError if a fold diverged."""
    diverged = [
        str(fold)
        for fold, has_diverged in zip(folds_of(config), trained.state.diverged, strict=True)
        if has_diverged
    ]
    if not diverged:
        return
    advice = "Try a smaller --learning-rate"
    if not isinstance(config, CrossvalConfig):
        epoch = int(trained.state.epoch[0]) + 1
        raise DivergedError(
            f"training diverged in epoch {epoch}: the loss or its gradient is not finite; the last finite "
            f"state is kept in {directory}. {advice}"
        )
    others = (
        f"nothing is scored in {directory}"
        if len(diverged) == len(folds_of(config))
        else f"the other folds are scored in {directory}, the pooled score is withheld"
    )
    raise DivergedError(
        f"training of fold {listed(diverged)} diverged: the loss or its gradient is not finite; {others}. {advice}"
    )


def _job_name(config: Config) -> str:
    return "crossval" if isinstance(config, CrossvalConfig) else "train"


def _describe(config: Config, request: Request, dataset: Dataset, splits: Sequence[Split]) -> dict[str, Any]:
    """run.json as it stands before training."""
    device = jax.devices()[0]
    devices = f"{jax.device_count()} × {device.platform}" if jax.device_count() > 1 else device.platform
    environment = run.describe_environment(f"{devices} ({device.device_kind})")
    training = training_of(config)
    layers = summarize_model(make_model(training, len(dataset.class_names)), dataset.images.shape[1:])
    if isinstance(config, CrossvalConfig):
        chosen = config.fold_strategy
        strategy = choose_strategy(len(folds_of(config))) if chosen == "auto" else chosen
        indices = {"images": np.sort(np.concatenate([split.test for split in splits[: config.folds]]))}
    else:
        strategy, indices = "loop", splits[0]._asdict()
    return {
        "medjax": environment["versions"]["medjax"],
        "job": _job_name(config),
        "command": request.command,
        "status": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": opening.as_json(with_whole_paths(config)),
        "seed": training.seed,
        "strategy": strategy,
        "resumptions": [],
        "class_names": list(dataset.class_names),
        "data": run.describe_data(request.source, dataset, describe_parts(config, dataset), indices),
        "model": {
            "name": "cnn",
            "parameters": sum(layer.parameters for layer in layers),
            "layers": [layer._asdict() for layer in layers],
        },
        **environment,
    }
