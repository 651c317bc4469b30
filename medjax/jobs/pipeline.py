"""What training and cross-validation have in common: load, train, score, write, draw; and begin again where it stopped."""

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medjax import run
from medjax.config import CrossvalConfig, require_valid
from medjax.data import load
from medjax.errors import DivergedError, listed, refuse
from medjax.jobs import opening
from medjax.jobs.building import Config, folds_of, make_model, make_splits, training_of, with_whole_paths
from medjax.jobs.illustrating import illustrate
from medjax.jobs.naming import describe_parts, file_name
from medjax.jobs.restoring import Run
from medjax.jobs.scoring import score_folds
from medjax.jobs.training import TrainedFolds, train_folds
from medjax.models import summarize_model
from medjax.progress import Display
from medjax.records import Dataset, Split
from medjax.report import wording
from medjax.training.strategies import choose_strategy


@dataclasses.dataclass(frozen=True)
class Request:
    """What a user asks for, beside the configuration."""

    source: str | Path
    run_dir: Path | None
    resume: bool
    allow_version_change: bool
    command: str  # how to ask for it again


def run_job(config: Config, request: Request, *, is_quiet: bool) -> Run:
    """Train the folds of a configuration and leave everything in the run directory.

    RefusedError before anything is written; DivergedError when a fold's training diverged, with what the others
    scored kept.
    """
    require_valid(config)
    with Display(is_quiet=is_quiet) as display, contextlib.ExitStack() as stack:
        previous = _reopen(config, request, display, stack) if request.resume else None
        if previous is not None and _is_finished(previous, config):
            assert request.run_dir is not None
            display.say(f"{request.run_dir} is finished already; it is left as it is")
            return Run(request.run_dir, previous)
        started = time.perf_counter()
        dataset = load_dataset(request.source, config, display)
        splits = make_splits(config, dataset)
        record = _describe(config, request, dataset, splits)
        directory = _take_directory(config, request, record, previous, dataset, display, stack)
        run.write_json(directory / "run.json", record)
        seconds = {"load": time.perf_counter() - started}
        try:
            trained = _work(config, directory, record, dataset, splits, seconds, started, display)
        except (KeyboardInterrupt, SystemExit, OSError) as error:
            with contextlib.suppress(OSError):  # on a full disk not even this can be written
                run.write_json(directory / "run.json", {**record, "status": "interrupted"})
            remedy = f"continue with: {opening.continuation(request.command, directory)}"
            if isinstance(error, OSError):
                raise refuse(
                    str(error.filename or directory), f"cannot be written: {error.strerror or error}", remedy
                ) from error
            display.say(f"stopped; every epoch that was finished is kept in {directory}\n{remedy}")
            raise
    _require_converged(config, trained, directory)
    return Run(directory, run.read_json(directory / "run.json"))


def load_dataset(source: str | Path, config: Config, display: Display) -> Dataset:
    """The data set, and a line that says what was read."""
    display.start("reading")
    dataset = load(source, training_of(config).data, on_progress=display.advance)
    found = f"{dataset.name}: {len(dataset.labels):,} images of {len(dataset.class_names)} classes"
    display.say("; ".join([found, *wording.loading(dataset.counts._asdict())]))
    return dataset


def _reopen(
    config: Config, request: Request, display: Display, stack: contextlib.ExitStack
) -> dict[str, Any] | None:
    """Lock the run to continue and return its run.json, or None where there is nothing to continue yet."""
    directory = request.run_dir
    if directory is None:
        raise refuse("--resume", "needs to know which run", "name it: --run DIR")
    if directory.is_dir():
        stack.enter_context(opening.locked(directory))
    previous = opening.require_resumable(directory)
    if previous is None:
        display.say(f"nothing to continue in {directory} yet: starting at epoch 0")
    else:
        opening.require_same_job(directory, previous, _job_name(config), config)
    return previous


def _is_finished(record: Mapping[str, Any], config: Config) -> bool:
    """Whether a run is done, and no further epochs are asked for."""
    before = record["config"].get("training", record["config"])["epochs"]
    return record["status"] == "done" and before == training_of(config).epochs


def _take_directory(
    config: Config,
    request: Request,
    record: dict[str, Any],
    previous: Mapping[str, Any] | None,
    dataset: Dataset,
    display: Display,
    stack: contextlib.ExitStack,
) -> Path:
    """The run directory, locked; `record` takes over what a run that continues keeps."""
    if previous is None:
        if request.resume:
            assert request.run_dir is not None
            directory = request.run_dir
            if not directory.exists():
                directory = run.create_run_dir(directory, "")
                stack.enter_context(opening.locked(directory))
            return directory
        name = f"{file_name(dataset.name)}-{training_of(config).preset}"
        directory = run.create_run_dir(request.run_dir, name)
        stack.enter_context(opening.locked(directory))
        return directory
    assert request.run_dir is not None
    directory = request.run_dir
    opening.require_same_data(directory, previous["data"], record["data"])
    for warning in opening.compare_environments(
        directory, previous, record, allow_version_change=request.allow_version_change
    ):
        display.warn(warning)
    resumption = {name: record[name] for name in ("started", "command", "versions", "machine")}
    kept = ["started", "strategy", "versions", "machine"]
    if record["config"] == previous["config"]:
        kept.append("command")  # of more epochs than before, the new one is the command that repeats the run
    record |= {name: previous[name] for name in kept}
    record["resumptions"] = [*previous["resumptions"], resumption]
    return directory


def _work(
    config: Config,
    directory: Path,
    record: dict[str, Any],
    dataset: Dataset,
    splits: Sequence[Split],
    seconds: dict[str, float],
    started: float,
    display: Display,
) -> TrainedFolds:
    """Train, score, write and draw; `record` ends with the run's status."""
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
    seconds |= {
        "compile": trained.compile_seconds,
        "train": sum(row["seconds"] for row in trained.history),
    }
    if np.all(trained.state.diverged):
        run.write_json(directory / "run.json", {**record, "status": "diverged"})
        return trained
    display.start("scoring")
    before = time.perf_counter()
    scores = score_folds(config, dataset, arrays, splits, trained)
    seconds["evaluate"] = time.perf_counter() - before
    seconds["total"] = time.perf_counter() - started
    run.write_predictions(directory / "predictions.csv", dataset, scores.parts)
    run.write_json(directory / "metrics.json", {**scores.metrics, "seconds": seconds})
    display.start("drawing")
    status = "diverged" if np.any(trained.state.diverged) else "done"
    # The status is written last: a run that is done has its page.
    illustrate(directory, status, config, dataset, splits, scores.shown, trained.history)
    run.write_json(directory / "run.json", {**record, "status": status})
    return trained


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
    raise DivergedError(
        f"training of fold {listed(diverged)} diverged: the loss or its gradient is not finite; the other folds are "
        f"scored in {directory}, the pooled score is withheld. {advice}"
    )


def _job_name(config: Config) -> str:
    return "crossval" if isinstance(config, CrossvalConfig) else "train"


def _describe(config: Config, request: Request, dataset: Dataset, splits: Sequence[Split]) -> dict[str, Any]:
    """run.json as it stands before training."""
    device = jax.devices()[0]
    environment = run.describe_environment(f"{device.platform} ({device.device_kind})")
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
        "config": dataclasses.asdict(with_whole_paths(config)),
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
