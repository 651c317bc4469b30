"""Runs that are killed, wherever they are, and continued: the result is that of the run that nobody disturbed.

`make test-kill` kills at random moments (8 trials, or TRIALS=50), `make test-faults` at every named point.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medjax.jobs.restored_run import load_run
from tests.finished_runs import assert_same_result

FOLDS = 2
EPOCHS = 5
SEED = 20261122
# Points that a run comes to once a fold (and some of them again each epoch), and those it comes to once.
POINTS_OF_FOLDS = [
    "before save",
    "while arrays are written",
    "arrays written",
    "manifest written",
    "manifest renamed",
    "delete of the old one",
    "end of a fold",
]
POINTS_OF_RUNS = [
    "history half written",
    "metrics half written",
    "figures half drawn",
    "report half written",
    "before the last word",
]


@pytest.fixture(scope="module")
def arguments(phantom_folder):
    """A cross-validation with every control at work, short of its run directory."""
    line = f"crossval {phantom_folder} --folds {FOLDS} --epochs {EPOCHS} --keep best --early-stopping --stop-patience 3"
    return [*line.split(), "--reduce-on-plateau", "--plateau-patience", "1"]


@pytest.fixture(scope="module")
def undisturbed(arguments, tmp_path_factory):
    """The run that nobody kills, and the seconds it took."""
    return run_undisturbed(arguments, tmp_path_factory)


@pytest.fixture(scope="module")
def with_batch_norm(arguments, tmp_path_factory):
    """The same of a user's network with batch statistics: its arguments, the run, and the seconds it took."""
    line = [*arguments, "--model", f"{Path(__file__).with_name('user_networks.py')}:BatchNormResNet"]
    return line, *run_undisturbed(line, tmp_path_factory)


def run_undisturbed(arguments, tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed") / "run"
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "medjax", *arguments, "--run", str(directory)], check=True)
    return load_run(directory), time.monotonic() - started


def finish(arguments, directory):
    """Continue to the end; the run."""
    line = [sys.executable, "-m", "medjax", *arguments, "--run", str(directory), "--resume"]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    run = load_run(directory)
    assert run.record["status"] == "done"
    assert (directory / "report.html").exists()
    return run


def assert_no_debris(run):
    names = [path.relative_to(run.directory).as_posix() for path in run.directory.rglob("*")]
    assert not [name for name in names if "tmp" in name or "partial" in name]
    for folder in (run.directory / "checkpoints").iterdir():
        checkpoints = sorted(path.name for path in folder.iterdir())
        assert len(checkpoints) <= 4
        assert checkpoints == sorted(
            f"{path.name}{suffix}" for path in folder.glob("epoch_????") for suffix in ("", ".sha256")
        )


@pytest.mark.kill
@pytest.mark.parametrize("trial", range(int(os.environ.get("TRIALS", "8"))))
def test_killed_at_random_moments(trial, arguments, undisturbed, with_batch_norm, tmp_path):
    expected, seconds = undisturbed
    if trial % 2:
        arguments, expected, seconds = with_batch_norm
    generator = random.Random(SEED + trial)
    directory = tmp_path / "run"
    for attempt in range(generator.choice([1, 1, 2, 3])):
        delay = generator.uniform(0, seconds)
        line = [sys.executable, "-m", "medjax", *arguments, "--run", str(directory)]
        line += ["--resume"] if attempt else []
        process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        said = process.communicate()[1].strip().splitlines()
        print(f"trial {trial}: killed after {delay:.2f} s of {seconds:.1f} s, last words: {said[-1:]}")
    run = finish(arguments, directory)
    assert_same_result(expected, run)
    assert_no_debris(run)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("point", "number"),
    [(point, number) for point in POINTS_OF_FOLDS for number in range(1, FOLDS + 1)]
    + [(point, 1) for point in POINTS_OF_RUNS],
)
def test_killed_at_a_named_point(point, number, arguments, undisturbed, tmp_path):
    directory = tmp_path / "run"
    line = [sys.executable, "-m", "tests.doomed", point, str(number), *arguments, "--run", str(directory)]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert "killed where asked" in ended.stderr
    run = finish(arguments, directory)
    assert_same_result(undisturbed[0], run)
    assert_no_debris(run)
