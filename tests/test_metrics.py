"""Metrics against scikit-learn, and the arithmetic of merging."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
)

from medjax.metrics import Sums, add_sums, class_rates, sum_batch, zero_sums

METRICS = [operator.attrgetter(name) for name in ("accuracy", "balanced_accuracy", "macro_f1", "mean_loss")]


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
    assert sums.accuracy == pytest.approx((labels == predicted)[mask].mean())
    assert sums.mean_loss == pytest.approx(
        log_loss(labels[mask], probabilities[mask], labels=range(4)), rel=1e-5
    )


def test_numpy_sums_give_the_same_numbers_and_stay_on_the_host():
    sums = sum_batch(*map(jnp.asarray, random_batch(0)[:4]))
    for measure in METRICS:
        on_host = measure(jax.tree.map(lambda leaf: np.asarray(leaf)[None], sums))
        assert type(on_host) is np.ndarray
        assert on_host[0] == pytest.approx(float(measure(sums)), rel=1e-6)


def test_sums_of_one_set_print_as_plain_numbers_and_those_of_folds_or_of_a_trace_do_not_fail():
    sums = Sums(jnp.float32(150.0), jnp.array([[600, 100], [200, 600]], jnp.int32))
    assert str(sums) == "loss 0.1000, accuracy 0.8000 (1,500 images)"
    assert str(jax.tree.map(np.asarray, sums)) == str(sums)
    assert str(jax.tree.map(lambda leaf: leaf[None], sums)).startswith("Sums(loss=")
    seen = []
    jax.eval_shape(lambda sums: seen.append(str(sums)), sums)
    assert seen[0].startswith("Sums(loss=")


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


def sums_of(truth, predicted, num_classes):
    """Sums without a loss."""
    return Sums(
        jnp.float32(0), jnp.asarray(confusion_matrix(truth, predicted, labels=range(num_classes)), jnp.int32)
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("true_classes", "called_classes"),
    [
        pytest.param([0, 1, 2, 3], [0, 1, 2, 3], id="all classes"),
        pytest.param([0, 1, 3], [0, 1, 2, 3], id="a class without images is called"),
        pytest.param([0, 1, 2, 3], [0, 3], id="classes with images are never called"),
        pytest.param([1, 2], [1, 2], id="classes that do not occur"),
        pytest.param([2], [2], id="one class, always right"),
        pytest.param([2], [0, 1], id="one class, never right"),
    ],
)
# scikit-learn warns of what the cases are about: classes called that have no images, and a single class.
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
def test_means_over_classes_agree_with_scikit_learn(true_classes, called_classes, seed):
    generator = np.random.default_rng(seed)
    truth = generator.choice(true_classes, 40)
    predicted = np.where(generator.random(40) < 0.5, truth, generator.choice(called_classes, 40))
    predicted = np.where(np.isin(predicted, called_classes), predicted, called_classes[0])
    sums = sums_of(truth, predicted, num_classes=4)
    assert sums.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert sums.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_of_nothing_is_zero(metric):
    assert metric(zero_sums(3)) == 0


@pytest.mark.parametrize("metric", METRICS)
def test_leading_axes_are_folds(metric):
    sums = [sum_batch(*map(jnp.asarray, random_batch(seed)[:4])) for seed in range(5)]
    sums.append(zero_sums(4))
    stacked = Sums(*(jnp.stack(leaves).reshape(2, 3, *leaves[0].shape) for leaves in zip(*sums, strict=True)))
    alone = np.reshape([metric(each) for each in sums], (2, 3))
    np.testing.assert_allclose(metric(stacked), alone, rtol=1e-6)
    assert np.array_equal(jax.vmap(jax.vmap(metric))(stacked), metric(stacked))


def test_leading_axes_of_the_number_of_images_are_folds():
    sums = [sum_batch(*map(jnp.asarray, random_batch(seed)[:4])) for seed in range(2)]
    stacked = Sums(*(jnp.stack(leaves) for leaves in zip(*sums, strict=True)))
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
