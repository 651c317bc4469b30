"""Continue a run: lock its directory, and check that data, settings, network and versions are those it began with."""

import contextlib
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medjax.config_checks import from_dict
from medjax.errors import Problem, RefusedError, command_line, counted, refuse
from medjax.files import is_partial, open_folder
from medjax.jobs.from_config import Config
from medjax.jobs.run_record import as_json
from medjax.runs import directory as run_files
from medjax.runs.links import require_no_links
from medjax.runs.seed_directories import list_seeds
from medjax.settings import entries, unsettled, with_values

FITS = "fits"
"""Folder of a run whose fits were done by several processes: what each was asked for, and runs that are parts of it."""
_LOCK = ".lock"
_FOLDERS = ("", "figures")  # where files are written whole, checkpoints apart
# Other versions of these may round, shuffle or initialise differently, so a run does not continue under them.
_VERSIONED = ("medjax", "jax", "flax", "optax", "numpy")
_SURROUNDING = ("jaxlib", "pillow")  # another version is a warning, as another machine is
# Settings that change no bit of a result: the data's fingerprint, and the digests of groups, parts and weights, are
# compared instead.
_INDIFFERENT = (
    *("data.cache", "data.labels", "data.groups", "data.image_column", "data.group_column"),
    *("data.table_encoding", "pretrained"),
)
_EPOCHS = ("epochs", "training.epochs")


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock a run directory for this process; RefusedError where another process holds it.

    The operating system gives the lock back when the process ends, however it ends; the file itself stays, because
    to remove it would let two processes hold two locks.
    """
    # No soft lock: a marker file would outlive a process that is killed.
    lock = FileLock(directory / _LOCK, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise refuse(
            str(directory), "another process is working on this run", "wait for it, or choose another --run"
        ) from None
    except (OSError, NotImplementedError) as error:
        raise refuse(str(directory), f"cannot be locked ({error})", "choose another --run") from error
    try:
        yield
    finally:
        lock.release()


def require_run_or_nothing(directory: Path, *, is_by_fits: bool = False) -> bool:
    """Whether a run was begun in a directory; RefusedError for one that holds something else, or links.

    `is_by_fits` says that the run may have a folder of fits before it is begun itself.
    """
    if not directory.exists():
        return False
    if not directory.is_dir():
        raise refuse(str(directory), "is no directory", "choose another --run")
    require_no_links(directory)
    names = [path.name for path in directory.iterdir()]
    if "run.json" in names:
        return True
    if list_seeds(directory):
        raise refuse(str(directory), "holds runs of several seeds", "name them again: --seeds")
    if FITS in names and not is_by_fits:
        raise refuse(str(directory), "was begun by several processes", "continue it by them: --on local")
    known = {_LOCK, FITS}
    if any(name not in known and not (name.startswith("run.json.") and is_partial(name)) for name in names):
        raise refuse(str(directory), "is not empty and holds no run.json", "choose another --run")
    return False


def read_record(directory: Path, *, is_by_fits: bool = False) -> dict[str, Any] | None:
    """run.json of a run to continue, or None where none was begun. Removes half-written files of a killed run."""
    is_begun = require_run_or_nothing(directory, is_by_fits=is_by_fits)
    for name in _FOLDERS:
        if (directory / name).is_dir():
            with open_folder(directory / name, root=directory) as folder:
                for each in filter(is_partial, folder.names()):
                    folder.remove(each)
    return run_files.read_record(directory) if is_begun else None


def as_recorded(config: Config, record: Mapping[str, Any]) -> Config:
    """The configuration with the values of a run's record for all settings that it leaves to the preset `standard`."""
    recorded = {entry.name: entry.value for entry in entries(from_dict(record["config"]))}
    return with_values(config, {name: recorded[name] for name in unsettled(config)})


def require_same_job(directory: Path, record: Mapping[str, Any], job: str, config: Config) -> None:
    """Raise RefusedError, naming each difference, unless a run can continue under this configuration.

    More epochs than before are a continuation too, where no learning rate depends on how many there are.
    """
    remedy = f"repeat what began it: {_quoted(record['command'])}"
    if record["job"] != job:
        raise refuse(str(directory), f"is a run of medjax {record['job']}, not {job}", remedy)
    before, after = _flat(as_json(from_dict(record["config"]))), _flat(as_json(config))
    problems = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if name.endswith(_INDIFFERENT) or old == new:
            continue
        if name in _EPOCHS and old is not None and new is not None and new > old:
            if after[name.replace("epochs", "schedule")] == "constant":
                continue
            reason = f"{name} was {old}, is {new}, and the learning-rate schedule depends on it"
        else:
            reason = f"{name} was {old}, is {new}"
        problems.append(Problem(str(directory), reason, remedy))
    if problems:
        raise RefusedError(problems)


def require_same_network(directory: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise RefusedError unless two `model` blocks of run.json are of the same network."""
    for name in ("name", "settings", "parameters"):
        if old[name] != new[name]:
            reason = f"another network trained it: {name} was {old[name]}, is {new[name]}"
            raise refuse(str(directory), reason, "give the network that it began with: --model, or model=")


def require_same_start(directory: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise RefusedError unless two `model` blocks of run.json are of networks that started from the same weights."""
    before, after = (each.get("pretrained") or {} for each in (old, new))
    if before.get("sha256") != after.get("sha256") or bool(before) != bool(after):
        reason = f"it started from other weights: {before.get('source') or 'none'}, not {after.get('source') or 'none'}"
        raise refuse(str(directory), reason, "give --pretrained as it began")
    if old.get("input") != new.get("input"):
        raise refuse(str(directory), "its input was scaled otherwise", "give --input-scaling as it began")


def require_same_data(directory: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise RefusedError unless two `data` blocks of run.json are of the same images, labels, groups and given parts."""
    if old["fingerprint"] != new["fingerprint"]:
        reason = f"{new['name']} is not the data of this run: {counted(new['n'], 'image')} with another fingerprint than its {old['n']}"
        raise refuse(str(directory), reason, f"give the {old['name']} that it began with")
    if old["groups"] != new["groups"]:
        raise refuse(
            str(directory), "the groups of its images have changed", "give the groups that it began with"
        )
    if parts_of_table(old) != parts_of_table(new):
        reason = "the parts that the table of labels fixes have changed"
        raise refuse(str(directory), reason, "give the table that it began with: --labels FILE")


def parts_of_table(data: Mapping[str, Any]) -> str | None:
    """The digest of the parts or folds that a table fixes, from the block `data` of run.json; None if none does."""
    table = data.get("table")
    return None if table is None else table.get("parts")


def compare_environments(
    directory: Path, old: Mapping[str, Any], new: Mapping[str, Any], *, allow_version_change: bool
) -> list[str]:
    """Changes of versions and machine since a run began, as warnings; RefusedError for versions that must not change."""
    changed = [
        f"{name} was {old['versions'].get(name)}, is {new['versions'][name]}"
        for name in _VERSIONED
        if old["versions"].get(name) != new["versions"][name]
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
    surroundings = [
        f"{name} was {old[block].get(name)}, is {new[block].get(name)}"
        for block, names in (("machine", old["machine"]), ("versions", _SURROUNDING))
        for name in names
        if old[block].get(name) != new[block].get(name)
    ]
    return [
        f"{'; '.join(changes)}: the result may differ from an uninterrupted run's"
        for changes in (changed, surroundings)
        if changes
    ]


def continuation(command: str, directory: Path) -> str:
    """The command, or the call, that continues the run that `command` began."""
    words = shlex.split(command)
    if words[0] != "medjax":
        return f"the same call with run_dir={str(directory)!r} and resume=True"
    if not any(word == "--run" or word.startswith("--run=") for word in words):
        words += ["--run", str(directory)]
    return command_line(words if "--resume" in words else [*words, "--resume"])


def unchanging_facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of run.json never changes while a run goes on, under dotted names; each checkpoint holds it too.

    Left out are what --resume lets change: more epochs, and where the images and their groups lie.
    """
    config = {
        f"config.{name}": value
        for name, value in _flat(record["config"]).items()
        if name not in _EPOCHS and not name.endswith(_INDIFFERENT)
    }
    data = ("fingerprint", "n", "image_shape", "is_synthetic", "groups")
    return {
        "job": record["job"],
        "class_names": record["class_names"],
        **{f"data.{name}": record["data"][name] for name in data},
        **{f"model.{name}": record["model"][name] for name in ("name", "settings", "parameters")},
        "model.input": record["model"].get("input"),
        **config,
    }


def _quoted(command: str) -> str:
    """A stranger's command as one that can be pasted: its words are those of medjax alone."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    return command_line(words) if words[:1] == ["medjax"] else "the same call"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat
