"""A worker does what is described, and nothing else: not by other threads, versions or images, and no import."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medjax.config_checks import from_dict
from medjax.jobs.run_record import describe_versions
from medjax.runs.directory import read_record
from medjax.scale.answers import read_answer
from medjax.scale.description import write_description
from medjax.scale.finished import require_finished
from medjax.scale.worker import do_fit, main
from medjax.training.threads import count_threads
from tests.scale.test_description import describe


@pytest.fixture
def asked(trained_run, phantom_folder, tmp_path):
    """The description of the session's run, to be done again."""
    record = trained_run.record
    folder = tmp_path / "fits"
    folder.mkdir()
    config = dataclasses.replace(from_dict(record["config"]), epochs=1, baselines=False)
    return describe(
        folder,
        source=str(phantom_folder),
        config=config,
        fingerprint=record["data"]["fingerprint"],
        threads=count_threads(),
        versions=describe_versions(),
        scoring="val",
    )


def problem_of(description):
    answer = read_answer(description.path)
    assert not (description.directory / "run.json").exists()
    return str(answer.problems[0])


def test_a_fit_is_answered_by_its_directory(asked):
    write_description(asked)
    with pytest.raises(SystemExit) as ended:
        main([str(asked.path)])
    assert ended.value.code == 0
    require_finished(asked)
    assert read_answer(asked.path) is None
    assert read_record(asked.directory)["status"] == "trained"
    # Nothing of the test part is written, for nothing of it was computed.
    rows = (asked.directory / "predictions.csv").read_text().splitlines()
    assert {row.split(",")[1] for row in rows[1:]} == {"val"}
    assert '"test"' not in (asked.directory / "metrics.json").read_text()
    assert not (asked.directory / "report.html").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"threads": 1000}, r"threads, not 1000 \(start it with PJRT_NPROC=1000\)"),
        ({"versions": {"jax": "0.1"}}, r"jax is .* here, and 0\.1 where it was asked for"),
        ({"fingerprint": "0" * 64}, "holds other images on this machine"),
        ({"source": "/nowhere"}, "/nowhere"),
    ],
)
def test_what_it_cannot_do_as_described_it_refuses(asked, change, reason):
    import re

    wrong = dataclasses.replace(asked, **change)
    write_description(wrong)
    assert do_fit(wrong.path) == 2
    assert re.search(reason, problem_of(wrong))


def test_a_network_that_a_description_names_is_not_imported(asked, tmp_path):
    module = tmp_path / "nets.py"
    module.write_text("open('imported.txt', 'w')\n")
    config = dataclasses.replace(asked.config, model=f"{module}:net")
    own = dataclasses.replace(asked, config=config)
    write_description(own)
    for named in (None, "elsewhere:net"):
        assert do_fit(own.path, named) == 2
        assert "which this process was not told to import (start it with --model" in problem_of(own)
    assert not Path("imported.txt").exists()


@pytest.mark.slow
def test_a_worker_whose_asker_is_gone_stops_as_by_sigterm(asked):
    config = dataclasses.replace(asked.config, epochs=5000)
    long = dataclasses.replace(asked, config=config)
    write_description(long)
    words = [sys.executable, "-m", "medjax.scale.worker"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        process.stdin.write(f"{long.path}\n")
        process.stdin.flush()
        while not (long.directory / "history.csv").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.stdin.close()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert read_record(long.directory)["status"] == "interrupted"
    assert os.listdir(long.directory / "checkpoints")
