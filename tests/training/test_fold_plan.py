"""A fold's plan: its key, its images and the weights of its classes."""

import jax
import numpy as np
import pytest

from medjax.records import Split
from medjax.training.batching import PADDING
from medjax.training.fold_plan import make_plan, weights_of
from tests.tiny import make_images, make_split

IMAGES, LABELS = make_images()
SPLIT = make_split(LABELS)


def test_plans_do_not_depend_on_which_folds_are_chosen():
    short = Split(SPLIT.train[:40], SPLIT.val[:3], SPLIT.test)
    whole = make_plan([short, SPLIT], seed=3, batch_size=16)
    first = make_plan([short, SPLIT], seed=3, batch_size=16, folds=[0])
    assert first.train.shape == (1, 96)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda leaf: leaf[:1], whole.train), first.train)
    assert (jax.random.key_data(whole.key[0]) == jax.random.key_data(first.key[0])).all()
    assert sorted(np.array(first.train[0])) == [PADDING] * 56 + sorted(short.train)


def test_the_key_of_a_fold_is_the_seeds_folded_with_its_number():
    for seed in (0, 2**31, 2**32 - 1):
        keys = make_plan([SPLIT] * 3, seed=seed, batch_size=16, folds=[2, 0]).key
        for key, fold in zip(keys, (2, 0), strict=True):
            expected = jax.random.fold_in(jax.random.key(seed), fold)
            assert (jax.random.key_data(key) == jax.random.key_data(expected)).all()


def imbalanced_plan(class_balance):
    """A plan of 40 images of class 0 and 10 of class 1."""
    train = np.concatenate([np.flatnonzero(LABELS == 0)[:40], np.flatnonzero(LABELS == 1)[:10]])
    part = Split(train, np.arange(0), np.arange(0))
    return make_plan([part], seed=0, batch_size=16, labels=LABELS, class_balance=class_balance)


def test_weights_make_the_classes_of_a_fold_weigh_alike():
    plan = imbalanced_plan("weights")
    assert plan.draw_weights == ()
    assert np.array(plan.loss_weights) == pytest.approx(np.array([[50 / 80, 50 / 20]]))


def test_a_class_without_training_images_has_a_finite_weight():
    part = Split(np.flatnonzero(LABELS == 0), np.arange(0), np.arange(0))
    plan = make_plan([part], seed=0, batch_size=16, labels=LABELS, class_balance="weights")
    assert np.isfinite(plan.loss_weights).all()


def test_each_of_several_labels_is_balanced_by_itself():
    labels = np.array([[1, 0], [0, 1], [0, -1], [0, 0]], np.int32)
    part = Split(np.arange(4), np.arange(0), np.arange(0))
    plan = make_plan([part], seed=0, batch_size=4, labels=labels, class_balance="weights")
    np.testing.assert_allclose(plan.loss_weights[0], [[4 / 6, 4 / 2], [3 / 4, 3 / 2]])
    weights = weights_of(plan.loss_weights[0], jax.numpy.asarray(labels))
    np.testing.assert_allclose(weights[0], [2, 0.75])
