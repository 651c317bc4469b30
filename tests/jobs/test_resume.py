"""A run directory taken into hand: the lock, the comparisons, the way to continue."""

import copy
import dataclasses
import json
import signal
import subprocess
import sys

import pytest

from medjax.config import CrossvalConfig
from medjax.errors import RefusedError
from medjax.jobs.resume import (
    compare_environments,
    continuation,
    locked,
    read_record,
    require_run_or_nothing,
    require_same_data,
    require_same_job,
)
from medjax.runs.directory import write_json
from tests.configs import plain
from tests.runs.test_directory import RECORD
from tests.sample_files import snapshot

CONFIG = plain(epochs=3)
DIGITS = "0123456789abcdef"


def record_of(config=CONFIG, job="train"):
    """What run.json keeps of a configuration."""
    return json.loads(
        json.dumps({"job": job, "command": "medjax train x", "config": dataclasses.asdict(config)})
    )


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path):
    code = f"""
import sys, time
from pathlib import Path
from medjax.jobs.resume import locked
with locked(Path({str(tmp_path)!r})):
    print("held", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RefusedError, match="another process is working on this run"), locked(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
    with locked(tmp_path):
        pass


def test_there_is_nothing_to_continue_where_no_run_was_begun(tmp_path):
    assert read_record(tmp_path / "new") is None
    (tmp_path / ".lock").touch()
    (tmp_path / f"run.json.{DIGITS}.partial").write_text("{")
    assert read_record(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    (tmp_path / "figures").mkdir()
    write_json(tmp_path / "run.json", RECORD)
    for name in ("metrics.json", "report.html", "figures/errors.png"):
        (tmp_path / f"{name}.{DIGITS}.partial").touch()
    (tmp_path / "my notes.partial").touch()  # not of our making
    assert read_record(tmp_path) == RECORD
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == ["figures", "my notes.partial", "run.json"]


@pytest.mark.parametrize("place", [".lock", "figures", "checkpoints/fold_00", "external"])
def test_a_run_with_a_link_is_refused_before_anything_is_opened_or_removed(tmp_path, place):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name in ("x.0123456789abcdef.partial", "file"):
        (theirs / name).write_text("theirs")
    before = snapshot(theirs)
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "run.json", RECORD)
    (tmp_path / "run" / place).parent.mkdir(exist_ok=True)
    (tmp_path / "run" / place).symlink_to(theirs / "file" if place == ".lock" else theirs)
    with pytest.raises(RefusedError, match=f"{place}: is a link"):
        require_run_or_nothing(tmp_path / "run")
    with pytest.raises(RefusedError, match=f"{place}: is a link"):
        read_record(tmp_path / "run")
    assert snapshot(theirs) == before


def test_a_directory_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RefusedError, match=r"is not empty and holds no run\.json"):
        read_record(tmp_path)
    with pytest.raises(RefusedError, match="is no directory"):
        read_record(tmp_path / "thesis.tex")


def test_a_run_of_several_processes_is_continued_by_them(tmp_path):
    (tmp_path / "fits").mkdir()
    with pytest.raises(RefusedError, match=r"was begun by several processes \(continue it by them: --on"):
        read_record(tmp_path)
    assert read_record(tmp_path, is_by_fits=True) is None
    write_json(tmp_path / "run.json", RECORD)
    assert read_record(tmp_path) == RECORD


def test_the_same_configuration_continues_and_indifferent_settings_may_change(tmp_path):
    other = dataclasses.replace(
        CONFIG, data=dataclasses.replace(CONFIG.data, cache=False, groups="moved.csv")
    )
    require_same_job(tmp_path, record_of(), "train", CONFIG)
    require_same_job(tmp_path, record_of(), "train", other)


def test_every_difference_is_named(tmp_path):
    changed = dataclasses.replace(
        CONFIG, seed=4, augmentation=dataclasses.replace(CONFIG.augmentation, rotation=3.0)
    )
    with pytest.raises(RefusedError) as caught:
        require_same_job(tmp_path, record_of(), "train", changed)
    lines = caught.value.lines()
    assert len(lines) == 2
    assert "augmentation.rotation was 10.0, is 3.0 (repeat what began it: medjax train x)" in lines[0]
    assert "seed was 0, is 4" in lines[1]
    with pytest.raises(RefusedError, match="is a run of medjax train, not crossval"):
        require_same_job(tmp_path, record_of(), "crossval", CrossvalConfig())


def test_a_command_of_a_stranger_is_quoted_so_that_it_can_be_pasted(tmp_path):
    for command, shown in (
        ("medjax train x; rm -rf ~", "medjax train 'x;' rm -rf '~'"),
        ("rm -rf ~", "the same call"),
        ("medjax 'train", "the same call"),
    ):
        record = {**record_of(), "command": command}
        with pytest.raises(RefusedError) as caught:
            require_same_job(tmp_path, record, "train", dataclasses.replace(CONFIG, seed=4))
        assert f"(repeat what began it: {shown})" in str(caught.value)


def test_a_configuration_of_a_stranger_is_checked_before_it_is_compared(tmp_path):
    record = record_of()
    record["config"]["epochs"] = "3"
    with pytest.raises(RefusedError, match="--epochs: '3' is not a whole number"):
        require_same_job(tmp_path, record, "train", CONFIG)


def test_more_epochs_continue_where_no_schedule_depends_on_them(tmp_path):
    longer = dataclasses.replace(CONFIG, epochs=9)
    require_same_job(tmp_path, record_of(), "train", longer)
    crossval = CrossvalConfig(training=CONFIG)
    require_same_job(tmp_path, record_of(crossval, "crossval"), "crossval", CrossvalConfig(training=longer))
    with pytest.raises(RefusedError, match="epochs was 3, is 2"):
        require_same_job(tmp_path, record_of(), "train", dataclasses.replace(CONFIG, epochs=2))
    scheduled = dataclasses.replace(CONFIG, schedule="cosine")
    with pytest.raises(
        RefusedError, match="epochs was 3, is 9, and the learning-rate schedule depends on it"
    ):
        require_same_job(tmp_path, record_of(scheduled), "train", dataclasses.replace(scheduled, epochs=9))


def test_other_data_and_other_groups_are_refused(tmp_path):
    data = {"name": "x", "n": 3, "fingerprint": "a", "groups": None}
    require_same_data(tmp_path, data, dict(data))
    with pytest.raises(RefusedError, match="is not the data of this run: 3 images with another fingerprint"):
        require_same_data(tmp_path, data, {**data, "fingerprint": "b"})
    with pytest.raises(RefusedError, match="the groups of its images have changed"):
        require_same_data(tmp_path, data, {**data, "groups": {"n": 2, "fingerprint": "c"}})


ENVIRONMENT = {
    "versions": {
        name: "1.0" for name in ("python", "medjax", "jax", "flax", "optax", "numpy", "pillow", "jaxlib")
    },
    "machine": {"processor": "a", "device": "cpu", "cores": 2, "platform": "Linux"},
}


@pytest.mark.parametrize("name", ["medjax", "jax", "flax", "optax", "numpy"])
def test_another_version_is_refused_unless_it_is_allowed(tmp_path, name):
    changed = copy.deepcopy(ENVIRONMENT)
    changed["versions"][name] = "2.0"
    with pytest.raises(RefusedError, match=rf"{name} was 1\.0, is 2\.0 .*--allow-version-change"):
        compare_environments(tmp_path, ENVIRONMENT, changed, allow_version_change=False)
    (warning,) = compare_environments(tmp_path, ENVIRONMENT, changed, allow_version_change=True)
    assert f"{name} was 1.0, is 2.0" in warning


def test_another_machine_is_one_warning(tmp_path):
    assert compare_environments(tmp_path, ENVIRONMENT, ENVIRONMENT, allow_version_change=False) == []
    changed = copy.deepcopy(ENVIRONMENT)
    changed["machine"] |= {"cores": 8, "processor": "b"}
    changed["versions"]["pillow"] = "2.0"
    (warning,) = compare_environments(tmp_path, ENVIRONMENT, changed, allow_version_change=False)
    assert (
        "processor was a, is b; cores was 2, is 8; pillow was 1.0, is 2.0: the result may differ" in warning
    )


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("medjax train 'my data' --seed 3", "medjax train 'my data' --seed 3 --run runs/x --resume"),
        ("medjax train d --run runs/x", "medjax train d --run runs/x --resume"),
        ("medjax crossval d --run=runs/x --resume", "medjax crossval d --run=runs/x --resume"),
        ("medjax train 'a\x1bb'", "medjax train $'a\\033b' --run runs/x --resume"),
        ("medjax.train", "the same call with run_dir='runs/x' and resume=True"),
    ],
)
def test_the_way_to_continue(command, expected, tmp_path):
    from pathlib import Path

    assert continuation(command, Path("runs/x")) == expected
