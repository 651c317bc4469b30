import collections
import pickle

import numpy as np
import pytest

from medjax.models.weight_files.pickled import read_pickle
from medjax.models.weight_files.tensors import UnfitError
from tests.weight_files import described, name, pickled, sample_arrays, storage, tensor

PLAIN = {
    "epoch": 90,
    "arch": "resnet50",
    "lr": 0.1,
    "betas": (0.9, 0.999),
    "groups": [{"params": [0, 1, 2], "nesterov": False, "foreach": None}],
    3: collections.OrderedDict(a=1, b=2),
    "large": 2**65,
}


def test_plain_values_are_what_python_reads():
    assert read_pickle(pickle.dumps(PLAIN, protocol=2)).value == PLAIN


def test_an_ordered_dict_as_python_2_wrote_it():
    pairs = b"(]" + b"](U\x01aK\x01ea" + b"](U\x01bK\x02ea" + b"t"
    assert read_pickle(pickled(name("collections", "OrderedDict") + pairs + b"R")).value == {"a": 1, "b": 2}


def test_attributes_of_an_ordered_dict_are_left_out():
    ordered = collections.OrderedDict(a=1)
    ordered._metadata = {"": {"version": 1}}
    assert read_pickle(pickle.dumps(ordered, protocol=2)).value == {"a": 1}


def test_tensors_name_their_storages():
    found = read_pickle(pickled(described(sample_arrays())))
    assert [each.shape for each in found.value.values()] == [(3, 2, 3, 3), (3,), ()]
    assert [each.kind.name for each in found.storages.values()] == ["float32", "float32", "int64"]


@pytest.mark.parametrize("function", ["_rebuild_tensor", "_rebuild_tensor_v2"])
def test_both_ways_to_name_a_tensor(function):
    assert read_pickle(pickled(tensor(function=function))).value.strides == (2, 1)


def test_a_parameter_is_its_tensor():
    value = name("torch._utils", "_rebuild_parameter") + b"(" + tensor() + b"\x88"
    value += name("collections", "OrderedDict") + b")R" + b"tR"
    assert read_pickle(pickled(value)).value.shape == (2, 2)


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "is_sound"),
    [
        (0, (2, 2), (2, 1), True),
        (0, (2, 2), (1, 2), True),
        (3, (1,), (1,), True),
        (3, (), (), True),
        (4, (0,), (1,), True),
        (0, (0, 2**30), (1, 1), True),
        (4, (), (), False),
        (0, (3,), (2,), False),
        (1, (2, 2), (2, 1), False),
        (0, (5,), (0,), False),
    ],
)
def test_a_tensor_lies_within_its_storage(offset, shape, strides, is_sound):
    data = pickled(tensor(storage(size=4), offset, shape, strides))
    if is_sound:
        assert read_pickle(data).value.shape == shape
    else:
        with pytest.raises(UnfitError, match="beyond its storage"):
            read_pickle(data)


def test_damage_never_raises_anything_else():
    generator = np.random.default_rng(0)
    sound = pickled(described(sample_arrays()))
    for _ in range(500):
        data = bytearray(sound)
        for _ in range(generator.integers(1, 4)):
            data[generator.integers(len(data))] = generator.integers(256)
        try:
            read_pickle(bytes(data))
        except UnfitError:
            continue
