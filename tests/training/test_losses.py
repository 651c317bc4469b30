"""Losses against SciPy and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_expit, log_softmax

from medjax.training.losses import (
    binary_cross_entropy,
    cross_entropy,
    make_smoothed_binary_cross_entropy,
    make_smoothed_cross_entropy,
    of_images,
)

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


SEVERAL = np.random.default_rng(1).integers(-1, 2, (7, 4)).astype(np.int32)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_cross_entropy_is_scipys_and_unknown_labels_have_none(smoothing):
    loss = make_smoothed_binary_cross_entropy(smoothing) if smoothing else binary_cross_entropy
    targets = SEVERAL * (1 - smoothing) + smoothing / 2
    logits = LOGITS.astype(np.float64)
    expected = -(targets * log_expit(logits) + (1 - targets) * log_expit(-logits)) * (SEVERAL >= 0)
    found = loss(jnp.asarray(LOGITS), jnp.asarray(SEVERAL))
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    mean = expected.sum(axis=1) / np.maximum((SEVERAL >= 0).sum(axis=1), 1)
    np.testing.assert_allclose(of_images(found, jnp.asarray(SEVERAL)), mean, rtol=2e-5)
