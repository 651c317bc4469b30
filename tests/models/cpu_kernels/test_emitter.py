"""Instructions of a kernel, each compiled, run and held against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.cpu_kernels import emitter
from medjax.models.cpu_kernels import ffi_call as native
from medjax.models.cpu_kernels.emitter import FLOAT, INT, constant

NUMBERS = np.random.default_rng(0).normal(size=(7, 24)).astype(np.float32)


def run(kernel, *arrays, shape=NUMBERS.shape):
    """What a kernel makes of arrays whose first axis is the images'."""

    @jax.jit
    def program(*arrays):
        return native.run(kernel, [jax.ShapeDtypeStruct(shape, jnp.float32)], arrays)

    return np.asarray(program(*arrays)[0])


def test_loops_run_from_their_start_to_before_their_stop():
    def count_turns(emit, buffers, first, stop, share):
        bounds, turns = buffers
        with emit.each(first, stop) as image:
            begin, end = (emit.builder.fptosi(emit.load(bounds, image, place), INT) for place in range(2))
            total = emit.variable(FLOAT(0.0))
            with emit.each(begin, end):
                emit.write(emit.builder.fadd(emit.read(total), FLOAT(1.0)), total)
            emit.store(emit.read(total), turns, image)

    bounds = np.array([[0, 0], [0, 1], [0, 5], [2, 5], [5, 2], [-2, 3]], np.float32)
    assert run(count_turns, bounds, shape=(6, 1)).ravel().tolist() == [0, 1, 5, 3, 0, 5]


def test_the_smaller_of_two_indices_bounds_a_loop():
    def fill_some(emit, buffers, first, stop, share):
        limits, filled = buffers
        with emit.each(first, stop) as image:
            with emit.each(0, 8) as place:
                emit.store(FLOAT(0.0), filled, image, place)
            limit = emit.builder.fptosi(emit.load(limits, image), INT)
            with emit.each(0, emit.least(limit, 5)) as place:
                emit.store(FLOAT(1.0), filled, image, place)

    limits = np.array([[0], [4], [5], [9]], np.float32)
    assert run(fill_some, limits, shape=(4, 8)).sum(1).tolist() == [0, 4, 5, 5]


def test_tables_give_the_order_in_which_numbers_are_read():
    order = [3, 1, 2, 0]

    def reorder(emit, buffers, first, stop, share):
        images, ordered = buffers
        table = emit.constants(order)
        with emit.each(first, stop) as image, emit.each(0, len(order)) as place:
            emit.store(emit.load(images, image, emit.load(table, place)), ordered, image, place)

    assert np.array_equal(run(reorder, NUMBERS[:, :4], shape=(7, 4)), NUMBERS[:, order])


def test_scratch_holds_numbers_and_vectors():
    lanes = 4

    def turn(emit, buffers, first, stop, share):
        images, turned = buffers
        row = emit.scratch(FLOAT, (24,))
        with emit.each(first, stop) as image:
            for place in range(0, 24, lanes):
                emit.store(emit.load(images, image, place, lanes=lanes), row, 24 - lanes - place)
            with emit.each(0, 24) as place:
                emit.store(emit.load(row, place), turned, image, place)

    expected = NUMBERS.reshape(7, -1, lanes)[:, ::-1].reshape(7, 24)
    assert np.array_equal(run(turn, NUMBERS), expected)


def test_products_are_added_in_every_lane():
    wide = emitter.lanes(24)

    def add_products(emit, buffers, first, stop, share):
        images, sums = buffers
        with emit.each(first, stop) as image, emit.each(0, 24 // wide) as vector:
            place = emit.sum((vector, wide))
            value = emit.load(images, image, place, lanes=wide)
            scalar = emit.spread(emit.load(images, image), wide)
            emit.store(emit.add_product(constant(FLOAT, 1.5, wide), scalar, value), sums, image, place)

    expected = 1.5 + NUMBERS[:, :1] * NUMBERS
    np.testing.assert_allclose(run(add_products, NUMBERS), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 6, 12, 24, 48, 49, 64])
def test_lanes_divide_a_row(length):
    assert length % emitter.lanes(length) == 0
    assert emitter.lanes(64) == emitter.lanes(48) in (8, 16)


def test_a_vector_of_a_number_is_what_it_says():
    assert str(constant(FLOAT, 1.5, 4)).count("0x3ff8000000000000") == 4
