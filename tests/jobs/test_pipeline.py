"""Runs that stop and go on: exactly, or not at all."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import medjax
from medjax.config import CrossvalConfig, DataConfig, PlateauConfig, StoppingConfig
from medjax.errors import RefusedError
from medjax.runs import directory as run_files
from medjax.runs.checkpoint import list_checkpoints
from tests.configs import plain
from tests.finished_runs import assert_same_result, read_history
from tests.interrupted import interrupt_after

CONFIG = plain(
    epochs=6,
    loss_proportional_sampling=2,
    keep="best",
    early_stopping=True,
    reduce_on_plateau=True,
    stopping=StoppingConfig(stop_patience=4),
    plateau=PlateauConfig(plateau_patience=1, plateau_min_delta=0.2),
)


@pytest.fixture(scope="module")
def whole(phantom_folder, tmp_path_factory):
    """The run that nothing interrupts."""
    return medjax.train(phantom_folder, CONFIG, run_dir=tmp_path_factory.mktemp("whole") / "run")


def test_a_run_that_was_interrupted_twice_ends_as_if_it_had_not_been(
    whole, phantom_folder, tmp_path, monkeypatch
):
    directory = tmp_path / "run"
    for epoch in (1, 3):
        with monkeypatch.context() as patch:
            interrupt_after(patch, epoch)
            with pytest.raises(KeyboardInterrupt):
                medjax.train(phantom_folder, CONFIG, run_dir=directory, resume=True)
        assert medjax.load_run(directory).record["status"] == "interrupted"
    run = medjax.train(phantom_folder, CONFIG, run_dir=directory, resume=True, command="another")
    assert_same_result(whole, run)
    assert run.record["command"] == "medjax.train"  # what began it
    timeless = [[{**row, "seconds": ""} for row in read_history(each)] for each in (whole, run)]
    assert timeless[0] == timeless[1]
    assert len(run.record["resumptions"]) == 2
    assert run.record["status"] == "done"


def test_with_nothing_to_continue_it_begins_and_says_so(whole, phantom_folder, tmp_path, capsys):
    config = dataclasses.replace(CONFIG, epochs=1)
    medjax.train(phantom_folder, config, run_dir=tmp_path / "new", resume=True, is_quiet=False)
    assert f"nothing to continue in {tmp_path / 'new'} yet: starting at epoch 0" in capsys.readouterr().err


def test_a_finished_run_is_left_as_it_is(whole, phantom_folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in whole.directory.rglob("*") if path.name != ".lock"}
    again = medjax.train(phantom_folder, CONFIG, run_dir=whole.directory, resume=True, is_quiet=False)
    assert again.record == whole.record
    assert "is finished already; it is left as it is" in capsys.readouterr().err
    after = {path: path.stat().st_mtime_ns for path in whole.directory.rglob("*") if path.name != ".lock"}
    assert after == before


def test_more_epochs_continue_a_finished_run(phantom_folder, tmp_path):
    short = plain(epochs=2)
    medjax.train(phantom_folder, short, run_dir=tmp_path / "run", command="medjax train x --epochs 2")
    longer = dataclasses.replace(short, epochs=4)
    run = medjax.train(
        phantom_folder, longer, run_dir=tmp_path / "run", resume=True, command="medjax train x --epochs 4"
    )
    assert run.record["config"]["epochs"] == 4
    assert run.record["command"] == "medjax train x --epochs 4"
    assert_same_result(medjax.train(phantom_folder, longer, run_dir=tmp_path / "whole"), run)


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_used(
    whole, phantom_folder, tmp_path, monkeypatch
):
    from medjax.runs import checkpoint_series

    monkeypatch.setattr(checkpoint_series, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(checkpoint_series, "_LARGEST_SHARE", float("inf"))
    directory = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            medjax.train(phantom_folder, CONFIG, run_dir=directory)
    newest = list_checkpoints(directory / "checkpoints" / "fold_00")[-1]
    files = [path for path in newest.rglob("*") if path.is_file()]
    damaged = max(files, key=lambda path: path.stat().st_size)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=f"{newest.name}.*is damaged.*the checkpoint before it is used"):
        run = medjax.train(phantom_folder, CONFIG, run_dir=directory, resume=True)
    assert_same_result(whole, run)


def test_when_every_checkpoint_is_damaged_it_refuses_and_keeps_them(phantom_folder, tmp_path, monkeypatch):
    directory, config = tmp_path / "run", plain(epochs=2)
    medjax.train(phantom_folder, config, run_dir=directory)
    saved = list_checkpoints(directory / "checkpoints" / "fold_00")
    for checkpoint in saved:
        next(path for path in checkpoint.rglob("*") if path.is_file()).unlink()
    before, record = sorted(directory.rglob("*")), (directory / "run.json").read_bytes()
    with pytest.raises(RefusedError, match="is missing from the checkpoint"):
        medjax.train(phantom_folder, dataclasses.replace(config, epochs=3), run_dir=directory, resume=True)
    assert sorted(directory.rglob("*")) == before
    assert (directory / "run.json").read_bytes() == record


def test_a_directory_that_another_process_made_meanwhile_is_refused(phantom_folder, tmp_path, monkeypatch):
    from medjax.jobs import pipeline

    original = pipeline.load_settled

    def load_while_another_begins(*arguments):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "run.json").write_text("{}")
        return original(*arguments)

    monkeypatch.setattr(pipeline, "load_settled", load_while_another_begins)
    with pytest.raises(RefusedError, match="is not empty"):
        medjax.train(phantom_folder, plain(epochs=1), run_dir=tmp_path / "run", resume=True)


def test_a_strangers_directory_is_refused_untouched(phantom_folder, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RefusedError, match=r"holds no run\.json"):
        medjax.train(phantom_folder, plain(epochs=1), run_dir=tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["map", "vmap", "devices"])
def test_every_strategy_continues_exactly(strategy, phantom_folder, tmp_path, monkeypatch):
    config = CrossvalConfig(folds=2, fold_strategy=strategy, training=plain(epochs=3))
    whole = medjax.cross_validate(phantom_folder, config, run_dir=tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            medjax.cross_validate(phantom_folder, config, run_dir=tmp_path / "run")
    run = medjax.cross_validate(phantom_folder, config, run_dir=tmp_path / "run", resume=True)
    assert run.record["strategy"] == strategy
    assert_same_result(whole, run)


def test_other_data_other_settings_and_other_versions_are_refused(phantom_folder, tmp_path, monkeypatch):
    config = plain(epochs=2)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 0)
        with pytest.raises(KeyboardInterrupt):
            medjax.train(phantom_folder, config, run_dir=tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    again = {"run_dir": tmp_path / "run", "resume": True}
    with pytest.raises(RefusedError, match=r"seed was 0, is 1"):
        medjax.train(phantom_folder, dataclasses.replace(config, seed=1), **again)
    with pytest.raises(RefusedError, match="is not the data of this run"):
        medjax.train("phantom", config, **again)
    with pytest.raises(RefusedError, match="is a run of medjax train, not crossval"):
        medjax.cross_validate(phantom_folder, CrossvalConfig(training=config), **again)
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "versions": {**record["versions"], "optax": "0.1"}}))
    with pytest.raises(RefusedError, match=r"optax was 0\.1, is .*--allow-version-change"):
        medjax.train(phantom_folder, config, **again)
    with pytest.warns(UserWarning, match=r"optax was 0\.1"):
        run = medjax.train(phantom_folder, config, **again, allow_version_change=True)
    assert run.record["status"] == "done"
    assert run.record["versions"]["optax"] == "0.1"
    assert run.record["resumptions"][0]["versions"]["optax"] != "0.1"


@pytest.mark.parametrize(
    ("data", "command"), [("scans\udcff", "medjax.train"), ("phantom", "medjax train $'\udcff'")]
)
def test_names_that_no_record_can_hold_are_refused_before_anything_is_read(data, command):
    with pytest.raises(RefusedError, match=r"\\udcff.*: is not UTF-8, so that no run can record it"):
        medjax.train(data, plain(epochs=1), command=command)


def test_resume_needs_to_know_which_run(phantom_folder):
    with pytest.raises(RefusedError, match="--resume: needs to know which run"):
        medjax.train(phantom_folder, CONFIG, resume=True)


def command_line(phantom_folder, directory, *more):
    return [
        *(sys.executable, "-m", "medjax", "crossval", str(phantom_folder), "--folds", "2"),
        *("--run", str(directory), *more),
    ]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_within_five_seconds_and_says_how_to_go_on(
    number, status, phantom_folder, tmp_path
):
    line = command_line(phantom_folder, tmp_path / "run", "--epochs", "5000")
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        for said in process.stderr:
            if said.startswith("epoch 2/"):
                break
        process.send_signal(number)
        time.sleep(0.1)
        process.send_signal(number)  # as the impatient do, and as GNU timeout does
        started = time.monotonic()
        last_words = process.stderr.read()
    # Generous beside the five seconds that are promised: other tests may be using the machine.
    assert time.monotonic() - started < 15
    assert process.returncode == status
    assert f"continue with: medjax crossval {phantom_folder} --folds 2 --run {tmp_path / 'run'}" in last_words
    assert "--resume" in last_words
    assert medjax.load_run(tmp_path / "run").record["status"] == "interrupted"
    names = [
        [path.name for path in list_checkpoints(tmp_path / "run" / "checkpoints" / f"fold_0{fold}")]
        for fold in range(2)
    ]
    assert names[0] == names[1]
    assert int(names[0][-1].removeprefix("epoch_")) >= 2


def test_a_signal_while_it_compiles_ends_a_run_with_its_status(phantom_folder, tmp_path):
    line = command_line(phantom_folder, tmp_path / "run", "--epochs", "5000")
    # With nothing kept from other tests there is something to compile.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment) as process:
        while not (tmp_path / "run" / "run.json").exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        last_words = process.stderr.read()
    assert process.returncode == 143, last_words
    assert "--resume" in last_words


@pytest.mark.slow  # the failing library's own threads may crash after our line
def test_a_checkpoint_that_cannot_be_written_is_one_line_and_the_run_can_go_on(phantom_folder, tmp_path):
    directory = tmp_path / "run"
    expected = tmp_path / "expected"
    subprocess.run(command_line(phantom_folder, expected, "--epochs", "2"), check=True)

    # No file may grow beyond 100 kB, so the arrays of a checkpoint cannot be written.
    limited = """
import resource, signal
from medjax.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
main()
"""
    line = command_line(phantom_folder, directory, "--epochs", "2")
    short_of_room = [sys.executable, "-c", limited, *line[3:]]
    ended = subprocess.run(short_of_room, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    # Threads of the library that writes the arrays fail too, before our line and after it.
    *epochs, said = [line for line in ended.stderr.splitlines() if not line.startswith("phantoms: ")]
    assert all(line.startswith("epoch ") for line in epochs)
    assert said.startswith("medjax: error: ")
    assert "epoch_0001: cannot be written" in said
    assert "continue with: medjax crossval" in said
    subprocess.run([*line, "--resume"], check=True)
    assert_same_result(medjax.load_run(expected), medjax.load_run(directory))


def test_a_full_disk_is_one_line_and_the_run_can_go_on(phantom_folder, tmp_path, monkeypatch):
    config = plain(epochs=1)

    def fail(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:

        def find_none(path):
            patch.setattr(run_files, "write_whole", fail)  # from now on no file finds room, not even run.json
            return type("Usage", (), {"free": 10})()

        patch.setattr("shutil.disk_usage", find_none)
        with pytest.raises(RefusedError, match=r"No space left on device \(continue with: the same call"):
            medjax.train(phantom_folder, config, run_dir=tmp_path / "run")
    assert medjax.load_run(tmp_path / "run").record["status"] == "interrupted"
    assert (
        medjax.train(phantom_folder, config, run_dir=tmp_path / "run", resume=True).record["status"] == "done"
    )


FULL = "RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes."


@pytest.mark.parametrize(
    ("name", "error", "expected", "line"),
    [
        (
            "train_folds.fit_folds",
            RuntimeError(FULL),
            RefusedError,
            r"^training: does not fit into memory: 8\.0 GiB .*\(train anew with a smaller --batch-size \(it is 32\) or --image",
        ),
        (
            "pipeline.train_folds",
            MemoryError(),
            RefusedError,
            r"^scoring: does not fit into memory \(the training is kept; with more memory, continue with: the same call",
        ),
        ("train_folds.fit_folds", ZeroDivisionError("a bug"), ZeroDivisionError, "a bug"),
        ("pipeline.train_folds", RefusedError([]), RefusedError, "^$"),
    ],
)
def test_no_error_leaves_a_run_running(name, error, expected, line, phantom_folder, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error
        yield

    def fail_at_once(*_, **__):
        raise error

    monkeypatch.setattr(f"medjax.jobs.{name}", fail if "fit" in name else fail_at_once)
    with pytest.raises(expected, match=line):
        medjax.train(phantom_folder, plain(epochs=1), run_dir=tmp_path / "run")
    assert medjax.load_run(tmp_path / "run").record["status"] == "interrupted"


def test_two_processes_never_work_on_one_run(phantom_folder, tmp_path):
    line = command_line(phantom_folder, tmp_path / "run", "--epochs", "5000")
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as first:
        for said in first.stderr:
            if said.startswith("epoch 1/"):
                break
        second = subprocess.run([*line, "--resume"], capture_output=True, text=True, check=False)
        os.kill(first.pid, signal.SIGKILL)
        first.stderr.read()
    assert second.returncode == 2
    assert "another process is working on this run" in second.stderr


@pytest.mark.parametrize(
    ("config", "parts", "line"),
    [
        (
            plain(),
            ["train", "val"],
            "train and val parts, test drawn from train (--val-as-test takes the val part",
        ),
        (
            plain(data=DataConfig(val_as_test=True)),
            ["train", "val"],
            "its val part as the test part, val drawn",
        ),
        (plain(), ["train", "test"], "train and test parts, val drawn from train"),
        (CrossvalConfig(), ["train", "val"], "the source's parts (train, val) pooled"),
    ],
)
def test_the_choice_of_parts_is_said_in_a_line(config, parts, line):
    from medjax.data.phantom.dataset import make_phantom
    from medjax.jobs.pipeline import _parts_line

    dataset = make_phantom(images_per_class=2)
    said = _parts_line(config, dataset._replace(split=np.array(parts * 6)))
    assert said.startswith("parts: ")
    assert line in said
    assert ("--val-as-test" in said) == ("--val-as-test" in line)
