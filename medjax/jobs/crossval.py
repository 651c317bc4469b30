"""k-fold cross-validation: every image scored by a model that was not trained on it."""

from pathlib import Path

from medjax.config import CrossvalConfig
from medjax.jobs.pipeline import Request, run_job
from medjax.jobs.restored_run import Run

_DEFAULT = CrossvalConfig()


def cross_validate(
    source: str | Path,
    config: CrossvalConfig = _DEFAULT,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    allow_version_change: bool = False,
    command: str = "medjax.cross_validate",
    is_quiet: bool = True,
) -> Run:
    """Train a model a fold of `source`, score each on the images of its fold, and leave it all in a new run directory.

    Whatever is chosen by looking (`config.training.looks_at_validation`) is chosen on an inner part of the training
    folds. Without a `config` it is the preset `report`, as for `train`. The arguments are those of `train`. DivergedError is raised when the other folds are finished and scored.
    """
    request = Request(
        source, None if run_dir is None else Path(run_dir), resume, allow_version_change, command
    )
    return run_job(config, request, is_quiet=is_quiet)
