import numpy as np
import pytest

from medjax.models.weight_files.tensors import FLOATS, UnfitError, as_float32, finish, require_shape


@pytest.mark.parametrize("name", ["float64", "float32", "float16"])
def test_floats_of_other_sizes_become_float32(name):
    numbers = np.array([0.5, -3, 1e-4, 6e4]).astype(name)
    found = as_float32(numbers.tobytes(), FLOATS[name])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, numbers.astype(np.float32))


def test_bfloat16_is_the_upper_half_of_a_float32():
    import ml_dtypes

    numbers = np.array([0.5, -3, 1e-4, 1e30, np.pi]).astype(ml_dtypes.bfloat16)
    found = as_float32(numbers.tobytes(), FLOATS["bfloat16"])
    np.testing.assert_array_equal(found, numbers.astype(np.float32))


def test_the_prefix_of_parallel_training_is_dropped_where_all_names_have_it():
    one = np.zeros(1, np.float32)
    assert list(finish({"module.a": one, "module.b": one})) == ["a", "b"]
    assert list(finish({"module.a": one, "b": one})) == ["module.a", "b"]


@pytest.mark.parametrize("shape", [[True], [-1], [1.0], "ab", [2**40], [1] * 9, None])
def test_a_shape_that_is_none_is_refused(shape):
    with pytest.raises(UnfitError):
        require_shape("a tensor", shape)


def test_a_long_name_is_cut():
    with pytest.raises(UnfitError, match="…") as refusal:
        finish({"a" * 1000: "text"})
    assert len(str(refusal.value)) < 200
