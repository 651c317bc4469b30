"""The worker process of `worker_pool`: decodes batches from its stdin and writes the results to its stdout.

A message is a list of byte strings: a mark, their number and lengths as 64-bit integers, then the strings. A request has one for
each encoded image. A reply is of at most `IMAGES_PER_REPLY` of them, and has six for each stack of images.
"""

import json
import struct
import sys
from collections.abc import Sequence
from typing import IO

import numpy as np

from medjax.config import DataConfig
from medjax.data.decoding.batch import Result, decode_batch
from medjax.data.decoding.image import DecodedStack

CHANGES = (
    "hounsfield",
    "given_window",
    "own_window",
    "percentiles",
    "colored",
    "inverted",
    "composited",
    "reoriented",
    "rescaled",
    "resized",
    "reshaped",
    "padded",
    "cropped",
    "recolored",
)
"""All changes that `decode_dicom` and `decode_image` can report, in their order."""
IMAGES_PER_REPLY = 64
"""Few, so that a worker that hangs can be told from a slow one, and its image from others; more are no quicker."""
_DIGEST_BYTES = 32
_MARK = b"medjax:\n"  # where a message begins


def serve(settings: str) -> None:
    """Answer batches until stdin ends; `settings` is a DataConfig as JSON. Images that are refused are left out."""
    values = json.loads(settings)
    config = DataConfig(**{**values, "ignore": tuple(values["ignore"])})
    while images := receive(sys.stdin.buffer):
        for start in range(0, len(images), IMAGES_PER_REPLY):
            results, _ = decode_batch(images[start : start + IMAGES_PER_REPLY], config)
            send(sys.stdout.buffer, pack(results))


def pack(results: Sequence[Result]) -> list[bytes]:
    """Six byte strings for each result: indices, one byte for each of `CHANGES`, three numbers of `DecodedStack` and the bytes
    of a gray level, subjects, digests, pixels."""
    strings: list[bytes] = []
    for indices, stack in results:
        strings += [
            struct.pack(f"<{len(indices)}I", *indices),
            bytes(change in stack.changes for change in CHANGES),
            struct.pack("<4I", *stack.size, stack.largest, stack.pixels.itemsize),
            stack.subjects,
            stack.digests.tobytes(),
            stack.pixels.tobytes(),
        ]
    return strings


def unpack(strings: Sequence[bytes], sides: tuple[int, int]) -> list[Result]:
    """The inverse of `pack`; `sides` are the height and width of the images."""
    results: list[Result] = []
    for indices, made, facts, subjects, digests, pixels in zip(*[iter(strings)] * 6, strict=True):
        count = len(digests) // _DIGEST_BYTES
        width, height, largest, itemsize = struct.unpack("<4I", facts)
        changes = tuple(change for change, was_made in zip(CHANGES, made, strict=True) if was_made)
        stack = DecodedStack(
            np.frombuffer(pixels, np.uint8 if itemsize == 1 else np.uint16).reshape(count, *sides, -1),
            np.frombuffer(digests, np.uint8).reshape(count, _DIGEST_BYTES),
            changes,
            (width, height),
            largest,
            subjects,
        )
        results.append((struct.unpack(f"<{count}I", indices), stack))
    return results


def send(stream: IO[bytes], strings: Sequence[bytes]) -> None:
    """Write a message."""
    stream.write(_MARK + struct.pack(f"<{1 + len(strings)}Q", len(strings), *map(len, strings)))
    for string in strings:
        stream.write(string)
    stream.flush()


def receive(stream: IO[bytes]) -> list[bytes]:
    """Read a message; an empty list at the end of the stream.

    Raises struct.error if the stream breaks off, ValueError if no message begins here.
    """
    if not (start := stream.read(len(_MARK) + 8)):
        return []
    if not start.startswith(_MARK):
        raise ValueError("no message begins here")
    count = int.from_bytes(start[len(_MARK) :], "little")
    lengths = struct.unpack(f"<{count}Q", stream.read(8 * count))
    return [*struct.unpack("".join(f"{length}s" for length in lengths), stream.read(sum(lengths)))]
