"""One recipe under several seeds: a run for each, and what they have in common."""

import contextlib
import dataclasses
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medjax.config import CrossvalConfig, TrainConfig
from medjax.errors import DivergedError, counted, listed, refuse
from medjax.evaluation.seed_scores import summarize_seeds
from medjax.files import is_partial, open_folder
from medjax.jobs.from_config import Config, training_of, with_training
from medjax.jobs.pipeline import Request, run_job
from medjax.jobs.restored_run import Run
from medjax.jobs.resume import FITS, locked
from medjax.jobs.run_record import job_name
from medjax.jobs.sharing import sharing
from medjax.progress import Display
from medjax.records import Dataset
from medjax.runs import directory as run_files
from medjax.runs.answers import read_answers
from medjax.runs.formats import SEEDS
from medjax.runs.links import require_no_links
from medjax.runs.schema import require
from medjax.runs.seed_directories import list_seeds, seed_directory

MOST_SEEDS = 1000
_LARGEST_SEED = 2**32 - 1
_SYNTAX = "such as 0-4, or 0,3,7"
_OWN_FILES = (".lock", "metrics.json", "report.html", FITS)
_DEFAULT = TrainConfig()


@dataclasses.dataclass(frozen=True, repr=False)
class SeedRuns:
    """Runs that differ only in their seed, in the order of the seeds that were asked for."""

    directory: Path  # holds the directories of the runs, metrics.json and report.html
    runs: tuple[Run, ...]

    def __repr__(self) -> str:
        return f"SeedRuns({str(self.directory)!r}, {counted(len(self.runs), 'run')})"

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json of all runs: `seeds`, the scores of each; `mean`, their mean, sd and range; `diagnosis`."""
        path = self.directory / "metrics.json"
        metrics = run_files.read_json(path)
        require(SEEDS, metrics, path)
        return metrics


def train_seeds(
    data: str | Path | Dataset,
    config: TrainConfig | CrossvalConfig = _DEFAULT,
    *,
    seeds: Sequence[int],
    model: Any = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    allow_version_change: bool = False,
    command: str = "medjax.train_seeds",
    is_quiet: bool = True,
) -> SeedRuns:
    """Train, or with a `CrossvalConfig` cross-validate, once for each seed, all under one new directory.

    Each seed is a run of its own in `seed_0000`, `seed_0001`, …, the same to the last bit as `train` or `cross_validate`
    with that seed; the seed of `config` is not used. Data are read, and programs compiled, once. metrics.json and
    report.html beside them show mean, standard deviation and range over the seeds. The other arguments are those of
    `train`: with `resume`, seeds that are finished are left as they are, and more of them may be given than before.

    RefusedError before anything is written; DivergedError when the training of a seed diverged, after all others.
    """
    require_seeds(seeds)
    started = time.perf_counter()
    display = Display(is_quiet=is_quiet)
    runs: list[Run] = []
    diverged: list[int] = []
    with contextlib.ExitStack() as stack, sharing():
        parent = _Parent(None if run_dir is None else Path(run_dir), seeds, resume, stack)
        for number, seed in enumerate(seeds):
            display.say(f"seed {seed} ({number + 1} of {len(seeds)})")
            request = Request(
                data,
                model,
                parent.known(seed),
                parent.is_continued,
                allow_version_change,
                command,
                place=parent.placing(seed),
            )
            seeded = dataclasses.replace(training_of(config), seed=seed)
            try:
                runs.append(run_job(with_training(config, seeded), request, is_quiet=is_quiet))
            except DivergedError:
                diverged.append(seed)
        assert parent.directory is not None
        seconds = time.perf_counter() - started
        return summarize_runs(parent.directory, config, runs, diverged, seconds)


def summarize_runs(
    directory: Path, config: Config, runs: Sequence[Run], diverged: Sequence[int], seconds: float
) -> SeedRuns:
    """Write metrics.json and report.html of runs of several seeds; DivergedError if seeds `diverged`.

    `seconds` is how long all took together.
    """
    metrics = describe_seeds(config, runs, diverged)
    metrics["seconds"] = {"total": seconds}
    _write(directory, metrics)
    if diverged:
        raise DivergedError(
            f"training of seed {listed(list(map(str, diverged)))} diverged: the mean over seeds is withheld; the others are "
            f"scored in {directory}. Try a smaller --learning-rate"
        )
    return SeedRuns(directory, tuple(runs))


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds that a text names: numbers and ranges such as 0-4, with commas between. RefusedError for any other."""
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,10})\s*(?:-\s*(\d{1,10})\s*)?", part, re.ASCII)
        if not found:
            raise refuse("--seeds", f"{text} is no list of numbers", _SYNTAX)
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise refuse("--seeds", f"{part.strip()} is not ascending", "give the lower number first")
        # One more than may be is enough to be refused.
        seeds += range(first, min(last, first + MOST_SEEDS) + 1)
    require_seeds(seeds)
    return tuple(seeds)


def require_seeds(seeds: Sequence[int]) -> None:
    """RefusedError unless there are seeds, each of them once and in range, and not too many."""
    if not 1 <= len(seeds) <= MOST_SEEDS:
        reason = f"names more than {MOST_SEEDS:,} seeds" if seeds else "names no seed"
        raise refuse("--seeds", reason, f"1 to {MOST_SEEDS:,} of them, {_SYNTAX}")
    for seed in seeds:
        if type(seed) is not int or not 0 <= seed <= _LARGEST_SEED:
            raise refuse("--seeds", f"{seed!r} is out of range", f"0 to {_LARGEST_SEED}")
    if len(set(seeds)) < len(seeds):
        raise refuse("--seeds", "names a seed twice", _SYNTAX)


def describe_seeds(config: Config, runs: Sequence[Run], diverged: Sequence[int]) -> dict[str, Any]:
    """metrics.json of all runs, but for the seconds.

    Keys: job; name of the data; is_synthetic (phantom images); preset; part ("test" or "pooled"); same_images (whether all seeds were scored on the same
    ones); seeds, a row of scores for each; diverged, the seeds without any; mean (see `summarize_seeds`; None if one
    diverged); diagnosis, each finding with the seeds that have it and the words of the first.
    """
    rows = [describe_run_of_seed(run) for run in runs]
    tested = [set(read_answers(run.directory, run.record)) for run in runs]
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        for each in run.metrics.get("diagnosis", []):
            found.setdefault(each["name"], {**each, "seeds": []})["seeds"].append(run.record["seed"])
    return {
        "job": job_name(config),
        "name": runs[0].record["data"]["name"] if runs else "",
        "is_synthetic": bool(runs) and runs[0].record["data"]["is_synthetic"],
        "preset": training_of(config).preset,
        "part": "pooled" if isinstance(config, CrossvalConfig) else "test",
        "same_images": all(each == tested[0] for each in tested),
        "seeds": rows,
        "diverged": list(diverged),
        "mean": None if diverged else summarize_seeds(rows),
        "diagnosis": list(found.values()),
    }


def describe_run_of_seed(run: Run) -> dict[str, Any]:
    """Seed, directory and scores of a run: of the test part, of a cross-validation of all folds together."""
    metrics = run.metrics
    block = metrics.get("pooled") or metrics["test"]
    names = ("n", "errors", "accuracy", "balanced_accuracy", "auc", "auc_ci95", "loss")
    return {
        "seed": run.record["seed"],
        "directory": run.directory.name,
        **{name: block.get(name) for name in names},
        "accuracy_ci95": block[block["leading_ci95"]],
    }


def _write(directory: Path, metrics: Mapping[str, Any]) -> None:
    """Write metrics.json and the page."""
    # Imported here: training needs no templates.
    from medjax.report.page.seeds import render_seeds

    run_files.write_json(directory / "metrics.json", metrics, root=directory)
    run_files.write_text(directory / "report.html", render_seeds(metrics), root=directory)


class _Parent:
    """The directory of all runs; a new one is made when the first run is about to begin."""

    def __init__(
        self, requested: Path | None, seeds: Sequence[int], is_continued: bool, stack: contextlib.ExitStack
    ) -> None:
        if is_continued and requested is None:
            raise refuse("--resume", "needs to know which run", "name it: --run DIR")
        self._requested, self._stack = requested, stack
        self.directory: Path | None = None
        self.is_continued = is_continued and requested is not None and requested.exists()
        if self.is_continued and requested is not None:
            require_of_seeds(requested, seeds)
            stack.enter_context(locked(requested))
            self.directory = requested

    def known(self, seed: int) -> Path | None:
        """The run directory of a seed, where all of them are continued."""
        return seed_directory(self.directory, seed) if self.is_continued and self.directory else None

    def placing(self, seed: int) -> Callable[[str], Path]:
        """A function that makes the directory of all, if it is not there, and returns that of a seed."""

        def place(name: str) -> Path:
            if self.directory is None:
                self.directory = run_files.create_run_dir(self._requested, f"{name}-seeds")
                self._stack.enter_context(locked(self.directory))
            return seed_directory(self.directory, seed)

        return place


def require_of_seeds(directory: Path, seeds: Sequence[int]) -> None:
    """RefusedError unless a directory holds runs of these seeds, or of some of them, and nothing else."""
    if not directory.is_dir():
        raise refuse(directory, "is no directory", "choose another --run")
    require_no_links(directory)
    if (directory / "run.json").exists():
        raise refuse(directory, "is the run of one seed", "leave --seeds out")
    with open_folder(directory, root=directory) as folder:
        for name in filter(is_partial, folder.names()):
            folder.remove(name)
    there = list_seeds(directory)
    own = {*_OWN_FILES, *(seed_directory(directory, seed).name for seed in there)}
    if any(path.name not in own for path in directory.iterdir()):
        raise refuse(directory, "holds more than runs of several seeds", "choose another --run")
    left_out = [str(seed) for seed in there if seed not in seeds]
    if left_out:
        raise refuse(directory, f"holds runs of seed {listed(left_out)} too", "give --seeds all of its seeds")
