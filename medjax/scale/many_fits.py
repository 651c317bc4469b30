"""Several fits of one recipe, of folds, of seeds or of both, by workers."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from medjax.config import CrossvalConfig, TrainConfig
from medjax.config_checks import require_valid
from medjax.data.load import fingerprint
from medjax.errors import DivergedError, is_unicode, refuse
from medjax.files import is_partial, open_folder
from medjax.jobs.from_config import Config, folds_of, training_of, with_absolute_paths, with_training
from medjax.jobs.pretrained import with_stem_of_weights
from medjax.jobs.restored_run import Run, load_run
from medjax.jobs.resume import FITS, continuation, locked
from medjax.jobs.run_record import describe_versions
from medjax.jobs.seeds import SeedRuns, require_of_seeds, require_seeds, summarize_runs
from medjax.jobs.sharing import sharing
from medjax.jobs.standard import load_settled
from medjax.progress import Display
from medjax.records import Dataset
from medjax.runs import directory as run_files
from medjax.runs.links import require_no_links
from medjax.runs.seed_directories import seed_directory
from medjax.scale.answers import read_answer
from medjax.scale.choose_engine import Choice, choose_engine
from medjax.scale.description import Description
from medjax.scale.do_fits import FitSet, do_fits, prepare
from medjax.scale.engine import Workers
from medjax.scale.finished import is_finished

_DEFAULT = CrossvalConfig()


def fit_many(
    data: str | Path | Dataset,
    config: TrainConfig | CrossvalConfig = _DEFAULT,
    *,
    seeds: Sequence[int] | None = None,
    on: str = "local",
    threads_per_fit: int | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    compilation_cache: bool = False,
    command: str = "medjax.fit_many",
    is_quiet: bool = True,
) -> Run | SeedRuns:
    """Cross-validate, each fold in a process; or train, or cross-validate, once for each seed.

    The result is that of `cross_validate`, or of `train_seeds`, to the last bit, if these compute with `threads_per_fit`
    threads; the number is recorded in run.json. `on` names what works on the fits: "local:N", N processes at a time. A
    process that dies costs the fit that it was at, which continues from its last checkpoint; after several attempts
    RefusedError says where the log is. With `resume` the fits that are finished, whose run directories verify, are left
    as they are. `data` is a path, or "phantom", and the configuration names the network: processes share no objects.

    RefusedError where no fit could be done; DivergedError when a fold, or a seed, diverged, after all others.
    """
    started = time.perf_counter()
    if seeds is not None:
        require_seeds(seeds)
    elif not isinstance(config, CrossvalConfig):
        raise refuse("--on", "is for several fits, and this is a single one", "give --seeds, or leave it out")
    choice = choose_engine(on, threads_per_fit)
    config = _checked(config)
    with Display(is_quiet=is_quiet) as display, sharing(), contextlib.ExitStack() as stack:
        given = [training_of(config).seed] if seeds is None else seeds
        # What is read is said once.
        displays = [display, *[Display(is_quiet=True)] * (len(given) - 1)]
        settled = {
            seed: settle_fit(data, _with_seed(config, seed), each)
            for seed, each in zip(given, displays, strict=True)
        }
        name = f"{run_files.file_name(settled[given[0]].name)}-{training_of(config).preset}"
        if seeds is not None:
            name = f"{name}-seeds"
            if resume and run_dir is not None and Path(run_dir).exists():
                require_of_seeds(Path(run_dir), seeds)
        directory, is_continued = open_directory(run_dir, name, resume=resume)
        stack.enter_context(locked(fits_folder(directory)))
        fits = [
            wholes_of(fits_folder(directory), each, choice.threads, command, None if seeds is None else seed)
            for seed, each in settled.items()
        ]
        whole = [each for each, _ in fits]
        stack.enter_context(telling_how_to_continue(command, directory, display))
        _fit(fits, choice, directory, display, is_continued=is_continued, has_cache=compilation_cache)
        if seeds is None:
            return _single(whole[0])
        runs = [load_run(each.directory) for each in whole]
        diverged = [run.record["seed"] for run in runs if run.record["status"] == "diverged"]
        scored = [run for run in runs if run.record["status"] == "done"]
        return summarize_runs(directory, config, scored, diverged, time.perf_counter() - started)


@dataclasses.dataclass(frozen=True)
class SettledFit:
    """A configuration with nothing left to settle, and the images that settled it."""

    source: str
    config: Config
    name: str  # of the data
    fingerprint: str


def settle_fit(data: str | Path | Dataset, config: Config, display: Display) -> SettledFit:
    """Read the images, and settle what the configuration leaves to them; within `sharing` they are read once."""
    if isinstance(data, Dataset):
        raise refuse("data", "is in the memory of this process", "give the path where all processes find it")
    try:
        settled, dataset = load_settled(data, config, display)
    except OSError as error:
        raise refuse(str(error.filename), f"{error.strerror or error}", "choose other data") from error
    source = "phantom" if dataset.is_synthetic else str(Path(data).absolute())
    return SettledFit(source, with_absolute_paths(settled), dataset.name, fingerprint(dataset))


def wholes_of(
    folder: Path, settled: SettledFit, threads: int, command: str, seed: int | None
) -> tuple[Description, list[Description]]:
    """The description of the run of a seed, of a cross-validation also those of its folds."""
    config, name = settled.config, "whole" if seed is None else seed_directory(folder, seed).name
    whole = Description(
        folder / f"{name}.json",
        settled.source,
        settled.fingerprint,
        config,
        ".." if seed is None else f"../{name}",
        (),
        "all",
        threads,
        describe_versions(),
        command,
    )
    if not isinstance(config, CrossvalConfig):
        return whole, []
    prefix = "" if seed is None else f"{name}-"
    folds = {fold: f"{prefix}fold_{fold:02d}" for fold in folds_of(config)}
    parts = [
        dataclasses.replace(
            whole,
            path=folder / f"{each}.json",
            config=dataclasses.replace(config, only_fold=fold),
            run=each,
            scoring="none",
        )
        for fold, each in folds.items()
    ]
    return dataclasses.replace(whole, fold_runs=tuple(folds.values())), parts


def _checked(config: Config) -> Config:
    """The configuration as fits have it; RefusedError where it cannot be divided among processes."""
    if isinstance(config, CrossvalConfig):
        if config.fold_strategy not in ("auto", "loop"):
            reason = f"{config.fold_strategy} is for the folds of one process"
            raise refuse("--fold-strategy", reason, "leave it out beside --on")
        config = dataclasses.replace(config, fold_strategy="loop")  # which it is, in each process
    require_valid(config)
    return with_training(config, with_stem_of_weights(training_of(config)))


def _with_seed(config: Config, seed: int) -> Config:
    return with_training(config, dataclasses.replace(training_of(config), seed=seed))


def fits_folder(directory: Path) -> Path:
    """The folder of descriptions, answers and logs."""
    return directory / FITS


def open_directory(run_dir: str | Path | None, name: str, *, resume: bool) -> tuple[Path, bool]:
    """The directory of all fits, with its folder of them, and whether they were begun there before.

    Without `run_dir` a new one is called `name`. RefusedError where it holds something else, and with `resume` for one
    whose fits were begun in one process.
    """
    requested = None if run_dir is None else Path(run_dir)
    if resume and requested is None:
        raise refuse("--resume", "needs to know which run", "name it: --run DIR")
    _require_one_line(Path() if requested is None else requested)
    if resume and requested is not None and _holds_something(requested):
        if not requested.is_dir():
            raise refuse(requested, "is no directory", "choose another --run")
        require_no_links(requested)
        if not fits_folder(requested).is_dir():
            raise refuse(requested, "was begun in one process", "leave --on out, or choose another --run")
        with open_folder(fits_folder(requested), root=requested) as folder:
            for each in filter(is_partial, folder.names()):
                folder.remove(each)
        return requested, True
    directory = run_files.create_run_dir(requested, name)
    fits_folder(directory).mkdir()
    return directory, False


def _require_one_line(directory: Path) -> None:
    """RefusedError for a path that cannot be a line of UTF-8, as which workers are told it."""
    path = str(directory.absolute())
    if not is_unicode(path) or "\n" in path or "\r" in path:
        raise refuse(directory, "has a line break in its path, or is not UTF-8", "choose another --run")


def _holds_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()


@contextlib.contextmanager
def telling_how_to_continue(command: str, directory: Path, display: Display) -> Iterator[None]:
    """Say how to continue where the fits are stopped."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        display.say(
            f"stopped; every fit that was finished, and every epoch of the others, is kept in {directory}"
        )
        display.say(f"continue with: {continuation(command, directory)}")
        raise


def tell_engine(choice: Choice, folder: Path, display: Display) -> None:
    """Say what works on the fits, and what is dangerous about it."""
    display.say(f"on {choice.words}, with {choice.threads} of XLA's threads a fit; logs are in {folder}")
    if choice.warning is not None:
        display.say(choice.warning)


def _fit(
    fits: Sequence[tuple[Description, list[Description]]],
    choice: Choice,
    directory: Path,
    display: Display,
    *,
    is_continued: bool,
    has_cache: bool,
) -> None:
    """Train the folds of all runs, then score the runs; or, without folds, do the runs."""
    folder = fits_folder(directory)
    prepare([each for whole, parts in fits for each in (*parts, whole)], is_continued=is_continued)
    left = [(whole, parts) for whole, parts in fits if not is_finished(whole)]
    model = fits[0][0].own_model
    with choice.make(Workers(folder, choice.threads, model, has_cache)) as engine:
        tell_engine(choice, folder, display)
        do_fits(FitSet([part for _, parts in left for part in parts], "folds"), engine, display)
        do_fits(FitSet([whole for whole, _ in left], "runs"), engine, display)
    # Each whole run has copies of its folds' checkpoints.
    with open_folder(folder, root=directory) as opened:
        for _, parts in left:
            for part in parts:
                opened.remove(part.run)


def _single(whole: Description) -> Run:
    run = load_run(whole.directory)
    if run.record["status"] == "diverged":
        answer = read_answer(whole.path)
        raise DivergedError(answer.message if answer else f"training diverged: see {whole.directory}")
    return run
