"""Decoding inline and in processes: the same answers, in the same order."""

import signal
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest

from medjax.config import DataConfig
from medjax.data.decoding import worker_pool as workers
from medjax.data.decoding.batch import decode_batch
from medjax.data.decoding.image import decode_image
from medjax.data.decoding.worker import pack, receive, send, unpack
from medjax.data.decoding.worker_pool import NoAnswerError, Submitted, Worker, decode_all
from medjax.data.load import load
from medjax.data.reading.listing import Fault
from medjax.errors import RefusedError
from tests.sample_files import jpeg, png, raw_png, small_set, write_folder

CONFIG = DataConfig(image_size=6)


def encoded(n):
    return [(f"{i}", png(i)) for i in range(n)]


@pytest.fixture
def two_processes(monkeypatch):
    """Start workers for a handful of images."""
    monkeypatch.setattr(workers, "MIN_IMAGES_PER_WORKER", 5)
    monkeypatch.setattr(workers, "_BATCH_IMAGES", 3)
    monkeypatch.setattr("joblib.cpu_count", lambda: 3)


@pytest.fixture(params=["inline", "processes"])
def either(request):
    if request.param == "processes":
        request.getfixturevalue("two_processes")
    return request.param


def by_key(answers):
    """Each image's own answer: a fault, or a stack of one."""
    return {
        key: answer
        if isinstance(answer, Fault)
        else answer._replace(pixels=answer.pixels[place], digests=answer.digests[place])
        for keys, answer in answers
        for place, key in enumerate(keys)
    }


def test_batches_come_in_order(either):
    calls = []
    answers = by_key(decode_all(encoded(20), 20, CONFIG, lambda *call: calls.append(call)))
    size = workers._BATCH_IMAGES
    keys = list(answers)
    for start in range(0, 20, size):
        batch = [str(number) for number in range(start, min(start + size, 20))]
        assert sorted(keys[start : start + size]) == sorted(batch)
    for key, answer in answers.items():
        np.testing.assert_array_equal(answer.pixels, decode_image(png(int(key)), CONFIG).pixels)
    assert calls[-1] == (20, 20)
    assert calls == sorted(calls)


def test_faults_are_passed_on_and_found(either):
    fault = Fault("cannot be read", "check")
    items = [*encoded(15), ("bad", b"noise"), ("gone", fault)]
    answers = by_key(decode_all(items, len(items), CONFIG))
    assert answers["gone"] == fault
    assert "not a PNG" in answers["bad"].reason
    assert sum(isinstance(answer, Fault) for answer in answers.values()) == 2


@pytest.mark.usefixtures("two_processes")
def test_large_images_are_left_to_this_process(monkeypatch):
    monkeypatch.setattr(workers, "_MAX_WORKER_MEGAPIXELS", 0.001)
    monkeypatch.setattr(workers, "_MAX_WORKER_BYTES", 5_000)
    items = [*encoded(15), ("wide", raw_png(200, 200)), ("long", png(99, (100, 100)))]
    answers = by_key(decode_all(items, len(items), CONFIG))
    assert not any(isinstance(answer, Fault) for answer in answers.values())


@pytest.mark.usefixtures("two_processes")
def test_reading_runs_only_a_little_ahead():
    taken = []

    def reading():
        for item in encoded(60):
            taken.append(item)
            yield item

    answers = decode_all(reading(), 60, CONFIG)
    next(answers)
    assert len(taken) <= 3 * (workers._BATCHES_PER_WORKER * 2 + 1)
    assert len(list(answers)) == 59


@pytest.mark.usefixtures("two_processes")
def test_a_worker_that_dies_is_done_without(monkeypatch):
    cut_off = "sys.stdout.buffer.write(b'medjax:\\n' + struct.pack('<4Q', 3, 900, 900, 900) + b'half')"
    monkeypatch.setattr(workers, "_PROGRAM", f"import struct, sys; sys.stdin.buffer.read(9); {cut_off}")
    answers = by_key(decode_all(encoded(20), 20, CONFIG))
    assert len(answers) == 20
    assert not any(isinstance(answer, Fault) for answer in answers.values())


@pytest.mark.usefixtures("two_processes")
def test_an_answer_that_is_not_understood_is_not_taken_for_another_one(monkeypatch):
    read, failures = workers.unpack, iter([None, None])

    def misread(*arguments):
        if next(failures, "none left") is None:
            raise ValueError("garbled")
        return read(*arguments)

    monkeypatch.setattr(workers, "unpack", misread)
    answers = by_key(decode_all(encoded(40), 40, CONFIG))
    assert len(answers) == 40
    for key, answer in answers.items():
        np.testing.assert_array_equal(answer.pixels, decode_image(png(int(key)), CONFIG).pixels)


def test_large_images_are_decoded_few_at_a_time():
    assert workers._batch_size(DataConfig(image_size=28), 1) == workers._BATCH_IMAGES
    held = workers._batch_size(DataConfig(image_size=224), 15) * (1 + 15 * workers._BATCHES_PER_WORKER)
    assert 0.9 * workers._DECODED_BYTES < held * 3 * 224 * 224 <= workers._DECODED_BYTES
    assert workers._batch_size(DataConfig(image_size=4096), 15) == 1


@pytest.mark.usefixtures("two_processes")
@pytest.mark.parametrize("fewer", [1, 2])
def test_processes_that_may_not_start_are_done_without(monkeypatch, fewer):
    popen, failures = subprocess.Popen, iter([None] * fewer)

    def start(*arguments, **options):
        if next(failures, "none left") is None:
            raise OSError(11, "Resource temporarily unavailable")
        return popen(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    assert len(list(decode_all(encoded(20), 20, CONFIG))) == 20


@pytest.mark.usefixtures("two_processes")
def test_workers_end_when_the_work_is_broken_off(monkeypatch):
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    answers = decode_all(encoded(60), 60, CONFIG)
    next(answers)
    answers.close()
    assert len(started) == 2
    assert all(worker.poll() is not None for worker in started)


def test_a_worker_answers_until_its_stdin_ends():
    with workers._start_worker(CONFIG) as worker:
        send(worker.requests, [png(0), b"noise", jpeg(1)])
        answers = by_key(unpack(receive(worker.replies), (6, 6)))
        assert set(answers) == {0, 2}
        np.testing.assert_array_equal(answers[0].pixels, decode_image(png(0), CONFIG).pixels)
        np.testing.assert_array_equal(answers[2].pixels, decode_image(jpeg(1), CONFIG).pixels)
        worker.requests.close()
        assert worker.replies.read() == b""


SCRIPT = """
import warnings; warnings.simplefilter("error")
import sys
import medjax.data.decoding.worker_pool as workers
from medjax.config import DataConfig
from medjax.data.load import load
workers.MIN_IMAGES_PER_WORKER = 5
dataset = load(sys.argv[1], DataConfig(cache=False))
print(len(dataset.labels), "joblib" in sys.modules, "jax" in sys.modules)
"""


def test_an_unguarded_script_may_load(tmp_path: Path):
    """No `if __name__ == "__main__"`, no output from workers, nothing left behind, and no JAX."""
    root = write_folder(tmp_path / "set", small_set(20))
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(root)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
        env={"PYTHONPATH": ".", "PATH": "", "TMPDIR": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["40", "True", "False"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["script.py", "set"]


@pytest.fixture
def stopped(two_processes, monkeypatch):
    """Let workers stop before their first reply, and wait for none; returns those that are started."""
    stop = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
    monkeypatch.setattr(workers, "_PROGRAM", stop)
    monkeypatch.setattr(workers, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(workers, "IMAGES_PER_REPLY", 2)
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    return started


needs_stop = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs a signal that stops")


@needs_stop
def test_a_worker_that_hangs_is_given_up_and_its_images_are_named(stopped):
    with pytest.raises(NoAnswerError) as caught:
        list(decode_all(encoded(20), 20, CONFIG))
    assert caught.value.keys == ["0", "1"]
    assert len(stopped) == 2
    assert all(worker.poll() is not None for worker in stopped)


@needs_stop
@pytest.mark.usefixtures("stopped")
def test_a_load_whose_worker_hangs_is_refused_with_the_files(tmp_path):
    root = write_folder(tmp_path / "set", small_set(10))
    with pytest.raises(RefusedError, match=r"^cat/0\.png, cat/1\.png: .* has given no answer for 0\.1 s "):
        load(root, DataConfig(cache=False))


def test_a_worker_that_is_slow_but_goes_on_is_waited_for():
    """Each reply starts the clock again."""
    current = ["a"]

    class Slow(Future):
        waits = 0

        def result(self, timeout=None):
            assert timeout == workers.PATIENCE_SECONDS
            self.waits += 1
            if self.waits == 3:
                return []
            current[:] = [f"image {self.waits}"]
            raise TimeoutError

    assert workers._wait_for(Submitted([], Slow(), current)) == []
    assert current == ["image 2"]


def test_replies_of_a_batch_come_one_by_one_and_tell_where_the_worker_is(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "IMAGES_PER_REPLY", 2)
    batch = encoded(5)
    current: list = []
    with open(tmp_path / "requests", "wb") as requests, open(tmp_path / "replies", "w+b") as replies:
        send(replies, pack(decode_batch([data for _, data in batch[:2]], CONFIG)[0]))
        send(replies, pack(decode_batch([b"noise", batch[3][1]], CONFIG)[0]))
        replies.write(b"\1")  # breaks off
        replies.seek(0)
        free: SimpleQueue = SimpleQueue()
        free.put(Worker(requests, replies))
        decoded = workers._decode_in_worker(free, batch, (6, 6), current)
    answers = by_key(decoded)
    assert set(answers) == {"0", "1", "3"}
    for key, answer in answers.items():
        np.testing.assert_array_equal(answer.pixels, decode_image(png(int(key)), CONFIG).pixels)
    assert current == ["4"]
