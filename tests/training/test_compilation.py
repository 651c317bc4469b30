"""How programs are compiled."""

import jax
import jax.numpy as jnp

from medjax.training import compilation
from medjax.training.compilation import Lifted, compile_program, compiler_options


def test_a_program_is_called_lowered_and_donates():
    program = compile_program(lambda state, change: state + change, donate=(0,))
    assert isinstance(program, Lifted)
    state = jnp.ones(3)
    assert program(state, 2.0).tolist() == [3, 3, 3]
    assert "stablehlo.add" in program.lower(jnp.ones(3), 2.0).as_text()


def test_its_sums_are_those_of_kernels(monkeypatch):
    monkeypatch.setenv("MEDJAX_CPU_KERNELS", "1")
    text = compile_program(lambda array: array.sum(0)).lower(jnp.ones((2048, 32))).as_text()
    assert "medjax_column_sums" in text


def test_the_effort_is_that_which_is_asked_for():
    assert compiler_options(0)["xla_backend_optimization_level"] == 0
    assert jax.default_backend() == "cpu"


def test_an_option_that_the_compiler_does_not_know_is_left_out(monkeypatch):
    assert not compilation._is_option("xla_cpu_no_such_option")
    monkeypatch.setattr(compilation, "_EMITTERS", "xla_cpu_no_such_option")
    assert compile_program(lambda value: value + 1, effort=0)(1) == 2
