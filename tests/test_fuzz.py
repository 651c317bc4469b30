"""Run directories of strangers: every command gives a right answer or refuses, soon and in little memory.

`make test-fuzz` tries 500 directories, each in a process of its own, and 10,000 run.json; the ordinary tests a few. A seed
that fails is in the name of the test or in the message: `mutations.mutate_directory(copy, seed)` repeats it.
"""

import functools
import io
import os
import random
import shutil
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

import medjax
from medjax.csv_text import read_csv
from medjax.errors import RefusedError
from medjax.jobs import restored_network
from medjax.jobs.compare import compare_runs
from medjax.jobs.resume import unchanging_facts
from tests.mutations import interrupt, mutate_directory, mutate_record, renew_manifests

MAX_SECONDS = 10.0
MAX_RESIDENT_BYTES = 2 * 2**30
DIRECTORIES = int(os.environ.get("DIRECTORIES", "500"))
RECORDS = int(os.environ.get("RECORDS", "10000"))
CHUNK = 25


@pytest.fixture(scope="module")
def images(phantom_folder):
    """Three images to predict."""
    return sorted(phantom_folder.rglob("*.png"))[::50]


@pytest.fixture
def one_program(monkeypatch):
    """Networks and learners made once for each configuration, as compiling them takes most of the time."""
    made = functools.cache(lambda config, names, shape: make_network(config, None, names, shape))
    make_network = restored_network.make_network
    make_learner = restored_network.make_fold_learner
    learners = functools.cache(lambda config, network: make_learner(config, network, []))
    monkeypatch.setattr(
        restored_network, "make_network", lambda config, _, names, shape: made(config, tuple(names), shape)
    )
    monkeypatch.setattr(
        restored_network, "make_fold_learner", lambda config, network, _, **options: learners(config, network)
    )


def answer_of(ask):
    """What a call returns, or None where it refuses, in printable lines."""
    started = time.process_time()
    answer, lines = None, ["an answer"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = ask()
    except RefusedError as error:
        lines = error.lines()
    assert lines
    assert all(line.isprintable() for line in lines)
    assert time.process_time() - started < MAX_SECONDS
    return answer


def check_here(run, mutated, images, expected):
    """Compare, predict and open a mutated run in this process."""
    compared = answer_of(lambda: compare_runs(run.directory, mutated))
    assert compared is None or compared["n"] > 0
    opened = answer_of(lambda: medjax.load_run(mutated))
    if opened is None:
        return
    answer_of(lambda: opened.metrics)
    predicted = answer_of(lambda: opened.predict(images))
    if predicted is None:
        return
    ids, probabilities = predicted
    assert ids.tolist() == [str(path) for path in images]
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    if unchanging_facts(opened.record) == unchanging_facts(run.record):
        np.testing.assert_array_equal(probabilities, expected)


def check_records(run, images, folder, seeds):
    """Mutate run.json by each seed, in one copy of the run whose changed files are put back each time."""
    _, expected = run.predict(images)
    mutated = folder / "run"
    left_out = shutil.ignore_patterns("figures", "report.html", "epoch_0001*", "state")
    shutil.copytree(run.directory, mutated, ignore=left_out)
    renew_manifests(mutated)
    changing = [mutated / "run.json", *mutated.rglob("facts.json"), *mutated.rglob("*.sha256")]
    kept = {path: path.read_bytes() for path in changing}
    for seed in seeds:
        mutate_record(mutated, seed)
        try:
            check_here(run, mutated, images, expected)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        for path, content in kept.items():
            path.write_bytes(content)


def test_a_few_mutated_records(trained_run, images, one_program, tmp_path):
    check_records(trained_run, images, tmp_path, range(12))


def test_a_few_mutated_directories(trained_run, images, one_program, tmp_path):
    for seed in range(8):
        mutated = tmp_path / str(seed)
        shutil.copytree(trained_run.directory, mutated)
        told = mutate_directory(mutated, seed)
        try:
            opened = answer_of(lambda: medjax.load_run(mutated))  # noqa: B023
            if opened is not None:
                answer_of(lambda: opened.predict(images))  # noqa: B023
        except BaseException as error:
            error.add_note(f"seed {seed}: {told}")
            raise


@pytest.mark.fuzz
@pytest.mark.parametrize("chunk", range(-(-RECORDS // 500)))
def test_mutated_records(chunk, trained_run, images, one_program, tmp_path):
    first = 1_000_000 + 500 * chunk
    check_records(trained_run, images, tmp_path, range(first, first + min(500, RECORDS - 500 * chunk)))


def ask(arguments, folder):
    """The command's status, output, errors, and what it took."""
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "medjax", *map(str, arguments)], stdout=out, stderr=err
        )
        deadline = time.monotonic() + 60 * MAX_SECONDS  # of a machine that others use too
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                pytest.fail("hangs")
            time.sleep(0.05)
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    out, err = ((folder / name).read_text(errors="surrogateescape") for name in ("out", "err"))
    return process.returncode, out, err, ended[2]


def commands_of(run, images, data):
    """The commands that read a run directory, but for its path."""
    return {
        "predict": lambda directory: ["predict", directory, *images],
        "evaluate": lambda directory: ["evaluate", directory],
        "external": lambda directory: ["evaluate", directory, data],
        "compare": lambda directory: ["compare", run.directory, directory],
        "resume": lambda directory: [
            "train",
            data,
            "--preset",
            "report",
            "--epochs",
            "2",
            "--group-duplicates",
            "exact",
            "--run",
            directory,
            "--resume",
        ],
    }


@pytest.fixture(scope="module")
def elsewhere(phantom_folder, tmp_path_factory):
    """Data that are not the run's: some of its images."""
    folder = tmp_path_factory.mktemp("elsewhere") / "set"
    for path in sorted(phantom_folder.rglob("*.png"))[::4]:
        target = folder / path.relative_to(phantom_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


def check_probabilities(text):
    """Whether a CSV holds probabilities of the three images."""
    rows = list(read_csv(io.StringIO(text, newline="")))
    assert len(rows) == 3
    for row in rows:
        values = {name.removeprefix("p_"): float(row[name]) for name in row if name.startswith("p_")}
        assert np.isfinite([*values.values()]).all()
        np.testing.assert_allclose(sum(values.values()), 1, atol=1e-4)
        assert row["predicted"] == max(values, key=values.get)


@pytest.mark.fuzz
@pytest.mark.parametrize("chunk", range(-(-DIRECTORIES // CHUNK)))
def test_mutated_directories_in_processes_of_their_own(
    chunk, trained_run, images, elsewhere, phantom_folder, tmp_path, capsys
):
    commands = commands_of(trained_run, images, elsewhere)
    commands["resume"] = commands_of(trained_run, images, phantom_folder)["resume"]
    statuses = {0: 0, 2: 0}
    for seed in range(CHUNK * chunk, min(CHUNK * (chunk + 1), DIRECTORIES)):
        name = random.Random(seed).choices([*commands], weights=[5, 3, 1, 2, 1])[0]
        mutated = tmp_path / str(seed)
        shutil.copytree(trained_run.directory, mutated)
        if name == "resume":
            interrupt(mutated)
        told = f"seed {seed}: {name} after {mutate_directory(mutated, seed)}"
        status, out, err, usage = ask(commands[name](mutated), tmp_path)
        assert status in statuses, f"{told}\n{err}"
        assert "Traceback" not in err, f"{told}\n{err}"
        # What is continued is compiled, scored and drawn as well.
        assert usage.ru_utime + usage.ru_stime < MAX_SECONDS * (3 if name == "resume" else 1), told
        assert usage.ru_maxrss * 1024 < MAX_RESIDENT_BYTES, told
        errors = [line for line in err.splitlines() if line.startswith("medjax: error: ")]
        assert bool(errors) == (status == 2), f"{told}\n{err}"
        assert "root:" not in out + err, told
        if status == 0 and name == "predict":
            check_probabilities(out)
        statuses[status] += 1
        shutil.rmtree(mutated)
    with capsys.disabled():
        print(f"chunk {chunk}: {statuses[0]} answered, {statuses[2]} refused")
