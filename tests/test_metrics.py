"""Metrics against scikit-learn, and the arithmetic of merging."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from medjax.metrics import Sums, accuracy, add_sums, class_rates, mean_loss, sum_batch, zero_sums


def random_batch(seed, n=50, num_classes=4):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, num_classes)).astype(np.float32)
    labels = generator.integers(0, num_classes, n).astype(np.int32)
    mask = generator.random(n) < 0.7
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    losses = -np.log(probabilities[np.arange(n), labels])
    return losses, logits, labels, mask, probabilities


@pytest.mark.parametrize("seed", range(3))
def test_sums_agree_with_scikit_learn(seed):
    losses, logits, labels, mask, probabilities = random_batch(seed)
    sums = sum_batch(*map(jnp.asarray, (losses, logits, labels, mask)))
    predicted = logits.argmax(1)
    assert np.array_equal(sums.confusion, confusion_matrix(labels[mask], predicted[mask], labels=range(4)))
    assert sums.num_images == mask.sum()
    assert accuracy(sums) == pytest.approx((labels == predicted)[mask].mean())
    assert mean_loss(sums) == pytest.approx(
        log_loss(labels[mask], probabilities[mask], labels=range(4)), rel=1e-5
    )


@given(st.integers(0, 1000), st.integers(0, 50))
@settings(deadline=None, max_examples=20)
def test_sums_of_parts_are_the_sums_of_the_whole(seed, cut):
    losses, logits, labels, mask, _ = random_batch(seed)
    is_first = np.arange(50) < cut
    whole, first, second = (
        sum_batch(*map(jnp.asarray, (losses, logits, labels, part)))
        for part in (mask, mask & is_first, mask & ~is_first)
    )
    merged = add_sums(first, second)
    assert np.array_equal(whole.confusion, merged.confusion)
    assert float(whole.loss) == pytest.approx(float(merged.loss), rel=1e-5)


def test_masked_images_count_for_nothing_even_if_their_loss_is_nan():
    losses, logits, labels, mask, _ = random_batch(0)
    clean = sum_batch(*map(jnp.asarray, (losses, logits, labels, mask)))
    dirty = sum_batch(*map(jnp.asarray, (np.where(mask, losses, np.nan), logits, labels, mask)))
    assert clean.loss == dirty.loss


def test_nothing_has_loss_and_accuracy_zero():
    assert mean_loss(zero_sums(3)) == accuracy(zero_sums(3)) == 0


def test_leading_axes_are_folds():
    sums = [sum_batch(*map(jnp.asarray, random_batch(seed)[:4])) for seed in range(2)]
    stacked = Sums(*(jnp.stack(leaves) for leaves in zip(*sums, strict=True)))
    assert np.array_equal(accuracy(stacked), [accuracy(each) for each in sums])
    assert np.array_equal(stacked.num_images, [each.num_images for each in sums])


@pytest.mark.parametrize("seed", range(3))
def test_class_rates_agree_with_scikit_learn(seed):
    _, logits, labels, _, _ = random_batch(seed)
    predicted = logits.argmax(1)
    rates = class_rates(confusion_matrix(labels, predicted))
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted)
    np.testing.assert_allclose(rates.precision, precision)
    np.testing.assert_allclose(rates.recall, recall)
    np.testing.assert_allclose(rates.f1, f1)
    for label in range(4):
        others = labels != label
        assert rates.specificity[label] == pytest.approx((predicted[others] != label).mean())


def test_rates_without_a_denominator_are_undefined_not_zero():
    rates = class_rates(np.array([[5, 0], [0, 0]]))
    assert np.isnan(rates.recall[1])
    assert np.isnan(rates.precision[1])
    assert np.isnan(rates.specificity[0])
    assert rates.recall[0] == 1
