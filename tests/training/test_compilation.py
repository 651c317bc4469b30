"""How programs are compiled."""

import jax
import jax.numpy as jnp
import pytest

from medjax.training import compilation
from medjax.training.compilation import Lifted, Numerics, compile_program, compiler_options


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


def test_a_gpu_is_asked_for_the_same_bits_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler_options() == {"xla_gpu_deterministic_ops": True}
    assert compiler_options(is_deterministic=False) == {}


@pytest.mark.parametrize(
    ("compute", "precision"), [("f32", "HIGHEST"), ("tf32", "HIGH"), ("bf16", "HIGHEST")]
)
def test_products_are_in_the_arithmetic_that_is_asked_for_but_on_a_cpu(compute, precision, monkeypatch):
    square = jnp.ones((2, 2))
    with jax.default_matmul_precision("bfloat16"):  # what a user may have set
        plain = compile_program(jnp.matmul, numerics=Numerics(compute)).lower(square, square).as_text()
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        text = compile_program(jnp.matmul, numerics=Numerics(compute)).lower(square, square).as_text()
    assert f"precision = [{precision}, {precision}]" in text
    assert "HIGH" not in plain
