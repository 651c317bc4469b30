"""What depends on the variables alone is computed before the loop: the same answers, and weights put in order once."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from medjax.models.cpu_kernels import availability
from medjax.models.cpu_kernels.lowering import fast_convolutions
from medjax.models.network import Variables
from medjax.training.batching import Batch
from medjax.training.hoisting import hoist
from medjax.training.learner import Evaluation, make_learner
from medjax.training.optimizers import make_adam

BATCH = Batch(jnp.full((4, 12, 12, 3), 0.5), jnp.zeros(4, jnp.int32), jnp.ones(4, bool))


class Normed(nn.Module):
    """A convolution that has an ending, and one that has none."""

    @nn.compact
    def __call__(self, images, train: bool):
        images = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Conv(20, (3, 3))(images)))
        return nn.Dense(3)(nn.Conv(8, (5, 5))(images).mean((1, 2)))


@pytest.fixture(scope="module")
def learner_and_variables():
    learner = make_learner(Normed(), make_adam(1e-3))
    return learner, learner.init(jax.random.key(0), (12, 12, 3)).variables


def _in_a_loop(step):
    return lax.fori_loop(0, 3, lambda index, total: total + step(BATCH).logits, jnp.zeros((4, 3)))


def test_answers_are_the_same(learner_and_variables):
    learner, variables = learner_and_variables
    with fast_convolutions():
        hoisted = jax.jit(lambda variables: _in_a_loop(hoist(learner.eval_step, variables, BATCH)))(variables)
    plain = 3 * learner.eval_step(variables, BATCH).logits
    np.testing.assert_allclose(hoisted, plain, rtol=1e-4, atol=1e-5)


def test_weights_are_put_in_order_before_the_loop(learner_and_variables):
    if availability.missing():
        pytest.skip(availability.missing())
    learner, variables = learner_and_variables
    with fast_convolutions():
        lowered = jax.jit(lambda variables: _in_a_loop(hoist(learner.eval_step, variables, BATCH))).lower(
            variables
        )
    before, inside = lowered.as_text().split("stablehlo.while", 1)
    assert len(re.findall("medjax_convolution", inside)) >= 2
    assert "stablehlo.transpose" in before
    assert not re.search(r"stablehlo\.transpose.*tensor<[35]x[35]x", inside)


def test_what_would_grow_stays_inside():
    """A constant spread over a batch is cheaper to compute again than to keep."""

    def step(variables, batch):
        spread = jnp.broadcast_to(variables.parameters["a"], (256, 512)) * 2
        return Evaluation(spread.sum() + batch.images.sum((1, 2)), batch.labels)

    variables = Variables({"a": jnp.ones(())}, {})
    jaxpr = jax.make_jaxpr(lambda: _in_a_loop(hoist(step, variables, BATCH)))()
    outside = [equation.primitive.name for equation in jaxpr.jaxpr.eqns]
    assert "broadcast_in_dim" not in outside[1:]  # but for the zeros that the loop starts with


def test_without_kernels_nothing_is_replaced(learner_and_variables):
    learner, variables = learner_and_variables
    hoisted = hoist(learner.eval_step, variables, BATCH)
    assert "ffi_call" not in str(jax.make_jaxpr(hoisted)(BATCH))
    np.testing.assert_allclose(hoisted(BATCH).logits, learner.eval_step(variables, BATCH).logits, rtol=1e-5)
