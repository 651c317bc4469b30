"""A run directory taken into hand: made or continued, locked, and compared with what is asked of it."""

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medjax import run
from medjax.errors import Problem, RefusedError, refuse
from medjax.jobs.building import Config

_LOCK = ".lock"
_PARTIAL = "*.partial"
# A run continues only under the same versions of these: others may round, shuffle or initialise differently.
_VERSIONED = ("medjax", "jax", "flax", "optax", "numpy")
# Settings that change no bit of a result: the data's fingerprint and the groups' digest are compared instead.
_INDIFFERENT = ("data.cache", "data.groups")


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold a run directory for this process alone; RefusedError where another one does.

    The operating system gives the lock back when the process ends, however it ends; the file itself stays, because
    to remove it would let two processes hold two locks.
    """
    lock = FileLock(directory / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise refuse(
            str(directory), "another process is working on this run", "wait for it, or choose another --run"
        ) from None
    try:
        yield
    finally:
        lock.release()


def require_resumable(directory: Path) -> dict[str, Any] | None:
    """run.json of a run to continue, or None where none was begun yet, and remove what a killed one left half written.

    A directory that holds something but no run raises RefusedError.
    """
    if not directory.exists():
        return None
    if not directory.is_dir():
        raise refuse(str(directory), "is no directory", "choose another --run")
    if (directory / "run.json").exists():
        for path in [*directory.glob(_PARTIAL), *directory.glob(f"figures/{_PARTIAL}")]:
            path.unlink()
        return run.read_json(directory / "run.json")
    strangers = [path for path in directory.iterdir() if path.name not in (_LOCK, "run.json.partial")]
    if strangers:
        raise refuse(str(directory), "is not empty and holds no run.json", "choose another --run")
    (directory / "run.json.partial").unlink(missing_ok=True)
    return None


def require_same_job(directory: Path, record: Mapping[str, Any], job: str, config: Config) -> None:
    """Raise RefusedError, naming each difference, unless a run can continue under this configuration.

    More epochs than before are a continuation too, where no learning rate depends on how many there are.
    """
    remedy = f"repeat what began it: {record['command']}"
    if record["job"] != job:
        raise refuse(str(directory), f"is a run of medjax {record['job']}, not {job}", remedy)
    before, after = _flat(record["config"]), _flat(dataclasses.asdict(config))
    problems = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if name.endswith(_INDIFFERENT) or old == new:
            continue
        is_epochs = name in ("epochs", "training.epochs")
        if is_epochs and old is not None and new is not None and new > old:
            if after[name.replace("epochs", "schedule")] == "constant":
                continue
            reason = f"{name} was {old}, is {new}, and the learning-rate schedule depends on it"
        else:
            reason = f"{name} was {old}, is {new}"
        problems.append(Problem(str(directory), reason, remedy))
    if problems:
        raise RefusedError(problems)


def require_same_data(directory: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise RefusedError unless two `data` blocks of run.json are of the same images, labels and groups."""
    if old["fingerprint"] != new["fingerprint"]:
        reason = f"{new['name']} is not the data of this run: {new['n']} images with another fingerprint than its {old['n']}"
        raise refuse(str(directory), reason, f"give the {old['name']} that it began with")
    if old["groups_fingerprint"] != new["groups_fingerprint"]:
        raise refuse(
            str(directory), "the groups of its images have changed", "give the groups that it began with"
        )


def compare_environments(
    directory: Path, old: Mapping[str, Any], new: Mapping[str, Any], *, allow_version_change: bool
) -> list[str]:
    """What has changed since a run began, as warnings; RefusedError for versions that matter and are not allowed."""
    changed = [
        f"{name} was {old['versions'][name]}, is {new['versions'][name]}"
        for name in _VERSIONED
        if old["versions"][name] != new["versions"][name]
    ]
    if changed and not allow_version_change:
        raise RefusedError(
            Problem(
                str(directory),
                change,
                "install that version again, or continue inexactly with --allow-version-change",
            )
            for change in changed
        )
    machine = [
        f"{name} was {old['machine'][name]}, is {new['machine'][name]}"
        for name in old["machine"]
        if old["machine"][name] != new["machine"].get(name)
    ]
    return [
        f"{'; '.join(changes)}: the result may differ from an uninterrupted run's in the last bits"
        for changes in (changed, machine)
        if changes
    ]


def continuation(command: str, directory: Path) -> str:
    """How to continue the run that `command` began, to be typed or called."""
    words = shlex.split(command)
    if words[0] != "medjax":
        return f"the same call with run_dir={str(directory)!r} and resume=True"
    if not any(word == "--run" or word.startswith("--run=") for word in words):
        words += ["--run", str(directory)]
    return shlex.join(words if "--resume" in words else [*words, "--resume"])


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names, tuples as JSON's lists."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat
