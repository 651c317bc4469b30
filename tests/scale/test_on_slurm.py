"""Fits as a job array: the script that a cluster gets, run here, and given to a stand-in for sbatch."""

import os
import stat
import subprocess

import pytest

from medjax.errors import RefusedError
from medjax.scale import on_local, on_slurm
from medjax.scale.engine import Workers
from medjax.scale.on_slurm import Slurm, SlurmHere, write_script
from tests.scale.test_on_local import _StopError, stop_when_two_were_asked
from tests.scale.workers import ScriptWorkers, asked, is_running

# Runs all tasks one after the other, and says a job's number first, as `sbatch --wait --parsable` does.
SBATCH = """#!/bin/bash
test "$1 $2" = "--wait --parsable" || exit 9
echo "77;cluster"
last=$(sed -n 's/^#SBATCH --array=0-//p' "$3")
for task in $(seq 0 "$last"); do
    SLURM_ARRAY_TASK_ID=$task bash "$3"
done
"""


@pytest.fixture
def workers(tmp_path, monkeypatch):
    folder = tmp_path / "with space & quote's"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return ScriptWorkers(folder, 3, None, False)


def command(folder, name, text):
    path = folder / name
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_every_task_does_the_fit_of_its_line(workers):
    told = []
    with SlurmHere(workers) as engine:
        engine.run([workers.folder / name for name in ("a", "die", "b b")], told.append)
    assert sorted(name for name, *_ in asked(workers.folder)) == ["a", "b", "die"]  # "b b" is two words
    assert {row[-1] for row in asked(workers.folder)} == {"3"}
    assert sorted(path.name for path in told) == ["a", "b b", "die"]


def test_stopping_ends_the_tasks(workers, monkeypatch):
    monkeypatch.setattr(on_slurm, "count_cores", lambda: 6)  # two tasks at a time
    fits = [workers.folder / name for name in ("a", "wait", "wait", "b")]
    with pytest.raises(_StopError), SlurmHere(workers) as engine:
        engine.run(fits, stop_when_two_were_asked(workers.folder))
    assert not any(is_running(pid) for _, pid, _ in asked(workers.folder))


def test_a_task_that_does_not_stop_is_killed(workers, monkeypatch):
    monkeypatch.setattr(on_slurm, "count_cores", lambda: 6)
    monkeypatch.setattr(on_local, "SECONDS_TO_SAVE", 0.1)
    with pytest.raises(_StopError), SlurmHere(workers) as engine:
        engine.run(
            [workers.folder / name for name in ("a", "hang")], stop_when_two_were_asked(workers.folder)
        )
    [hung] = [pid for name, pid, _ in asked(workers.folder) if name == "hang"]
    assert not is_running(hung)


def test_the_script_asks_slurm_for_what_a_fit_needs(tmp_path):
    script = write_script(Workers(tmp_path, 4, "nets.py:net", False), [tmp_path / "a", tmp_path / "b"])
    text = script.read_text()
    for line in ("--array=0-1", "--cpus-per-task=4", "--requeue", "--signal=B:TERM@60", "--open-mode=append"):
        assert f"#SBATCH {line}\n" in text
    assert "export PJRT_NPROC=4\n" in text
    assert '--model nets.py:net "$fit"\n' in text
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_sbatch_is_waited_for_whatever_its_status(workers, tmp_path, monkeypatch):
    command(tmp_path, "sbatch", SBATCH)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    told = []
    with Slurm(workers) as engine:
        engine.run([workers.folder / name for name in ("a", "die")], told.append)
    assert [name for name, *_ in asked(workers.folder)] == ["a", "die"]
    assert len(told) == 2


def test_what_sbatch_says_against_it_is_passed_on(workers, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RefusedError, match=r"there is no sbatch .* \(call it on a machine of the cluster"):
        Slurm(workers).__enter__()
    command(tmp_path, "sbatch", "#!/bin/sh\necho 'no partition' >&2\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with Slurm(workers) as engine, pytest.raises(RefusedError, match="sbatch says: no partition"):
        engine.run([workers.folder / "a"], print)


def test_an_array_that_is_not_waited_for_any_more_is_cancelled(workers, tmp_path, monkeypatch):
    command(tmp_path, "sbatch", "#!/bin/sh\necho 77\nexec sleep 100\n")
    command(tmp_path, "scancel", f"#!/bin/sh\necho $1 > {tmp_path}/cancelled\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    class Interrupted(subprocess.Popen):
        def wait(self, timeout=None):
            if not (tmp_path / "cancelled").exists():
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    monkeypatch.setattr(subprocess, "run", lambda words, check: os.system(" ".join(words)))
    with Slurm(workers) as engine, pytest.raises(KeyboardInterrupt):
        engine.run([workers.folder / "a"], print)
    assert (tmp_path / "cancelled").read_text() == "77\n"
