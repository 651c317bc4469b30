"""Instructions of a kernel, each compiled, run and compared with NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.cpu_kernels import emitter
from medjax.models.cpu_kernels.emitter import FLOAT, INT, constant
from medjax.models.cpu_kernels.ffi_call import call_kernel

NUMBERS = np.random.default_rng(0).normal(size=(7, 24)).astype(np.float32)


def run(kernel, *arrays, shape=NUMBERS.shape):
    """What a kernel computes from arrays whose first axis is the image."""

    @jax.jit
    def program(*arrays):
        return call_kernel(kernel, [jax.ShapeDtypeStruct(shape, jnp.float32)], arrays)

    return np.asarray(program(*arrays)[0])


def test_loops_run_over_a_range():
    def count_iterations(emit, buffers, first, stop, task):
        bounds, iterations = buffers
        with emit.for_range(first, stop) as image:
            begin, end = (emit.builder.fptosi(emit.load(bounds, image, index), INT) for index in range(2))
            total = emit.variable(FLOAT(0.0))
            with emit.for_range(begin, end):
                emit.write(emit.builder.fadd(emit.read(total), FLOAT(1.0)), total)
            emit.store(emit.read(total), iterations, image)

    bounds = np.array([[0, 0], [0, 1], [0, 5], [2, 5], [5, 2], [-2, 3]], np.float32)
    assert run(count_iterations, bounds, shape=(6, 1)).ravel().tolist() == [0, 1, 5, 3, 0, 5]


def test_the_smaller_of_two_indices_bounds_a_loop():
    def fill_some(emit, buffers, first, stop, task):
        limits, filled = buffers
        with emit.for_range(first, stop) as image:
            with emit.for_range(0, 8) as index:
                emit.store(FLOAT(0.0), filled, image, index)
            limit = emit.builder.fptosi(emit.load(limits, image), INT)
            with emit.for_range(0, emit.minimum(limit, 5)) as index:
                emit.store(FLOAT(1.0), filled, image, index)

    limits = np.array([[0], [4], [5], [9]], np.float32)
    assert run(fill_some, limits, shape=(4, 8)).sum(1).tolist() == [0, 4, 5, 5]


def test_tables_give_the_order_in_which_numbers_are_read():
    order = [3, 1, 2, 0]

    def reorder(emit, buffers, first, stop, task):
        images, ordered = buffers
        table = emit.constants(order)
        with emit.for_range(first, stop) as image, emit.for_range(0, len(order)) as index:
            emit.store(emit.load(images, image, emit.load(table, index)), ordered, image, index)

    assert np.array_equal(run(reorder, NUMBERS[:, :4], shape=(7, 4)), NUMBERS[:, order])


def test_scratch_holds_numbers_and_vectors():
    lanes = 4

    def reverse(emit, buffers, first, stop, task):
        images, backwards = buffers
        row = emit.scratch(FLOAT, (24,))
        with emit.for_range(first, stop) as image:
            for index in range(0, 24, lanes):
                emit.store(emit.load(images, image, index, lanes=lanes), row, 24 - lanes - index)
            with emit.for_range(0, 24) as index:
                emit.store(emit.load(row, index), backwards, image, index)

    expected = NUMBERS.reshape(7, -1, lanes)[:, ::-1].reshape(7, 24)
    assert np.array_equal(run(reverse, NUMBERS), expected)


def test_products_are_added_in_every_lane():
    lanes = emitter.vector_lanes(24)

    def add_products(emit, buffers, first, stop, task):
        images, sums = buffers
        with emit.for_range(first, stop) as image, emit.for_range(0, 24 // lanes) as vector:
            element = emit.sum((vector, lanes))
            value = emit.load(images, image, element, lanes=lanes)
            scalar = emit.broadcast(emit.load(images, image), lanes)
            emit.store(emit.add_product(constant(FLOAT, 1.5, lanes), scalar, value), sums, image, element)

    expected = 1.5 + NUMBERS[:, :1] * NUMBERS
    np.testing.assert_allclose(run(add_products, NUMBERS), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 6, 12, 24, 48, 49, 64])
def test_lanes_divide_a_row(length):
    assert length % emitter.vector_lanes(length) == 0
    assert emitter.vector_lanes(64) == emitter.vector_lanes(48) in (8, 16)


def test_constant_vectors_hold_their_number_in_every_lane():
    assert str(constant(FLOAT, 1.5, 4)).count("0x3ff8000000000000") == 4
