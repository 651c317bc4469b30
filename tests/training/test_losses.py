"""Losses against SciPy and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from medjax.training.losses import cross_entropy, make_smoothed_cross_entropy

LOGITS = np.random.default_rng(0).normal(0, 3, (7, 4)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 0, 1, 2], np.int32)


def test_cross_entropy_is_the_negative_log_probability_of_the_label():
    expected = -log_softmax(LOGITS.astype(np.float64), axis=1)[np.arange(7), LABELS]
    np.testing.assert_allclose(cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS)), expected, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothing_is_cross_entropy_against_softened_labels(smoothing):
    targets = np.eye(4)[LABELS] * (1 - smoothing) + smoothing / 4
    expected = -(targets * log_softmax(LOGITS.astype(np.float64), axis=1)).sum(axis=1)
    loss = make_smoothed_cross_entropy(smoothing)
    np.testing.assert_allclose(loss(jnp.asarray(LOGITS), jnp.asarray(LABELS)), expected, rtol=1e-5)


def test_a_smoothed_loss_is_least_at_probabilities_that_are_not_certain():
    loss = make_smoothed_cross_entropy(0.2)
    label = jnp.zeros(1, jnp.int32)
    gradient = jax.grad(lambda logits: loss(logits, label).sum())
    logits = jax.lax.fori_loop(0, 500, lambda _, logits: logits - gradient(logits), jnp.zeros((1, 3)))
    np.testing.assert_allclose(jax.nn.softmax(logits)[0], [0.8 + 0.2 / 3, 0.2 / 3, 0.2 / 3], atol=1e-3)
