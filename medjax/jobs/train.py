"""Training on one split, or on the folds of a cross-validation, from the data to the page."""

from pathlib import Path
from typing import Any

from medjax.config import CrossvalConfig, TrainConfig
from medjax.jobs.pipeline import Request, run_job
from medjax.jobs.restored_run import Run
from medjax.records import Dataset

_TRAIN = TrainConfig()
_CROSSVAL = CrossvalConfig()


def train(
    data: str | Path | Dataset,
    config: TrainConfig = _TRAIN,
    *,
    model: Any = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    allow_version_change: bool = False,
    command: str = "medjax.train",
    is_quiet: bool = True,
) -> Run:
    """Train on one split of `data`, score it, and leave everything in a new run directory.

    `data` is a folder, an archive, an .npz, "phantom", or a `Dataset`, whose own images are then taken as they are.
    Without `config` the preset `standard` is used. `model` is any network that `medjax.as_network` takes; without it the configuration names one.
    `command` is recorded in run.json. With `resume` the run in `run_dir` is continued, exactly; `allow_version_change`
    continues it under other versions, inexactly.

    Raises RefusedError before anything is written, and DivergedError with the last finite state kept.
    """
    request = Request(data, model, _as_path(run_dir), resume, allow_version_change, command)
    return run_job(config, request, is_quiet=is_quiet)


def cross_validate(
    data: str | Path | Dataset,
    config: CrossvalConfig = _CROSSVAL,
    *,
    model: Any = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    allow_version_change: bool = False,
    command: str = "medjax.cross_validate",
    is_quiet: bool = True,
) -> Run:
    """Train one network a fold, score each on the images of its fold, and leave everything in a new run directory.

    The arguments are those of `train`. What is chosen by looking at scores (`config.training.looks_at_validation`) is
    chosen on an inner part of the training folds. DivergedError is raised when the other folds are finished and scored.
    """
    request = Request(data, model, _as_path(run_dir), resume, allow_version_change, command)
    return run_job(config, request, is_quiet=is_quiet)


def _as_path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)
