import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save

from medjax.models.weight_files.safetensors_files import read_safetensors
from medjax.models.weight_files.tensors import UnfitError
from tests.weight_files import sample_arrays


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", ml_dtypes.bfloat16])
def test_what_the_package_writes_is_read_as_float32(kind):
    array = np.array([[1.5, -2.25, 3.0]]).astype(kind)
    found = read_safetensors(save({"w": array}, metadata={"format": "pt"}))["w"]
    assert found.dtype == np.float32
    assert found.tolist() == [[1.5, -2.25, 3.0]]


def test_counters_are_left_out():
    arrays = sample_arrays()
    found = read_safetensors(save(arrays))
    assert sorted(found) == ["conv.weight", "norm.running_mean"]
    assert all(np.array_equal(found[name], arrays[name]) for name in found)


def test_damage_is_refused_or_harmless():
    generator = np.random.default_rng(0)
    sound = save(sample_arrays())
    for _ in range(300):
        data = bytearray(sound)
        data[generator.integers(len(data))] = generator.integers(256)
        try:
            found = read_safetensors(bytes(data))
        except UnfitError:
            continue
        assert sum(array.size for array in found.values()) <= 58
