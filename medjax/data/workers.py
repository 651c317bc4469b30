"""Many images decoded at once, in processes when there are enough of them to pay for the start.

Threads would not do: Pillow holds the interpreter lock so much that two of them are slower than one. A worker is a
fresh interpreter that reads batches from its stdin and answers on its stdout. So the caller's script is not imported
again and needs no `if __name__ == "__main__"`; nothing is pickled; and a worker ends when its caller does, however
that ended. (The pools of multiprocessing need the guard, and those of joblib outlive a caller that is killed.)
"""

import json
import math
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
from medjax.data.decode import DecodedImage, decode_image
from medjax.data.jpegs import decode_plain
from medjax.data.listing import Fault, Key, UnfitError

# Below this many images a process, starting it costs more than it gains.
FEWEST_IMAGES_PER_WORKER = 2_000
# A batch is handed over when it holds this many images or bytes, whichever comes first.
_BATCH_IMAGES = 256
_BATCH_BYTES = 4 * 2**20
# Each worker has one batch in hand and some waiting, which this process takes back when it has nothing else to do.
_BATCHES_PER_WORKER = 4
# Larger images are decoded in the calling process, one by one, so that memory does not grow with the cores.
_MOST_WORKER_BYTES = 8 * 2**20
_MOST_WORKER_MEGAPIXELS = 16.0

_PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from medjax.data.workers import serve; serve(sys.argv[1])"
_CHANGES = ("reoriented", "rescaled", "resized", "reshaped", "recolored")  # as `decode_image` puts them
_CHANGES_OF = {
    bits: tuple(change for bit, change in enumerate(_CHANGES) if bits >> bit & 1)
    for bits in range(1 << len(_CHANGES))
}
_BITS_OF = {changes: bits for bits, changes in _CHANGES_OF.items()}
_RGB, _FAULT = 1 << len(_CHANGES), 0xFF
_DIGEST_BYTES = 32

Progress = Callable[[int, int | None], None]
Encoded = tuple[Key, bytes | Fault]
Decoded = tuple[Key, DecodedImage | Fault]


class Handed(NamedTuple):
    """A batch that a worker is to answer, and its answers."""

    batch: list[Encoded]
    answers: Future[dict[Key, DecodedImage | Fault]]  # what a worker refuses is left out


class Worker(NamedTuple):
    """The two ends that a worker is spoken to by."""

    questions: IO[bytes]
    answers: IO[bytes]


@contextmanager
def started_workers(num_images: int, config: DataConfig) -> Iterator[list[Worker]]:
    """As many workers as so many images pay for, or fewer where no more processes may start."""
    modest = replace(config, max_megapixels=min(config.max_megapixels, _MOST_WORKER_MEGAPIXELS))
    count = 0
    if num_images >= 2 * FEWEST_IMAGES_PER_WORKER and sys.executable:
        from joblib import cpu_count  # it knows of containers; small sets do without

        count = min(cpu_count(), num_images // FEWEST_IMAGES_PER_WORKER) - 1  # this process decodes, too
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
    """The key of each image with its pixels or with what is wrong with it, in the order they came.

    `on_progress(done, total)` is called after every batch. Workers that were started beforehand are made use of, else
    some are started if that pays.
    """
    batches = _in_batches(encoded)
    done = 0
    with nullcontext(workers) if workers else started_workers(total, config) as ready:
        for batch in _in_processes(batches, ready, config) if ready else _inline(batches, config):
            yield from batch
            done += len(batch)
            if on_progress is not None:
                on_progress(done, total)


def serve(settings: str) -> None:
    """What a worker does: answer batches until there are no more. `settings` is a DataConfig as JSON."""
    values = json.loads(settings)
    config = DataConfig(**{**values, "ignore": tuple(values["ignore"])})
    while images := _receive(sys.stdin.buffer):
        _send(sys.stdout.buffer, _packed(_decode(images, config)))


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
        yield [*_decode_batch(batch, config).items()]


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
        answers: Future[dict[Key, DecodedImage | Fault]] = Future()
        answers.set_result(_decode_batch(batch, config))
        waiting[position] = Handed(batch, answers)
    batch, answers = waiting.popleft()
    decoded = answers.result()
    left_out = [
        item for item in batch if item[0] not in decoded
    ]  # it may only have been too large for a worker
    decoded |= _decode_batch(left_out, config)
    return [(key, decoded[key]) for key, _ in batch]


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


def _ask(
    free: "SimpleQueue[Worker]", batch: list[Encoded], image_size: int
) -> dict[Key, DecodedImage | Fault]:
    """What the next free worker makes of the smaller images; what it refuses is left out."""
    small = [
        (key, data) for key, data in batch if isinstance(data, bytes) and len(data) <= _MOST_WORKER_BYTES
    ]
    if not small:
        return {}
    worker = free.get()
    try:
        _send(worker.questions, [data for _, data in small])
        answers = _unpacked(_receive(worker.answers), image_size)
    except (OSError, ValueError, struct.error):  # it has been killed, perhaps for want of memory
        return {}
    finally:
        free.put(worker)
    return {key: answer for (key, _), answer in zip(small, answers, strict=False) if answer is not None}


def _decode_batch(batch: Sequence[Encoded], config: DataConfig) -> dict[Key, DecodedImage | Fault]:
    return dict(zip([key for key, _ in batch], _decode([data for _, data in batch], config), strict=True))


def _decode(images: Sequence[bytes | Fault], config: DataConfig) -> list[DecodedImage | Fault]:
    """The plain JPEGs all at once, whatever else there is one by one."""
    plain = decode_plain([b"" if isinstance(data, Fault) else data for data in images], config)
    return [answer or _decode_one(data, config) for answer, data in zip(plain, images, strict=True)]


def _decode_one(data: bytes | Fault, config: DataConfig) -> DecodedImage | Fault:
    if isinstance(data, Fault):
        return data
    try:
        return decode_image(data, config)
    except UnfitError as error:
        return error.fault


def _packed(answers: Sequence[DecodedImage | Fault]) -> list[bytes]:
    """A byte for each answer, then the digests and the pixels of those that are no fault."""
    decoded = [answer for answer in answers if not isinstance(answer, Fault)]
    return [
        bytes(_FAULT if isinstance(answer, Fault) else _byte_of(answer) for answer in answers),
        b"".join(answer.digest.tobytes() for answer in decoded),
        b"".join(answer.pixels.tobytes() for answer in decoded),
    ]


def _byte_of(answer: DecodedImage) -> int:
    """A bit for each change, and one for RGB."""
    return _BITS_OF[answer.changes] + (_RGB if answer.pixels.shape[-1] == 3 else 0)


def _unpacked(parts: Sequence[bytes], image_size: int) -> list[DecodedImage | None]:
    """The answers again; None for a fault."""
    if not parts:
        return []
    digests = iter(np.frombuffer(parts[1], np.uint8).reshape(-1, _DIGEST_BYTES))
    pixels, start = np.frombuffer(parts[2], np.uint8), 0
    answers: list[DecodedImage | None] = []
    for byte in parts[0]:
        if byte == _FAULT:
            answers.append(None)
            continue
        shape = (image_size, image_size, 3 if byte & _RGB else 1)
        end = start + math.prod(shape)
        answers.append(
            DecodedImage(pixels[start:end].reshape(shape), next(digests), _CHANGES_OF[byte & ~_RGB])
        )
        start = end
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
