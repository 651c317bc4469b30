"""One job from its data to its page: load, train, score, write, draw; or go on where it stopped."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from medjax.config import CrossvalConfig, TrainConfig
from medjax.config_checks import from_dict, require_valid
from medjax.errors import DivergedError, Problem, RefusedError, is_unicode, listed, refuse, refusing_memory
from medjax.evaluation.diagnosis import diagnose
from medjax.jobs import resume
from medjax.jobs.baselines import compare_baselines, find_scored
from medjax.jobs.beside_training import BesideTraining
from medjax.jobs.calibration import require_calibration
from medjax.jobs.draw_report import draw_report
from medjax.jobs.external_data import TRAINED
from medjax.jobs.from_config import (
    GIVEN_IN_PYTHON,
    Config,
    folds_of,
    is_built_in,
    make_network,
    make_splits,
    training_of,
    with_training,
)
from medjax.jobs.frozen import caches_features, compute_features
from medjax.jobs.gather_folds import gather_folds
from medjax.jobs.operating_point import require_positive
from medjax.jobs.overlap import write_own_images
from medjax.jobs.page_maps import make_page_maps
from medjax.jobs.prediction_sets import require_sets, write_sets
from medjax.jobs.pretrained import Started, start_network, with_stem_of_weights
from medjax.jobs.restored_run import Run
from medjax.jobs.run_record import (
    describe_parts,
    describe_run,
    job_name,
    trained_images,
)
from medjax.jobs.score_folds import FoldScores, score_folds, score_validation
from medjax.jobs.sharing import Same, once
from medjax.jobs.standard import load_settled
from medjax.jobs.train_folds import TrainedFolds, train_folds
from medjax.models.network import Variables
from medjax.models.registry import load_model
from medjax.progress import Display
from medjax.records import Dataset, Split
from medjax.runs import directory as run_files

Scoring = Literal["all", "val", "none"]
"""What a run scores when it is trained: all parts; the val part alone, so that nobody has seen the test part yet; nothing.
One that is not done continues to `all` by --resume, without training."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What a user asks for, beside the configuration."""

    data: str | Path | Dataset
    model: Any  # a network of the user's own, or None
    run_dir: Path | None
    resume: bool
    allow_version_change: bool
    command: str  # how to ask for it again
    # Of one of several runs: makes its directory, in that of all, from the name that a run would have.
    place: Callable[[str], Path] | None = None
    scoring: Scoring = "all"
    # Of a cross-validation: a run of each of its folds, from which it takes the trained states.
    fold_runs: Sequence[Path] = ()


class _Opened(NamedTuple):
    """A run directory that --resume found, locked, and its run.json if a run was begun there."""

    directory: Path
    record: Mapping[str, Any] | None


class _Inputs(NamedTuple):
    """What a job works on."""

    config: Config
    dataset: Dataset
    arrays: tuple[jax.Array, jax.Array]  # images and labels on the device
    splits: Sequence[Split]
    started: Started
    model: Any  # what the network was made of, where it is none of medjax's; else None
    caches_features: bool  # frozen features are computed once, and the head alone is trained


def run_job(config: Config, request: Request, *, is_quiet: bool) -> Run:
    """Train the folds of a configuration and leave everything in the run directory.

    RefusedError before anything is written; DivergedError when the training of a fold diverged, with what the others
    scored kept.
    """
    if request.model is not None:
        config = with_training(config, dataclasses.replace(training_of(config), model=GIVEN_IN_PYTHON))
    require_valid(config)
    config = with_training(config, with_stem_of_weights(training_of(config)))
    _require_unicode(config, request)
    started = time.perf_counter()
    with Display(is_quiet=is_quiet) as display, contextlib.ExitStack() as stack:
        opened = _open_previous(config, request, display, stack) if request.resume else None
        previous = opened.record if opened else None
        if previous:
            config = resume.as_recorded(config, previous)
        if opened and previous and _is_finished(previous, config):
            display.say(f"{opened.directory} is finished already; it is left as it is")
            return Run(opened.directory, dict(previous), request.model)
        inputs = _load(config, request, display)
        config = inputs.config
        record = _describe(inputs, request)
        if opened and previous:
            _take_over(opened.directory, record, previous, request, display)
        directory = opened.directory if opened else _make_directory(inputs, request, stack)
        with (
            _kept_record(directory, record, previous, request, display) as write_status,
            BesideTraining(config, inputs.dataset, inputs.splits) as beside,
        ):
            trained = _train_and_score(
                directory, inputs, request, record, write_status, beside, display, started
            )
    _require_converged(config, trained, directory)
    return Run(directory, run_files.read_record(directory), inputs.model)


def _require_unicode(config: Config, request: Request) -> None:
    """RefusedError for a name that run.json, which is UTF-8, could not hold."""
    source = request.data.name if isinstance(request.data, Dataset) else str(Path(request.data).absolute())
    training, data = training_of(config), training_of(config).data
    for name in (source, str(data.labels), str(data.groups), str(training.pretrained), request.command):
        if not is_unicode(name):
            raise refuse(name, "is not UTF-8, so that no run can record it", "rename it")


def _open_previous(
    config: Config, request: Request, display: Display, stack: contextlib.ExitStack
) -> _Opened | None:
    """Lock the directory of the run to continue and read its run.json; None if there is no such directory."""
    directory = request.run_dir
    if directory is None:
        raise refuse("--resume", "needs to know which run", "name it: --run DIR")
    resume.require_run_or_nothing(directory, is_by_fits=bool(request.fold_runs))
    is_there = directory.is_dir()
    if is_there:
        stack.enter_context(resume.locked(directory))
    record = resume.read_record(directory, is_by_fits=bool(request.fold_runs))
    if record is None:
        display.say(f"nothing to continue in {directory} yet: starting at epoch 0")
    else:
        resume.require_same_job(directory, record, job_name(config), resume.as_recorded(config, record))
    return _Opened(directory, record) if is_there else None


def _is_finished(record: Mapping[str, Any], config: Config) -> bool:
    """Whether a run is done, and no further epochs are asked for."""
    before = training_of(from_dict(record["config"])).epochs
    return record["status"] == "done" and before == training_of(config).epochs


def _load(config: Config, request: Request, display: Display) -> _Inputs:
    training = training_of(config)
    # Before the data are read, which may take long: the name may be wrong.
    model = request.model
    if model is None:
        named = training.model, training.model_set
        model = once(("model", *named), lambda: load_model(*named))
    try:
        config, dataset = load_settled(request.data, config, display)
    except OSError as error:
        raise refuse(str(error.filename), f"{error.strerror or error}", "choose other data") from error
    training = training_of(config)
    _require_fit(training, dataset)
    splits = make_splits(config, dataset)
    require_positive(config, dataset, splits)
    require_calibration(config, dataset, splits)
    require_sets(config, dataset, splits)
    if dataset.split is not None:
        display.say(_parts_line(config, dataset))
    network = make_network(training, model, dataset.class_names, dataset.images.shape[1:])
    own_model = None if is_built_in(training) else model
    started = start_network(training, network, dataset, splits, own_model, display)
    with refusing_memory(dataset.name, "train with a smaller --image-size, or on fewer images"):
        arrays = once(("arrays", Same(dataset)), lambda: jax.device_put((dataset.images, dataset.labels)))
    caches = caches_features(training, started.network, dataset)
    return _Inputs(config, dataset, arrays, splits, started, own_model, caches)


def _require_fit(training: TrainConfig, dataset: Dataset) -> None:
    """RefusedError for settings that mean nothing where an image may have several labels."""
    if not dataset.has_several_labels:
        return
    named = (
        ("--ordinal", training.ordinal),
        ("--positive", training.positive is not None),
        ("--class-balance", training.class_balance == "sampling"),
    )
    if given := [name for name, is_given in named if is_given]:
        reason = f"is of one class an image, and {dataset.name} has several labels an image"
        remedy = {"--class-balance": "give weights, or none"}
        raise RefusedError(Problem(name, reason, remedy.get(name, "leave it out")) for name in given)


def _parts_line(config: Config, dataset: Dataset) -> str:
    """How the images are divided, and how to choose another test part where one is drawn beside the data's val part."""
    is_chosen = isinstance(config, CrossvalConfig) or config.data.val_as_test
    is_drawn = not is_chosen and dataset.split is not None and "test" not in dataset.split.tolist()
    hint = " (--val-as-test takes the val part as test)" if is_drawn else ""
    return f"parts: {describe_parts(config, dataset)}{hint}"


def _describe(inputs: _Inputs, request: Request) -> dict[str, Any]:
    record = describe_run(
        inputs.config,
        request.command,
        None if isinstance(request.data, Dataset) else request.data,
        inputs.dataset,
        inputs.splits,
        inputs.started.network,
        is_own_network=request.model is not None,
    )
    record["model"] |= {"pretrained": inputs.started.pretrained, "input": inputs.started.input}
    return record


def _take_over(
    directory: Path,
    record: dict[str, Any],
    previous: Mapping[str, Any],
    request: Request,
    display: Display,
) -> None:
    """Let `record` take over what a run that continues keeps; RefusedError if it may not continue."""
    resume.require_same_data(directory, previous["data"], record["data"])
    resume.require_same_network(directory, previous["model"], record["model"])
    resume.require_same_start(directory, previous["model"], record["model"])
    for warning in resume.compare_environments(
        directory, previous, record, allow_version_change=request.allow_version_change
    ):
        display.warn(warning)
    resumption = {name: record[name] for name in ("started", "command", "versions", "machine")}
    kept = ["started", "strategy", "versions", "machine"]
    # With more epochs than before, the new command is the one that repeats the run.
    if record["config"] == previous["config"]:
        kept.append("command")
    record |= {name: previous[name] for name in kept}
    record["resumptions"] = [*previous["resumptions"], resumption]


def _make_directory(inputs: _Inputs, request: Request, stack: contextlib.ExitStack) -> Path:
    """A new run directory, locked."""
    name = f"{run_files.file_name(inputs.dataset.name)}-{training_of(inputs.config).preset}"
    try:
        requested = request.run_dir if request.place is None else request.place(name)
        directory = run_files.create_run_dir(requested, name)
    except OSError as error:
        raise refuse(str(error.filename), f"{error.strerror or error}", "choose another --run") from error
    stack.enter_context(resume.locked(directory))
    return directory


@contextlib.contextmanager
def _kept_record(
    directory: Path,
    record: Mapping[str, Any],
    previous: Mapping[str, Any] | None,
    request: Request,
    display: Display,
) -> Iterator[Callable[[str], None]]:
    """run.json, written with each status; when the work is stopped it tells so, and how to continue.

    That of a run that continues stays until its training goes on. A lack of room or memory becomes a refusal.
    """
    whole = directory if request.place is None else directory.parent
    remedy = f"continue with: {resume.continuation(request.command, whole)}"

    def write_status(status: str) -> None:
        run_files.write_record(directory, {**record, "status": status})

    try:
        if previous is None:
            write_status("running")
        with refusing_memory("scoring", f"the training is kept; with more memory, {remedy}"):
            yield write_status
    except BaseException as error:
        with contextlib.suppress(OSError):
            run_files.mark_interrupted(directory)
        if isinstance(error, OSError):
            reason = f"cannot be written: {error.strerror or error}"
            raise refuse(str(error.filename or directory), reason, remedy) from error
        if isinstance(error, KeyboardInterrupt | SystemExit):
            display.say(f"stopped; every epoch that was finished is kept in {directory}")
            display.say(remedy)
        raise


def _train_and_score(
    directory: Path,
    inputs: _Inputs,
    request: Request,
    record: dict[str, Any],
    write_status: Callable[[str], None],
    beside: BesideTraining,
    display: Display,
    started: float,
) -> TrainedFolds:
    """Train, score, write and draw; run.json ends with the run's status."""
    config, dataset, arrays, splits, start = inputs[:5]
    run_files.write_skipped(directory, dataset.bad)
    run_files.write_digests(directory / TRAINED, dataset.digests[trained_images(config, splits)])
    write_own_images(directory, dataset)
    seconds = {"load": time.perf_counter() - started}
    training, network = training_of(config), start.network
    complete: Callable[[Variables], Variables] = _same
    if inputs.caches_features:
        with refusing_memory("features", "train with a smaller --image-size, or on fewer images"):
            probe = compute_features(training, network, arrays, display)
        network, arrays, complete = probe.network, probe.maps, probe.complete
        training = dataclasses.replace(training, freeze="none", features_rate=1.0)

    def begin() -> None:
        write_status("running")
        if request.scoring == "all":
            # Compiling leaves a core idle, most of the time.
            beside.start()

    facts = resume.unchanging_facts(record)
    if request.fold_runs:
        gather_folds(directory, request.fold_runs, folds_of(config), facts)

    trained = train_folds(
        directory,
        network,
        arrays,
        splits,
        folds_of(config),
        training,
        record["strategy"],
        display,
        facts,
        complete=complete,
        on_start=begin,
    )
    seconds["compile"] = trained.compile_seconds
    seconds["train"] = sum(row["seconds"] for row in trained.history)
    if np.all(trained.state.diverged):
        write_status("diverged")
        return trained
    if request.scoring != "all":
        _score_in_part(directory, inputs, request.scoring, trained)
        write_status("diverged" if np.any(trained.state.diverged) else "trained")
        return trained
    display.start("scoring")
    before = time.perf_counter()
    scores = score_folds(config, dataset, arrays, splits, trained)
    run_files.write_predictions(directory / "predictions.csv", dataset, scores.parts)
    write_sets(directory, scores.conformals)
    seconds["evaluate"] = time.perf_counter() - before
    seconds["total"] = time.perf_counter() - started
    metrics = {**scores.metrics, "baselines": None, "seconds": seconds}
    _write_metrics(directory, config, metrics, trained)
    record["data"]["leakage"], examples = beside.result()
    write_status("running")
    status = "diverged" if np.any(trained.state.diverged) else "done"
    if training_of(config).baselines and scores.shown is not None:
        _add_baselines(directory, inputs, beside, scores, metrics, trained, display, started)
    display.start("drawing")
    # The status is written last: a run that is done has its page.
    scored = scores.metrics.get("pooled") or scores.metrics.get("test") or {}
    point = scored.get("operating_point")
    explain = make_page_maps(
        training,
        start.network,
        dataset,
        scores,
        lambda fold: complete(trained.variables(folds_of(config).index(fold), training)),
    )
    draw_report(
        directory,
        status,
        dataset,
        examples,
        scores.shown,
        trained.history,
        point,
        before=scores.before,
        explain=explain,
    )
    write_status(status)
    return trained


def _score_in_part(directory: Path, inputs: _Inputs, scoring: Scoring, trained: TrainedFolds) -> None:
    """Score the val part, if that is asked for, and write it; nothing is computed of the test part."""
    if scoring == "val":
        metrics, parts = score_validation(
            inputs.config, inputs.dataset, inputs.arrays, inputs.splits[0], trained
        )
        run_files.write_predictions(directory / "predictions.csv", inputs.dataset, parts)
        run_files.write_json(directory / "metrics.json", metrics)


def _same(variables: Variables) -> Variables:
    return variables


def _add_baselines(
    directory: Path,
    inputs: _Inputs,
    beside: BesideTraining,
    scores: FoldScores,
    metrics: dict[str, Any],
    trained: TrainedFolds,
    display: Display,
    started: float,
) -> None:
    """Wait for the baselines, and write metrics.json again with their scores and seconds."""
    display.start("baselines", "fits")
    before = time.perf_counter()
    scored = find_scored(scores.parts)
    baselines = beside.baselines(scored.repeat, display)
    block = compare_baselines(inputs.config, inputs.dataset, baselines, scored.predictions)
    seconds = {
        **metrics["seconds"],
        # Each while the network trained; `baselines` is what remained after that.
        **{f"baseline_{name}": spent for name, spent in baselines.seconds.items()},
        "baselines": time.perf_counter() - before,
        "total": time.perf_counter() - started,
    }
    _write_metrics(directory, inputs.config, {**metrics, "baselines": block, "seconds": seconds}, trained)


def _write_metrics(
    directory: Path, config: Config, metrics: Mapping[str, Any], trained: TrainedFolds
) -> None:
    """Write metrics.json, with what its scores and the history say is to be changed."""
    found = diagnose(metrics, trained.history, training_of(config))
    diagnosis = [finding._asdict() for finding in found]
    run_files.write_json(directory / "metrics.json", {**metrics, "diagnosis": diagnosis})


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
