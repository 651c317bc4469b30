"""Kernel of JAX's random bits, Threefry-2x32 of 20 rounds (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011).

XLA:CPU runs the rounds as a loop over arrays. Written out instead, they are an expression that LLVM's loop vectorizer, as of
jaxlib 0.12, takes the longer to look at the more rounds there are; with 20 it was not done after an hour.
"""

import functools
from collections.abc import Sequence
from typing import Literal

from llvmlite import ir

from medjax.models.cpu_kernels.emitter import FLOAT, Buffer, Emitter, register_lanes
from medjax.models.cpu_kernels.ffi_call import Kernel

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
_WORD = ir.IntType(32)


@functools.cache
def make_threefry(num_keys: Literal["one", "many"]) -> Kernel:
    """The kernel `counts, keys -> bits`, each a pair of arrays of batch and number: words of 32 bits that pose as float32.

    One key for all is two arrays of one number.
    """

    def threefry(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        counts, keys, results = buffers[:2], buffers[2:4], buffers[4:]
        lanes = register_lanes()
        words = ir.VectorType(_WORD, lanes)
        length = results[0].shape[-1]
        key_of_all = [
            emit.broadcast(emit.builder.bitcast(emit.load(each, 0), _WORD), lanes)
            for each in (keys if num_keys == "one" else ())
        ]
        with emit.for_range(first, stop) as image, emit.for_range(0, -(-length // lanes)) as vector:
            at = image, emit.sum((vector, lanes))

            def load(array: Buffer) -> ir.Value:
                return emit.builder.bitcast(emit.load_within(array, *at, lanes=lanes), words)

            key = key_of_all or [load(each) for each in keys]
            bits = _hash(emit, key, [load(each) for each in counts])
            for each, target in zip(bits, results, strict=True):
                emit.store_within(emit.builder.bitcast(each, ir.VectorType(FLOAT, lanes)), target, *at)

    threefry.__name__ = f"threefry_of_{num_keys}_keys"
    return threefry


def _hash(emit: Emitter, key: Sequence[ir.Value], counts: Sequence[ir.Value]) -> tuple[ir.Value, ir.Value]:
    builder = emit.builder
    keys = [*key, builder.xor(builder.xor(*key), _all(_PARITY, key[0]))]
    first, second = (builder.add(*each) for each in zip(counts, key, strict=True))
    for number in range(5):  # of four rounds each, after which a key is added
        for distance in _ROTATIONS[number % 2]:
            first = builder.add(first, second)
            second = builder.xor(first, _rotate(emit, second, distance))
        first = builder.add(first, keys[(number + 1) % 3])
        second = builder.add(second, keys[(number + 2) % 3])
        second = builder.add(second, _all(number + 1, second))
    return first, second


def _rotate(emit: Emitter, words: ir.Value, distance: int) -> ir.Value:
    left = emit.builder.shl(words, _all(distance, words))
    return emit.builder.or_(left, emit.builder.lshr(words, _all(32 - distance, words)))


def _all(number: int, like: ir.Value) -> ir.Value:
    return ir.Constant(like.type, [number] * like.type.count)
