"""Workers as processes: each takes one fit after the other, and one that dies costs a fit."""

import signal
import time

import pytest

from medjax.scale import on_local
from medjax.scale.on_local import Local
from tests.scale.workers import ScriptWorkers, asked, is_running


@pytest.fixture
def workers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return ScriptWorkers(tmp_path, 3, None, False)


def test_all_fits_are_handed_out_and_the_processes_stay_until_the_end(workers, tmp_path):
    told = []
    with Local(2, workers) as engine:
        engine.run([tmp_path / name for name in "abcdef"], told.append)
        engine.run([tmp_path / "g"], told.append)
        pids = {pid for _, pid, _ in asked(tmp_path)}
        assert len(pids) <= 2
        assert all(map(is_running, pids))
    assert sorted(name for name, *_ in asked(tmp_path)) == list("abcdefg")
    assert {threads for *_, threads in asked(tmp_path)} == {"3"}
    assert sorted(path.name for path in told) == list("abcdefg")
    assert not any(map(is_running, pids))


def test_a_process_that_dies_is_replaced(workers, tmp_path):
    told = []
    with Local(1, workers) as engine:
        engine.run([tmp_path / name for name in ("a", "die", "b", "die", "c")], told.append)
    assert [name for name, *_ in asked(tmp_path)] == ["a", "die", "b", "die", "c"]
    assert len({pid for _, pid, _ in asked(tmp_path)}) == 3
    assert len(told) == 5


class _StopError(Exception):
    pass


def stop_when_two_were_asked(folder):
    def tell(path):
        while len(asked(folder)) < 2:
            time.sleep(0.01)
        raise _StopError

    return tell


def test_stopping_ends_the_processes(workers, tmp_path):
    with pytest.raises(_StopError), Local(2, workers) as engine:
        engine.run([tmp_path / name for name in ("a", "wait", "wait")], stop_when_two_were_asked(tmp_path))
    assert not any(is_running(pid) for _, pid, _ in asked(tmp_path))
    assert {process.returncode for process in engine._processes.values()} == {-signal.SIGTERM}


def test_one_that_does_not_stop_is_killed(workers, tmp_path, monkeypatch):
    monkeypatch.setattr(on_local, "SECONDS_TO_SAVE", 0.1)
    with pytest.raises(_StopError), Local(2, workers) as engine:
        engine.run([tmp_path / name for name in ("a", "hang")], stop_when_two_were_asked(tmp_path))
    assert not any(is_running(pid) for _, pid, _ in asked(tmp_path))
    assert -signal.SIGKILL in {process.returncode for process in engine._processes.values()}


def test_one_that_dies_as_it_is_handed_a_fit_is_no_error(workers, tmp_path):
    class Dead(Local):
        def _start(self, slot):
            process = super()._start(slot)
            process.kill()
            process.wait()
            return process

    told = []
    with Dead(1, workers) as engine:
        engine.run([tmp_path / "a"], told.append)
    assert len(told) == 1
