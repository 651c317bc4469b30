"""Whether a fit is finished: its run directory says so, and verifies. Nothing else that a worker says is believed."""

from medjax.errors import RefusedError, refuse
from medjax.jobs.from_config import folds_of
from medjax.jobs.recorded_config import recorded_config
from medjax.jobs.resume import unchanging_facts
from medjax.runs import directory as run_files
from medjax.runs.answers import read_answers
from medjax.runs.checkpoint import require_facts, verify_checkpoint
from medjax.runs.checkpoint_series import checkpoint_path, list_epochs
from medjax.runs.links import require_no_links
from medjax.scale.description import Description

_ENDED = {
    "all": ("done", "diverged"),
    "val": ("trained", "done", "diverged"),
    "none": ("trained", "diverged"),
}


def is_finished(description: Description) -> bool:
    """Whether the run directory of a fit is there, complete and sound."""
    try:
        require_finished(description)
    except (RefusedError, OSError):
        return False
    return True


def require_finished(description: Description) -> None:
    """RefusedError, with the reason, unless the run directory is the answer to a description, complete and sound.

    It is of these settings, data, versions and number of threads; its status is one that a fit ends with; the newest checkpoint of
    each fold matches its SHA-256 sums and belongs to this run.json; and what it scored can be read.
    """
    directory, path = description.directory, description.directory / "run.json"
    if not path.exists():
        raise refuse(directory, "holds no run yet", "begin it")
    require_no_links(directory)
    record = run_files.read_record(directory)
    config = recorded_config(directory, record)
    again = "train again"
    if record["status"] not in _ENDED[description.scoring]:
        raise refuse(path, f"its status is {record['status']}", "continue it with --resume")
    if config != description.config or record["data"]["fingerprint"] != description.fingerprint:
        raise refuse(path, "is of other settings or data than were asked for", again)
    if record["machine"].get("threads") != description.threads:
        raise refuse(path, f"was computed with {record['machine'].get('threads')} threads", again)
    for name, version in description.versions.items():
        if record["versions"].get(name) != version:
            raise refuse(
                path, f"was computed with {name} {record['versions'].get(name)}, not {version}", again
            )
    folds = folds_of(config)
    epochs = list_epochs(directory / "checkpoints", folds)
    if not epochs:
        raise refuse(directory / "checkpoints", "holds no finished checkpoint", again)
    for fold in folds:
        checkpoint = checkpoint_path(directory / "checkpoints", fold, epochs[0])
        verify_checkpoint(checkpoint)
        require_facts(checkpoint, unchanging_facts(record), path)
    if record["status"] == "done":
        run_files.read_metrics(directory)
        read_answers(directory, record)
