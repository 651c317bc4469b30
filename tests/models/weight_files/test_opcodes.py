import pickle
import pickletools

import numpy as np
import pytest

from medjax.models.weight_files.opcodes import read_opcodes
from medjax.models.weight_files.tensors import UnfitError

VALUES = [
    {"a": (1, 2.5, None, True, False), "b": [-7, 300, 70_000, 2**70], "ü": ("x", "y", "z", "x")},
    [{} for _ in range(300)],  # more than 256 entries of the memo
]


@pytest.mark.parametrize("value", VALUES)
def test_the_same_as_pythons_own_tokenizer(value):
    data = b"before" + pickle.dumps(value, protocol=2) + b"after"
    found = list(read_opcodes(data, 6))
    expected = list(pickletools.genops(data[6:-5]))
    assert [code.decode("latin-1") for code, _, _ in found] == [opcode.code for opcode, _, _ in expected]
    assert [argument for _, argument, _ in found] == [argument for _, argument, _ in expected]
    assert found[-1][2] == len(data) - 5


def test_an_opcode_is_known_or_refused_before_its_argument_is_read():
    known = b"()]}t\x85\x86\x87aeusN\x88\x89RbQ.\x80JKMG\x8aXUTqrhjc"
    for number in range(256):
        data = bytes([number]) + b"\x01\x00\x00\x00\x01\x00\x00\x00\n\n" + b"."
        if number in known:
            assert next(read_opcodes(data, 0))[0] == bytes([number])
        else:
            with pytest.raises(UnfitError, match="more than hold tensors"):
                next(read_opcodes(data, 0))


def test_damage_never_raises_anything_else():
    generator = np.random.default_rng(0)
    sound = pickle.dumps(VALUES[0], protocol=2)
    for _ in range(500):
        data = bytearray(sound)
        data[generator.integers(len(data))] = generator.integers(256)
        try:
            list(read_opcodes(bytes(data), 0))
        except UnfitError:
            continue
