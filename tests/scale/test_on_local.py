"""Workers as processes: each takes one fit after the other, and one that dies costs a fit."""

import time

import pytest

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


def test_stopping_ends_the_processes_at_once(workers, tmp_path):
    started = time.monotonic()
    with pytest.raises(_StopError), Local(2, workers) as engine:
        engine.run([tmp_path / name for name in ("a", "wait", "wait")], stop_when_two_were_asked(tmp_path))
    assert time.monotonic() - started < 50  # of the minute that they have to save
    assert not any(is_running(pid) for _, pid, _ in asked(tmp_path))
