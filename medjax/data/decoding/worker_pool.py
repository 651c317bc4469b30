"""Many images decoded at once, in processes when there are enough of them to pay for the start.

Threads would not do: Pillow holds the interpreter lock so much that two of them are slower than one. A worker is a
fresh interpreter that reads batches from its stdin and answers on its stdout. So the caller's script is not imported
again and needs no `if __name__ == "__main__"`; nothing is pickled; and a worker ends when its caller does, however
that ended. (The pools of multiprocessing need the guard, and those of joblib outlive a caller that is killed.)
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

import numpy as np

from medjax.config import DataConfig
from medjax.data.decoding.fast_jpeg import decode_plain
from medjax.data.decoding.image import DecodedStack, decode_image
from medjax.data.reading.listing import Fault, Key, UnfitError

# Below this many images a process, starting it costs more than it gains.
MIN_IMAGES_PER_WORKER = 2_000
# A batch is handed over when it holds this many images or bytes, whichever comes first.
_BATCH_IMAGES = 256
_BATCH_BYTES = 4 * 2**20
# Each worker has one batch in hand and some waiting, which this process takes back when it has nothing else to do.
_BATCHES_PER_WORKER = 4
# Larger images are decoded in the calling process, one by one, so that memory does not grow with the cores.
_MAX_WORKER_BYTES = 8 * 2**20
_MAX_WORKER_MEGAPIXELS = 16.0

_PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from medjax.data.decoding.worker_pool import serve; serve(sys.argv[1])"
_CHANGES = ("reoriented", "rescaled", "resized", "reshaped", "recolored")  # in the order of `decode_image`
_DIGEST_BYTES = 32

Progress = Callable[[int, int | None], None]
Encoded = tuple[Key, bytes | Fault]
Decoded = tuple[Sequence[Key], DecodedStack | Fault]  # a fault of one image
Answer = tuple[Sequence[int], DecodedStack]  # and the places in a batch that it is about


class Handed(NamedTuple):
    """A batch that a worker is to answer, and its answers."""

    batch: list[Encoded]
    answers: Future[list[Decoded]]  # what a worker refuses is left out


class Worker(NamedTuple):
    """The two ends that a worker is spoken to by."""

    questions: IO[bytes]
    answers: IO[bytes]


@contextmanager
def started_workers(num_images: int, config: DataConfig) -> Iterator[list[Worker]]:
    """As many workers as so many images pay for, or fewer where no more processes may start."""
    modest = replace(config, max_megapixels=min(config.max_megapixels, _MAX_WORKER_MEGAPIXELS))
    count = 0
    if num_images >= 2 * MIN_IMAGES_PER_WORKER and sys.executable:
        from joblib import cpu_count  # it knows of containers; small sets do without

        count = min(cpu_count(), num_images // MIN_IMAGES_PER_WORKER) - 1  # this process decodes, too
    workers = []
    with ExitStack() as stack:
        for _ in range(count):
            with suppress(OSError):
                workers.append(stack.enter_context(_started(modest)))
        yield workers


def decode_all(
    encoded: Iterable[Encoded],
    total: int,
    config: DataConfig,
    on_progress: Progress | None = None,
    workers: Sequence[Worker] = (),
) -> Iterator[Decoded]:
    """The keys of all images with their pixels or with what is wrong with one, batch by batch as they came.

    `on_progress(done, total)` is called after every batch. Workers that were started beforehand are made use of, else
    some are started if that pays.
    """
    batches = _in_batches(encoded)
    done = 0
    with nullcontext(workers) if workers else started_workers(total, config) as ready:
        for answers in _in_processes(batches, ready, config) if ready else _inline(batches, config):
            yield from answers
            done += sum(len(keys) for keys, _ in answers)
            if on_progress is not None:
                on_progress(done, total)


def serve(settings: str) -> None:
    """What a worker does: answer batches until there are no more. `settings` is a DataConfig as JSON."""
    values = json.loads(settings)
    config = DataConfig(**{**values, "ignore": tuple(values["ignore"])})
    while images := _receive(sys.stdin.buffer):
        _send(sys.stdout.buffer, _packed(_decode(images, config)[0]))


def _in_batches(encoded: Iterable[Encoded]) -> Iterator[list[Encoded]]:
    batch: list[Encoded] = []
    size = 0
    for item in encoded:
        batch.append(item)
        size += len(item[1]) if isinstance(item[1], bytes) else 0
        if len(batch) == _BATCH_IMAGES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _inline(batches: Iterable[list[Encoded]], config: DataConfig) -> Iterator[list[Decoded]]:
    for batch in batches:
        yield _decode_batch(batch, config)


def _in_processes(
    batches: Iterable[list[Encoded]], workers: Sequence[Worker], config: DataConfig
) -> Iterator[list[Decoded]]:
    free: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        free.put(worker)
    waiting: deque[Handed] = deque()
    threads = ThreadPoolExecutor(len(workers))  # these only wait for workers
    try:
        for batch in batches:
            waiting.append(Handed(batch, threads.submit(_ask, free, batch, config.image_size)))
            if len(waiting) > _BATCHES_PER_WORKER * len(workers):
                yield _oldest(waiting, config)
        while waiting:
            yield _oldest(waiting, config)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)  # one in hand ends with its worker


def _oldest(waiting: deque[Handed], config: DataConfig) -> list[Decoded]:
    """The answers to the batch handed over first. Until they are there, the last ones handed over are taken back."""
    while not waiting[0].answers.done():
        position = next((i for i in reversed(range(len(waiting))) if waiting[i].answers.cancel()), None)
        if position is None:
            break
        batch = waiting[position].batch
        answers: Future[list[Decoded]] = Future()
        answers.set_result(_decode_batch(batch, config))
        waiting[position] = Handed(batch, answers)
    batch, answers = waiting.popleft()
    decoded = answers.result()
    answered = {key for keys, _ in decoded for key in keys}
    # What was left out may only have been too large for a worker.
    return decoded + _decode_batch([item for item in batch if item[0] not in answered], config)


@contextmanager
def _started(config: DataConfig) -> Iterator[Worker]:
    command = [sys.executable, "-P", "-c", _PROGRAM, json.dumps(asdict(config)), *sys.path]
    pipe = subprocess.PIPE
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # NumPy's threads: workers multiply no matrices
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            yield Worker(worker.stdin, worker.stdout)
        finally:
            worker.kill()
            with suppress(OSError):  # of what it had no time to read
                worker.stdin.close()


def _ask(free: "SimpleQueue[Worker]", batch: list[Encoded], image_size: int) -> list[Decoded]:
    """What the next free worker makes of the smaller images; what it refuses is left out."""
    small = [(key, data) for key, data in batch if isinstance(data, bytes) and len(data) <= _MAX_WORKER_BYTES]
    if not small:
        return []
    worker = free.get()
    try:
        _send(worker.questions, [data for _, data in small])
        answers = _unpacked(_receive(worker.answers), image_size)
    except (OSError, ValueError, struct.error):  # it has been killed, perhaps for want of memory
        return []
    finally:
        free.put(worker)
    return [([small[place][0] for place in places], stack) for places, stack in answers]


def _decode_batch(batch: Sequence[Encoded], config: DataConfig) -> list[Decoded]:
    answers, faults = _decode([data for _, data in batch], config)
    keys = [key for key, _ in batch]
    return [
        *(([keys[place] for place in places], stack) for places, stack in answers),
        *(([keys[place]], fault) for place, fault in faults),
    ]


def _decode(
    images: Sequence[bytes | Fault], config: DataConfig
) -> tuple[list[Answer], list[tuple[int, Fault]]]:
    """The plain JPEGs all at once, whatever else there is one by one; and what is wrong, with its place."""
    answers: list[Answer] = [
        *decode_plain([b"" if isinstance(data, Fault) else data for data in images], config)
    ]
    faults = []
    decoded = {place for places, _ in answers for place in places}
    for place, data in enumerate(images):
        if isinstance(data, Fault):
            faults.append((place, data))
        elif place not in decoded:
            try:
                answers.append(([place], decode_image(data, config).stacked()))
            except UnfitError as error:
                faults.append((place, error.fault))
    return answers, faults


def _packed(answers: Sequence[Answer]) -> list[bytes]:
    """Four parts for each answer: places, whether each change was made, digests and pixels."""
    parts: list[bytes] = []
    for places, stack in answers:
        changes = bytes(change in stack.changes for change in _CHANGES)
        parts += [
            struct.pack(f"<{len(places)}I", *places),
            changes,
            stack.digests.tobytes(),
            stack.pixels.tobytes(),
        ]
    return parts


def _unpacked(parts: Sequence[bytes], image_size: int) -> list[Answer]:
    """The answers again."""
    answers: list[Answer] = []
    for places, changes, digests, pixels in zip(*[iter(parts)] * 4, strict=True):
        count = len(digests) // _DIGEST_BYTES
        stack = DecodedStack(
            np.frombuffer(pixels, np.uint8).reshape(count, image_size, image_size, -1),
            np.frombuffer(digests, np.uint8).reshape(count, _DIGEST_BYTES),
            tuple(change for change, was_made in zip(_CHANGES, changes, strict=True) if was_made),
        )
        answers.append((struct.unpack(f"<{count}I", places), stack))
    return answers


def _send(stream: IO[bytes], parts: Sequence[bytes]) -> None:
    """Write how many parts there are, how long each is, and the parts."""
    stream.write(struct.pack(f"<{1 + len(parts)}Q", len(parts), *map(len, parts)))
    for part in parts:
        stream.write(part)
    stream.flush()


def _receive(stream: IO[bytes]) -> list[bytes]:
    """The parts that the other side sends; none at the end of the stream. Raises struct.error where it breaks off."""
    count = int.from_bytes(stream.read(8), "little")
    lengths = struct.unpack(f"<{count}Q", stream.read(8 * count))
    return [*struct.unpack("".join(f"{length}s" for length in lengths), stream.read(sum(lengths)))]
