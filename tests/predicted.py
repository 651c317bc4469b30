"""Predictions of models that exist on paper only."""

import numpy as np

from medjax.records import Predictions


def make_predictions(
    seed=0, n=200, shares=(1 / 3, 1 / 3, 1 / 3), separation=1.5, group_size=1, sharpness=1.0
):
    """Posterior probabilities of classes whose features are normal around `separation` in a direction of their own.

    They are perfectly calibrated at `sharpness` 1. Images of a group, `group_size` in a row, have one class and half of
    their noise in common.
    """
    generator = np.random.default_rng(seed)
    num_classes, num_groups = len(shares), n // group_size
    labels = generator.choice(num_classes, num_groups, p=shares).repeat(group_size).astype(np.int32)
    noise = generator.normal(size=(len(labels), num_classes))
    if group_size > 1:
        common = generator.normal(size=(num_groups, num_classes)).repeat(group_size, axis=0)
        noise = (noise + common) / np.sqrt(2)
    features = noise + separation * np.eye(num_classes)[labels]
    with np.errstate(divide="ignore"):  # of a class with no share
        logits = sharpness * (separation * features + np.log(shares))
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32)
    losses = -np.log(probabilities[np.arange(len(labels)), labels])
    return Predictions(np.arange(len(labels)), labels, probabilities, losses)


def make_label_predictions(seed=0, n=300, shares=(0.5, 0.3, 0.15), unknown=0.0, separation=1.5):
    """Probabilities of several labels that are independent of one another; a share of the labels is not known."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((n, len(shares))) < shares).astype(np.int32)
    logits = np.log(np.divide(shares, np.subtract(1, shares)))
    logits = logits + separation * (generator.normal(size=labels.shape) + separation * (labels - 0.5))
    probabilities = (1 / (1 + np.exp(-logits))).astype(np.float32)
    labels[generator.random(labels.shape) < unknown] = -1
    entropies = -np.log(np.where(labels == 1, probabilities, 1 - probabilities)) * (labels >= 0)
    losses = entropies.sum(axis=1) / np.maximum((labels >= 0).sum(axis=1), 1)
    return Predictions(np.arange(n), labels, probabilities, losses.astype(np.float32))
