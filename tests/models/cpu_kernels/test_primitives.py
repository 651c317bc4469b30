"""Which of two functions runs, seen by results that differ; and a linear function with a transpose of its own."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.cpu_kernels import availability
from medjax.models.cpu_kernels.availability import KernelError
from medjax.models.cpu_kernels.primitives import linear_call, native_call

NUMBERS = jnp.arange(1.0, 4.0)
ONE = jnp.ones(())
MATRIX = jnp.asarray([[1.0, 2.0, 0.0], [0.0, 3.0, 1.0]])


def twin(first, second):
    return {"sum": first + second, "product": first * second}


def native(first, second):
    """As the twin, but told apart by 100 added to each result."""
    return jax.tree.map(lambda array: array + 100, twin(first, second))


def untouched(*arrays):
    raise AssertionError("native was traced")


def call(first, second):
    return native_call(native, twin, first, second)


def is_native(first, second, transform=lambda function: function):
    """Whether a call of these arrays runs `native`; fails if results are neither's."""
    # A new function each time, which JAX has compiled for no other test.
    got = jax.jit(transform(functools.partial(native_call, native, twin)))(first, second)
    expected = transform(twin)(first, second)
    [difference] = {
        number
        for name in got
        for number in np.asarray(got[name] - expected[name], np.float32).ravel().tolist()
    }
    return {0: False, 100: True}[difference]


def warnings_of(check, arguments):
    """What is warned of, before the colon, while `check` is called with one argument after the other."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for argument in arguments:
            check(argument)
    return [str(warning.message).partition(": XLA's convolutions run")[0] for warning in caught]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    """No failures or warnings of other tests."""
    monkeypatch.setattr(availability, "_failure", None)
    availability.warn_once.cache_clear()
    yield
    availability.warn_once.cache_clear()


def test_programs_for_the_cpu_run_kernels():
    assert is_native(NUMBERS, NUMBERS)
    assert call(NUMBERS, NUMBERS)["sum"].tolist() == [102, 104, 106]  # without jit, too


def test_without_wish_for_kernels_the_twin_runs(monkeypatch):
    monkeypatch.setenv(availability.VARIABLE, "0")
    assert not is_native(NUMBERS, NUMBERS)


@pytest.mark.parametrize("platforms", [("cpu",), ("cuda",), ("tpu",), ("cpu", "cuda")])
def test_exported_programs_get_the_twin(platforms):
    exported = jax.export.export(
        jax.jit(functools.partial(native_call, untouched, twin)), platforms=platforms
    )(NUMBERS, NUMBERS)
    if "cpu" in platforms:
        assert exported.call(NUMBERS, NUMBERS)["sum"].tolist() == [2, 4, 6]
    assert is_native(NUMBERS, NUMBERS)  # the export changes nothing for the process itself


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_programs_for_other_platforms_get_the_twin(platform):
    traced = jax.jit(functools.partial(native_call, untouched, twin)).trace(NUMBERS, NUMBERS)
    assert "stablehlo.multiply" in traced.lower(lowering_platforms=(platform,)).as_text()


def test_tracing_does_not_trace_the_native_function():
    function = functools.partial(native_call, untouched, twin)
    jax.make_jaxpr(jax.grad(lambda *arrays: function(*arrays)["sum"].sum()))(NUMBERS, NUMBERS)
    jax.eval_shape(function, NUMBERS, NUMBERS)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_dtypes_get_the_twin_and_one_warning(dtype):
    def check(length):
        assert not is_native(*[jnp.ones(length, dtype)] * 2)

    assert warnings_of(check, [2, 3, 4]) == [f"CPU kernels are for float32, not {dtype}"]


def test_float64_gets_the_twin():
    with jax.enable_x64(True), pytest.warns(RuntimeWarning, match=r"not float64: XLA's convolutions run"):
        assert not is_native(*[jnp.ones(3, jnp.float64)] * 2)


def test_empty_arrays_get_the_twin():
    empty = jnp.ones((0, 3))
    assert native_call(untouched, twin, empty, empty)["sum"].shape == (0, 3)


def test_where_llvm_is_missing_the_twin_runs_with_one_warning(monkeypatch):
    def check(length):
        assert not is_native(*[jnp.ones(length)] * 2)

    monkeypatch.setattr(availability, "missing", lambda: "llvmlite cannot be loaded (not installed)")
    assert warnings_of(check, [2, 3]) == ["llvmlite cannot be loaded (not installed)"]


def test_after_one_kernel_failed_twins_run_with_one_warning():
    tried = []

    def fail(*arrays):
        tried.append(arrays)
        raise KernelError("the CPU kernel x cannot be used (API version)")

    def check(length):
        numbers = jnp.ones(length)
        got = jax.jit(functools.partial(native_call, fail, twin))(numbers, numbers)
        assert got["sum"].tolist() == [2] * length

    assert warnings_of(check, [2, 3]) == ["the CPU kernel x cannot be used (API version)"]
    assert len(tried) == 1


def test_other_errors_are_not_hidden():
    def fail(*arrays):
        raise TypeError("a mistake")

    with pytest.raises(TypeError, match="a mistake"):
        jax.jit(functools.partial(native_call, fail, twin))(NUMBERS, NUMBERS)


@pytest.mark.parametrize(("axes", "shapes"), [((0, 0), ((4, 3), (4, 3))), ((1, None), ((3, 4), (3,)))])
def test_batches_run_kernels_too(axes, shapes):
    arrays = [jnp.asarray(np.random.default_rng(0).integers(0, 9, shape), jnp.float32) for shape in shapes]
    assert is_native(*arrays, transform=functools.partial(jax.vmap, in_axes=axes))

    outer_axes = [None if axis is None else 0 for axis in axes]
    stacked = [
        array if axis is None else jnp.stack([array, 2 * array])
        for array, axis in zip(arrays, outer_axes, strict=True)
    ]

    def batch_twice(function):
        return jax.vmap(jax.vmap(function, in_axes=axes), in_axes=outer_axes)

    assert is_native(*stacked, transform=batch_twice)


def test_loops_run_kernels_too():
    def total(function, numbers):
        return jax.lax.fori_loop(
            0, 3, lambda _, total: total + function(numbers, numbers)["sum"], jnp.zeros(3)
        )

    assert (jax.jit(functools.partial(total, call))(NUMBERS) - total(twin, NUMBERS)).tolist() == [300] * 3


def test_derivatives_are_those_of_the_twin():
    def product(function):
        return lambda first, second: function(first, second)["product"].sum()

    assert jax.grad(product(call))(NUMBERS, 2 * NUMBERS).tolist() == [2, 4, 6]
    got = jax.hessian(product(call), argnums=(0, 1))(NUMBERS, NUMBERS)
    expected = jax.hessian(product(twin), argnums=(0, 1))(NUMBERS, NUMBERS)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_arrays_of_integers_have_no_tangent():
    def classes(numbers, indices):
        return numbers[indices], (2 * indices).astype(jnp.int8)

    def total(numbers):
        values, doubled = native_call(classes, classes, numbers, jnp.asarray([2, 0], jnp.int8))
        return (values * doubled).sum()

    assert jax.grad(total)(NUMBERS).tolist() == [0, 0, 4]


# A linear function of a vector and a number, and its transpose, told apart from JAX's own by a factor of 10.


def weigh(matrix, vector, number):
    return matrix @ vector + number


def weigh_transpose(matrix, cotangent):
    return 10 * cotangent @ matrix, 10 * cotangent.sum()


def weighed(vector, number, matrix=MATRIX):
    return linear_call(weigh, weigh_transpose, [matrix], [vector, number])


@pytest.mark.parametrize("function", [weighed, jax.jit(weighed)], ids=["eager", "jit"])
def test_linear_calls_have_the_values_of_the_function_and_its_tangents(function):
    value, tangent = jax.jvp(lambda vector: function(vector, ONE), [NUMBERS], [jnp.ones(3)])
    assert value.tolist() == [6, 10]
    assert tangent.tolist() == [3, 3 + 1]


def test_their_transpose_is_the_one_given():
    vector, number = jax.linear_transpose(weighed, NUMBERS, ONE)(jnp.ones(2))
    assert (vector.tolist(), number.tolist()) == ([10, 50, 10], 20)
    [vector] = jax.linear_transpose(lambda vector: weighed(vector, 0 * ONE), NUMBERS)(jnp.ones(2))
    assert vector.tolist() == [10, 50, 10]


def test_batches_of_linear_calls_are_transposed_example_by_example():
    vectors = jnp.stack([NUMBERS, 2 * NUMBERS])
    batched = jax.vmap(weighed, in_axes=(0, None))
    assert batched(vectors, ONE).tolist() == [[6, 10], [11, 19]]
    got = jax.linear_transpose(batched, vectors, ONE)(jnp.ones((2, 2)))
    assert (got[0].tolist(), got[1].tolist()) == ([[10, 50, 10]] * 2, 40)  # the number serves both examples
    matrices = jnp.stack([MATRIX, 2 * MATRIX], axis=-1)
    batched = jax.vmap(lambda vector, matrix: weighed(vector, ONE, matrix), in_axes=(None, 2), out_axes=1)
    assert batched(NUMBERS, matrices).tolist() == [[6, 11], [10, 19]]
    [vector] = jax.linear_transpose(lambda vector: batched(vector, matrices), NUMBERS)(jnp.ones((2, 2)))
    assert vector.tolist() == [30, 150, 30]


def test_linear_calls_in_a_scan_are_transposed():
    def total(vector, number):
        return jax.lax.scan(
            lambda carry, scale: (carry + weighed(scale * vector, number), None), jnp.zeros(2), NUMBERS
        )[0]

    vector, number = jax.linear_transpose(total, NUMBERS, ONE)(jnp.ones(2))
    assert (vector.tolist(), number.tolist()) == ([60, 300, 60], 60)


def test_residuals_of_linear_calls_have_tangents_too():
    def total(matrix):
        return (linear_call(weigh, weigh_transpose, [matrix], [NUMBERS, ONE]) ** 2).sum()

    np.testing.assert_allclose(
        jax.grad(total)(MATRIX), jax.grad(lambda m: (weigh(m, NUMBERS, ONE) ** 2).sum())(MATRIX)
    )


def test_under_a_mesh_axis_of_one_device_both_work():
    mesh = jax.make_mesh((1,), ("device",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("device")
    for check_vma in (False, True):
        mapped = jax.shard_map(
            lambda numbers: call(numbers, numbers)["sum"] + weighed(numbers, ONE).sum(),
            mesh=mesh,
            in_specs=spec,
            out_specs=spec,
            check_vma=check_vma,
        )
        assert jax.jit(mapped)(NUMBERS).tolist() == [118, 120, 122]
