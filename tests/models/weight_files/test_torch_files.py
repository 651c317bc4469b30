import numpy as np
import pytest

from medjax.models.weight_files.tensors import UnfitError
from medjax.models.weight_files.torch_files import read_torch
from tests.weight_files import (
    described,
    mapping,
    sample_arrays,
    storage,
    tensor,
    torch_pickles,
    torch_zip,
    whole,
    write_torch,
)


@pytest.mark.parametrize("is_zip", [True, False])
def test_both_formats_give_the_arrays_without_counters(is_zip):
    arrays = sample_arrays()
    found = read_torch(write_torch(arrays, is_zip=is_zip))
    assert list(found) == ["conv.weight", "norm.running_mean"]
    assert all(np.array_equal(found[name], arrays[name]) for name in found)
    assert all(each.dtype == np.float32 and each.flags.c_contiguous for each in found.values())


@pytest.mark.parametrize("type_name", ["float64", "float16"])
def test_floats_of_other_sizes_become_float32(type_name):
    array = np.array([1.5, -2.25]).astype(type_name)
    found = read_torch(write_torch({"w": array}))["w"]
    assert found.dtype == np.float32
    assert found.tolist() == [1.5, -2.25]


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_view_is_cut_out_of_its_storage(is_zip):
    numbers = np.arange(12, dtype=np.float32)
    stored = storage("0", size=12, view=b"" if is_zip else b"N")
    value = mapping({"w": tensor(stored, 1, (2, 3), (1, 4))})
    content = (
        torch_zip(value, {"0": numbers.tobytes()})
        if is_zip
        else torch_pickles(value, [("0", 12, numbers.tobytes())])
    )
    np.testing.assert_array_equal(read_torch(content)["w"], [[1, 5, 9], [2, 6, 10]])


def test_shared_weights_and_empty_tensors_are_read():
    stored = storage("0", size=4)
    value = mapping({"a": tensor(stored), "b": tensor(stored), "c": tensor(stored, 0, (0, 5), (5, 1))})
    found = read_torch(torch_zip(value, {"0": np.arange(4, dtype=np.float32).tobytes()}))
    assert found["a"].tolist() == found["b"].tolist() == [[0, 1], [2, 3]]
    assert found["c"].shape == (0, 5)


@pytest.mark.parametrize("name", ["state_dict", "model"])
@pytest.mark.parametrize("is_zip", [True, False])
def test_weights_are_taken_out_of_a_training_scripts_checkpoint(name, is_zip):
    arrays = {f"module.{key}": array for key, array in sample_arrays().items()}
    inner = described(arrays, view=b"" if is_zip else b"N")
    value = mapping({"epoch": whole(3), name: inner}, ordered=False)
    found = read_torch(write_torch(arrays, is_zip=is_zip, value=value))
    assert list(found) == ["conv.weight", "norm.running_mean"]


def test_a_network_with_a_part_called_model_is_no_checkpoint():
    found = read_torch(write_torch({"model": np.ones(2, np.float32)}))
    assert found["model"].tolist() == [1, 1]


@pytest.mark.parametrize("is_zip", [True, False])
def test_damage_is_refused_or_harmless(is_zip):
    """A flipped byte is refused, or changes names and numbers alone: nothing else is ever raised."""
    generator = np.random.default_rng(0)
    sound = write_torch(sample_arrays(), is_zip=is_zip)
    for _ in range(100):
        data = bytearray(sound)
        data[generator.integers(len(data))] = generator.integers(256)
        try:
            found = read_torch(bytes(data))
        except UnfitError:
            continue
        assert sum(array.size for array in found.values()) <= 2 * 58
