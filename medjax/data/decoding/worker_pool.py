"""Decode many images, in worker processes if there are enough images to pay for starting them.

Processes, because Pillow holds the interpreter lock so long that two threads are slower than one. A worker is a fresh
interpreter that talks over its stdin and stdout. So the caller's script is not imported again and needs no
`if __name__ == "__main__"`, nothing is pickled, and a worker ends when its caller does, however that ends. (Pools of
multiprocessing need the guard; those of joblib outlive a caller that is killed.)
"""

import json
import os
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from queue import SimpleQueue
from typing import IO, NamedTuple

from medjax.config import DataConfig
from medjax.data.decoding.batch import decode_batch
from medjax.data.decoding.image import DecodedStack
from medjax.data.decoding.worker import IMAGES_PER_REPLY, receive, send, unpack
from medjax.data.reading.listing import Fault, Key

# With fewer images than this, starting a process takes longer than it saves.
MIN_IMAGES_PER_WORKER = 2_000
# A batch is complete with this many images or bytes, whichever comes first; with fewer images where these are large once
# they are decoded, so that all batches that are under way take no more than so much, however many workers there are.
_BATCH_IMAGES = 256
_BATCH_BYTES = 4 * 2**20
_DECODED_BYTES = 64 * 2**20
# One that the worker decodes and some that wait, which this process takes back when it is idle.
_BATCHES_PER_WORKER = 4
# Larger images are decoded in this process, one by one, so that memory does not grow with the number of cores.
_MAX_WORKER_BYTES = 8 * 2**20
_MAX_WORKER_MEGAPIXELS = 16.0
PATIENCE_SECONDS = 120.0
"""A worker that gives no reply for so long hangs: the 64 largest images that it takes are decoded in a quarter of it."""

_PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from medjax.data.decoding.worker import serve; serve(sys.argv[1])"

Progress = Callable[[int, int | None], None]
"""Called with the number of images (or bytes) done and the total, None if that is unknown."""
Encoded = tuple[Key, bytes | Fault]
Decoded = tuple[Sequence[Key], DecodedStack | Fault]  # a fault is of a single image


class NoAnswerError(Exception):
    """A worker hangs; `keys` are those of the images that it is at, one of which may be the cause."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys = keys
        super().__init__(f"no answer for {PATIENCE_SECONDS:g} s")


class Submitted(NamedTuple):
    """A batch given to the workers."""

    batch: list[Encoded]
    decoded: Future[list[Decoded]]  # without the images that the worker refused
    current: list[Key]  # the images that the worker is at, changed as it goes on


class Worker(NamedTuple):
    """The pipes to a worker process."""

    requests: IO[bytes]
    replies: IO[bytes]


@contextmanager
def start_workers(num_images: int, config: DataConfig) -> Iterator[list[Worker]]:
    """As many workers as pay for `num_images`, or as many as can be started; they end with the context."""
    worker_config = replace(config, max_megapixels=min(config.max_megapixels, _MAX_WORKER_MEGAPIXELS))
    count = 0
    if num_images >= 2 * MIN_IMAGES_PER_WORKER and sys.executable:
        from joblib import cpu_count  # respects container limits; not imported for small data sets

        count = min(cpu_count(), num_images // MIN_IMAGES_PER_WORKER) - 1  # this process decodes as well
    workers = []
    with ExitStack() as stack:
        for _ in range(count):
            with suppress(OSError):
                workers.append(stack.enter_context(_start_worker(worker_config)))
        yield workers


def decode_all(
    encoded: Iterable[Encoded],
    total: int,
    config: DataConfig,
    on_progress: Progress | None = None,
    workers: Sequence[Worker] = (),
) -> Iterator[Decoded]:
    """Decode all images batch by batch, in order: keys with their images, or one key with its fault.

    `on_progress` is called after every batch. Without `workers`, some are started if that pays for `total` images.
    Raises NoAnswerError if one of them hangs.
    """
    done = 0
    with nullcontext(workers) if workers else start_workers(total, config) as ready:
        batches = _in_batches(encoded, _batch_size(config, len(ready)))
        for results in _in_processes(batches, ready, config) if ready else _inline(batches, config):
            yield from results
            done += sum(len(keys) for keys, _ in results)
            if on_progress is not None:
                on_progress(done, total)


def _batch_size(config: DataConfig, num_workers: int) -> int:
    """How many images a batch has at most."""
    image_bytes = 3 * config.sides[0] * config.sides[1]
    fitting = _DECODED_BYTES // (image_bytes * (1 + _BATCHES_PER_WORKER * num_workers))
    return max(1, min(_BATCH_IMAGES, fitting))


def _in_batches(encoded: Iterable[Encoded], most: int) -> Iterator[list[Encoded]]:
    batch: list[Encoded] = []
    size = 0
    for item in encoded:
        batch.append(item)
        size += len(item[1]) if isinstance(item[1], bytes) else 0
        if len(batch) == most or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _inline(batches: Iterable[list[Encoded]], config: DataConfig) -> Iterator[list[Decoded]]:
    for batch in batches:
        yield _decode_here(batch, config)


def _in_processes(
    batches: Iterable[list[Encoded]], workers: Sequence[Worker], config: DataConfig
) -> Iterator[list[Decoded]]:
    free: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        free.put(worker)
    submitted: deque[Submitted] = deque()
    threads = ThreadPoolExecutor(len(workers))  # each only waits for a worker
    try:
        for batch in batches:
            current: list[Key] = []
            decoded = threads.submit(_decode_in_worker, free, batch, config.sides, current)
            submitted.append(Submitted(batch, decoded, current))
            if len(submitted) > _BATCHES_PER_WORKER * len(workers):
                yield _take_oldest(submitted, config)
        while submitted:
            yield _take_oldest(submitted, config)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)  # a thread that waits ends with its worker


def _take_oldest(submitted: deque[Submitted], config: DataConfig) -> list[Decoded]:
    """The results of the oldest batch; until they are there, take back the newest batches and decode them here."""
    while not submitted[0].decoded.done():
        newest_first = reversed(range(len(submitted)))
        index = next((index for index in newest_first if submitted[index].decoded.cancel()), None)
        if index is None:
            break
        batch = submitted[index].batch
        taken_back: Future[list[Decoded]] = Future()
        taken_back.set_result(_decode_here(batch, config))
        submitted[index] = Submitted(batch, taken_back, [])
    oldest = submitted.popleft()
    decoded = _wait_for(oldest)
    done = {key for keys, _ in decoded for key in keys}
    # A worker also refuses images that are only too large for it.
    return decoded + _decode_here([item for item in oldest.batch if item[0] not in done], config)


def _wait_for(submitted: Submitted) -> list[Decoded]:
    """The results of a batch; NoAnswerError if its worker stays at the same images for too long."""
    while True:
        before = list(submitted.current)
        try:
            return submitted.decoded.result(timeout=PATIENCE_SECONDS)
        except TimeoutError:
            if submitted.current == before:
                raise NoAnswerError(before) from None


@contextmanager
def _start_worker(config: DataConfig) -> Iterator[Worker]:
    command = [sys.executable, "-P", "-c", _PROGRAM, json.dumps(asdict(config)), *sys.path]
    pipe = subprocess.PIPE
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # workers multiply no matrices
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Worker(process.stdin, process.stdout)
        finally:
            process.kill()
            with suppress(OSError):  # about unsent data
                process.stdin.close()


def _decode_in_worker(
    free: "SimpleQueue[Worker]", batch: list[Encoded], sides: tuple[int, int], current: list[Key]
) -> list[Decoded]:
    """Let the next free worker decode the smaller images; the ones it refuses are left out."""
    small = [(key, data) for key, data in batch if isinstance(data, bytes) and len(data) <= _MAX_WORKER_BYTES]
    if not small:
        return []
    keys = [key for key, _ in small]
    parts = [keys[start : start + IMAGES_PER_REPLY] for start in range(0, len(keys), IMAGES_PER_REPLY)]
    decoded: list[Decoded] = []
    worker = free.get()
    try:
        current[:] = parts[0]
        send(worker.requests, [data for _, data in small])
        for part in parts:
            current[:] = part
            results = unpack(receive(worker.replies), sides)
            decoded += [([part[index] for index in indices], stack) for indices, stack in results]
    except (OSError, ValueError, struct.error):  # the worker was killed, perhaps as memory ran out
        # It may still answer; what it says would be taken for the answer to the next batch.
        for pipe in worker:
            with suppress(OSError):
                pipe.close()
        return decoded
    finally:
        free.put(worker)
    return decoded


def _decode_here(batch: Sequence[Encoded], config: DataConfig) -> list[Decoded]:
    results, faults = decode_batch([data for _, data in batch], config)
    keys = [key for key, _ in batch]
    return [
        *(([keys[index] for index in indices], stack) for indices, stack in results),
        *(([keys[index]], fault) for index, fault in faults),
    ]
