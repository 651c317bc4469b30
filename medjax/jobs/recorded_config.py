"""The configuration in a run.json, which may be a stranger's, checked against the rest of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medjax.config import CrossvalConfig
from medjax.config_checks import from_dict
from medjax.errors import refuse
from medjax.jobs.from_config import Config, training_of
from medjax.jobs.run_record import job_name
from medjax.runs.schema import RESTORE


def recorded_config(directory: Path, record: Mapping[str, Any]) -> Config:
    """The configuration of a run; RefusedError where it is not valid, or the rest of run.json contradicts it."""
    config = from_dict(record["config"])
    data, path = record["data"], directory / "run.json"
    if record["job"] != job_name(config):
        raise refuse(path, f"job is {record['job']}, its config that of {job_name(config)}", RESTORE)
    *sides, channels = data["image_shape"]
    settings = training_of(config).data
    # Images of a data set given in Python are of any size.
    if data["path"] is not None and sides != [*settings.sides]:
        reason = f"data.image_shape is {data['image_shape']}, image_size {settings.size_words}"
        raise refuse(path, reason, RESTORE)
    if channels not in (1, 3):
        raise refuse(path, f"data.image_shape is {data['image_shape']}", "its last number is 1 or 3")
    if isinstance(config, CrossvalConfig) and config.folds > data["n"]:
        raise refuse(path, f"has {config.folds} folds of {data['n']} images", RESTORE)
    return config
