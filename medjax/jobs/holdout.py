"""Training on a part of the data, scored on the rest."""

from pathlib import Path

from medjax.config import PRESETS, TrainConfig
from medjax.jobs.pipeline import Request, run_job
from medjax.jobs.restored_run import Run


def train(
    source: str | Path,
    config: TrainConfig = PRESETS["report"],
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    allow_version_change: bool = False,
    command: str = "medjax.train",
    is_quiet: bool = True,
) -> Run:
    """Train on a holdout of `source`, score it, and leave everything in a new run directory.

    `source` is a folder, an archive, an .npz or "phantom". Without a `config` it is the preset `report`, which divides
    the images at random, identical ones among them; `TrainConfig()` keeps those together. `command` is recorded in run.json. With `resume` the run in
    `run_dir` is continued, exactly; `allow_version_change` continues it under other versions, inexactly. Raises
    RefusedError before anything is written, and DivergedError with the last finite state kept.
    """
    request = Request(
        source, None if run_dir is None else Path(run_dir), resume, allow_version_change, command
    )
    return run_job(config, request, is_quiet=is_quiet)
