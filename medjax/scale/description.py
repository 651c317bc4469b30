"""One fit as plain JSON: all that a worker needs to know, and nothing that it would have to import or unpickle."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from medjax.config_checks import from_dict
from medjax.errors import refuse
from medjax.jobs.from_config import Config, is_built_in, training_of
from medjax.jobs.pipeline import Scoring
from medjax.jobs.run_record import as_json
from medjax.runs import directory as run_files
from medjax.runs.formats import MAX_RECORD_BYTES
from medjax.runs.schema import fields, items, plain, require, table, text, whole

_FORMAT = 1
MOST_THREADS = 1024
# Beside the folder of the description, or in it; never elsewhere.
_PLACE = re.compile(r"\.\.|(\.\./)?[a-z0-9_-]+(/[a-z0-9_-]+)?")
_PLACE_TEXT = text(at_most=200)
_DESCRIPTION = fields(
    {
        "format": whole(_FORMAT, _FORMAT),
        "data": fields({"path": text(at_most=10_000), "fingerprint": text(at_most=64)}),
        "config": table(plain, at_most=1000),  # `config_checks.from_dict` does the rest
        "run": _PLACE_TEXT,
        "fold_runs": items(_PLACE_TEXT, at_most=10_000),
        "scoring": text(choices=("all", "val", "none")),
        "threads": whole(1, MOST_THREADS),
        "versions": table(text(at_most=100), at_most=100),
        "command": text(at_most=10**6),
    }
)


@dataclasses.dataclass(frozen=True)
class Description:
    """A fit that was asked for, and where its run directory is to be."""

    path: Path  # of the JSON file
    source: str  # of the images: an absolute path, or "phantom"
    fingerprint: str  # of the images that are found there
    config: Config  # nothing in it is left to the images
    run: str  # the run directory, as seen from the folder of the JSON file
    fold_runs: tuple[str, ...]  # those that it takes the trained states of its folds from
    scoring: Scoring
    threads: int  # of XLA, on a CPU
    versions: dict[str, str]  # that all fits are made with
    command: str  # that asked for all of them

    @property
    def directory(self) -> Path:
        """The run directory that answers."""
        return self.path.parent / self.run if self.run != ".." else self.path.parent.parent

    @property
    def own_model(self) -> str | None:
        """What the user's --model named, if it is no network of medjax; nothing is imported because it stands here."""
        training = training_of(self.config)
        return None if is_built_in(training) else training.model


def write_description(description: Description) -> None:
    """Write the JSON file."""
    value = {
        "format": _FORMAT,
        "data": {"path": description.source, "fingerprint": description.fingerprint},
        "config": as_json(description.config),
        "run": description.run,
        "fold_runs": list(description.fold_runs),
        "scoring": description.scoring,
        "threads": description.threads,
        "versions": description.versions,
        "command": description.command,
    }
    run_files.write_json(description.path, value, root=description.path.parent)


def read_description(path: Path) -> Description:
    """Read a JSON file; RefusedError for one that medjax did not write, or that names a folder elsewhere."""
    value = run_files.read_json(path, MAX_RECORD_BYTES)
    require(_DESCRIPTION, value, path)
    for place in (value["run"], *value["fold_runs"]):
        if not _PLACE.fullmatch(place):
            raise refuse(path, f"names the folder {place}", "its runs lie in the folder above it")
    return Description(
        path,
        value["data"]["path"],
        value["data"]["fingerprint"],
        from_dict(value["config"]),
        value["run"],
        tuple(value["fold_runs"]),
        value["scoring"],
        value["threads"],
        value["versions"],
        value["command"],
    )


def require_same_fit(old: Description, new: Description) -> None:
    """RefusedError, naming the first difference, unless a description is the one that a fit was begun with."""
    before, after = (
        {"config": as_json(each.config), **{name: getattr(each, name) for name in _COMPARED}}
        for each in (old, new)
    )
    for name in before:
        if before[name] != after[name]:
            reason = f"was begun with other {_COMPARED.get(name, 'settings')}"
            if name in ("threads", "versions"):
                reason += f": {_shown(before[name])}, not {_shown(after[name])}"
            raise refuse(old.path, reason, "repeat what began it, or choose another --run")


_COMPARED = {
    "source": "data",
    "fingerprint": "data",
    "fold_runs": "folds",
    "scoring": "parts",
    "threads": "threads a fit",
    "versions": "versions",
}


def _shown(value: Any) -> str:
    return (
        ", ".join(f"{name} {each}" for name, each in value.items()) if isinstance(value, dict) else str(value)
    )
