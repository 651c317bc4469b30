"""Kernels that are compiled beside other work are there when they are needed."""

import threading

import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.cpu_kernels import availability, compiling, machine_code
from medjax.training.compilation import compile_program


def sum_of(shape):
    """A program whose sum is a kernel's, of a shape that no other test has."""
    return compile_program(lambda array: array.sum(0)), jnp.ones(shape, jnp.float32)


def test_a_job_is_waited_for_at_the_end_of_the_context():
    may_end, has_ended = threading.Event(), []

    def job():
        assert may_end.wait(10)
        has_ended.append(True)

    with compiling.compile_beside():
        compiling.require(compiling.start(job))
        assert not has_ended
        may_end.set()
    assert has_ended


def test_outside_of_the_context_it_is_waited_for_at_once():
    has_ended = []
    compiling.require(compiling.start(lambda: has_ended.append(True)))
    assert has_ended


def test_an_error_comes_out_of_the_context():
    def fail():
        raise ValueError("no such job")

    with pytest.raises(ValueError, match="no such job"), compiling.compile_beside():
        compiling.require(compiling.start(fail))


def test_a_kernel_that_fails_beside_leaves_the_program_to_the_library(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("LLVM ERROR: no such instruction")

    monkeypatch.setattr(machine_code, "load", fail)
    monkeypatch.setattr(availability, "_failure", None)
    program, array = sum_of((1021, 33))
    with pytest.warns(RuntimeWarning, match="no such instruction"):
        compiled = program.lower(array).compile()
    np.testing.assert_array_equal(compiled(array), np.full(33, 1021))
    assert "medjax_" not in compiled.as_text()
