"""One line says which layers are slow."""

import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from medjax.models.cpu_kernels.lowering import is_fast
from medjax.models.cpu_kernels.slow_layers import warn_of_slow_layers
from medjax.training.compilation import compile_program


class Volumes(nn.Module):
    """A fast layer, and a slow one."""

    @nn.compact
    def __call__(self, images):
        images = nn.Conv(4, (3, 3), name="fast")(images)
        return nn.Conv(4, (3, 3, 3), name="slow")(images[..., None]).sum()


IMAGES = jnp.ones((2, 6, 6, 3))


def test_a_program_names_its_slow_layers_when_it_is_compiled():
    network = Volumes()
    variables = network.init(jax.random.key(0), IMAGES)

    def train(variables, images):
        def step(_, variables):
            gradient = jax.grad(network.apply)(variables, images)
            return jax.tree.map(lambda value, slope: value - slope, variables, gradient)

        return jax.lax.fori_loop(0, 2, step, variables)

    program = compile_program(train)
    with pytest.warns(RuntimeWarning, match=r"Volumes/slow \(3-dimensional\)") as caught:
        program(variables, IMAGES)
    assert "fast (" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program(variables, IMAGES)  # compiled before


def test_another_dtype_is_named():
    def program(images):
        return nn.Conv(4, (3, 3), dtype=jnp.bfloat16).init_with_output(jax.random.key(0), images)[0]

    with pytest.warns(RuntimeWarning, match="bfloat16"):
        warn_of_slow_layers(jax.make_jaxpr(program)(IMAGES).jaxpr, is_fast)


def test_without_kernels_nothing_is_said(monkeypatch):
    monkeypatch.setenv("MEDJAX_CPU_KERNELS", "0")
    network = Volumes()
    variables = network.init(jax.random.key(0), IMAGES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile_program(network.apply)(variables, IMAGES)


def test_strides_and_dilation_together_are_named():
    def program(images, weights):
        outputs = jax.lax.conv_general_dilated(
            images, weights, (2, 2), "SAME", rhs_dilation=(2, 2), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return outputs.sum()

    gradient = jax.make_jaxpr(jax.grad(program))(IMAGES, jnp.ones((3, 3, 3, 4)))
    with pytest.warns(RuntimeWarning, match="strided and dilated"):
        warn_of_slow_layers(gradient.jaxpr, is_fast)
