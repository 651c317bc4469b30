"""What is not fit to train on is refused before anything is computed, in one clear sentence."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import medjax
from medjax.errors import RefusedError
from medjax.records import Split
from medjax.training.fit import fit, fit_folds
from medjax.training.folds import Controls, init_fold
from medjax.training.inputs import as_arrays, require_options, require_splits, require_state
from tests.tiny import make_images, make_split, tiny_learner

IMAGES, LABELS = make_images()
SPLIT = make_split(LABELS)
INDICES = np.arange(10)
OPTIONS = {
    "seed": 0,
    "num_epochs": 1,
    "batch_size": 16,
    "loss_proportional_sampling": 0,
    "class_balance": "none",
    "controls": Controls(),
    "strategy": "loop",
    "folds": None,
}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((IMAGES / 255, LABELS), r"images: have dtype float64 \(give gray levels of 0 to 255 as uint8"),
        ((IMAGES.astype(np.int32), LABELS), r"images: have dtype int32"),
        ((IMAGES[0, 0], LABELS), r"images: have shape \(8, 1\)"),
        ((IMAGES, LABELS[:5]), r"labels: have shape \(5,\) for 120 images"),
        ((IMAGES, LABELS + 0.5), r"labels: have dtype float64"),
        ((IMAGES, LABELS + 1), r"labels: are from 1 to 2, and network CNN has 2 logits"),
        ((IMAGES, LABELS - 1), r"labels: are from -1 to 0"),
        (IMAGES, r"data: has no labels"),
    ],
)
def test_arrays_that_cannot_be_trained_on(data, message):
    with pytest.raises(RefusedError, match=message):
        next(fit(tiny_learner(), data, SPLIT))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("scan.png", r"images: are no numbers \(load files by medjax\.load"),
        (["a.png", "b.png", "c.png"], "images: are no numbers"),
        (Path("scan.png"), "images: are no numbers"),
        ([IMAGES[0], IMAGES[0, 1:]], "images: do not have one common shape"),
        (IMAGES[0], r"images: have shape \(8, 8, 1\), that of one image \(give a stack: images\[None\]\)"),
    ],
)
def test_what_is_no_stack_of_images_cannot_be_predicted(data, message):
    with pytest.raises(RefusedError, match=message):
        as_arrays(data, needs_labels=False)


def test_images_without_a_channel_axis_and_labels_in_a_column_are_taken():
    arrays = as_arrays((IMAGES[..., 0], LABELS[:, None].tolist()), needs_labels=True)
    assert np.array_equal(arrays.images, IMAGES)
    assert np.array_equal(arrays.labels, LABELS)
    assert as_arrays((jnp.asarray(IMAGES), LABELS), needs_labels=True).images.shape == IMAGES.shape


def test_splits_are_named_by_their_number():
    fine, leaking = Split(INDICES, INDICES[:0], INDICES[:0]), Split(INDICES, INDICES[:1], INDICES[:0])
    with pytest.raises(RefusedError, match="split 1: has 1 image in both train and val"):
        require_splits([fine, leaking], 120)
    with pytest.raises(RefusedError, match=r"split 0\.train: contains the index 9 \(0 to 8\)"):
        require_splits([fine], 9)


def test_a_single_split_for_several_folds_and_none_at_all():
    with pytest.raises(RefusedError, match="splits: is a single split"):
        require_splits(SPLIT, 120)
    with pytest.raises(RefusedError, match="splits: there is none"):
        require_splits([], 120)


def test_lists_of_indices_are_taken():
    lists = Split(INDICES.tolist(), [], [])
    (checked,) = require_splits([lists], 120)
    assert checked.train.dtype == np.int64
    assert len(checked.val) == len(checked.test) == 0


def test_what_is_no_optimizer_is_refused():
    with pytest.raises(RefusedError, match=r"optimizer: is a float \(give an Optax optimizer"):
        medjax.make_learner(medjax.CNN(2), 1e-3)
    assert medjax.make_learner(medjax.CNN(2), optax.adam(1e-3)).network.name == "CNN"


def test_a_loss_that_is_not_of_each_image_is_refused():
    learner = medjax.make_learner(
        medjax.CNN(2, block_features=(4,)), optax.adam(1e-3), loss=lambda logits, labels: logits.mean()
    )
    with pytest.raises(RefusedError, match=r"loss: returned shape \(\) for 32 images"):
        next(fit(learner, (IMAGES, LABELS), SPLIT))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, r"seed: is -1 \(give a whole number, 0 to 4294967295\)"),
        ({"num_epochs": -1}, r"num_epochs: is -1"),
        ({"batch_size": 0}, r"batch_size: is 0 \(give a whole number, at least 1\)"),
        ({"folds": [1]}, r"folds: is 1 \(give a whole number, 0 to 0\)"),
        ({"class_balance": "wieghts"}, r"class_balance: is 'wieghts' \(give one of none, weights, sampling"),
        ({"strategy": "lop"}, r"strategy: is 'lop' \(give one of loop, threads, map, vmap, devices"),
        ({"class_balance": "sampling", "loss_proportional_sampling": 1}, r"drawn by their losses already"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(RefusedError, match=message):
        require_options([SPLIT], **{**OPTIONS, **options})


def test_options_are_checked_before_the_training():
    with pytest.raises(RefusedError, match="batch_size: is 0"):
        next(fit(tiny_learner(), (IMAGES, LABELS), SPLIT, batch_size=0))


def test_a_state_of_another_call_is_refused():
    key = jax.random.key(0)
    state = init_fold(key, tiny_learner(), Controls(), IMAGES.shape)
    losses_kept = init_fold(key, tiny_learner(), Controls(), IMAGES.shape, keeps_losses=True)
    with pytest.raises(RefusedError, match="state: is a LearnerState"):
        require_state(state.learner, state)
    with pytest.raises(RefusedError, match=r"of fit to fit, of fit_folds to fit_folds"):
        next(fit_folds(tiny_learner(), (IMAGES, LABELS), [SPLIT], state=state))
    with pytest.raises(RefusedError, match="state: is not one that this learner yields"):
        next(fit(tiny_learner(), (IMAGES, LABELS), SPLIT, state=losses_kept))


@pytest.mark.parametrize("indices", [np.arange(120) < 3, np.zeros((2, 2), int), [0.5], [-1], [120]])
def test_indices_that_cannot_be_predicted(indices):
    state = init_fold(jax.random.key(0), tiny_learner(), Controls(), IMAGES.shape)
    with pytest.raises(RefusedError, match=r"indices: (has shape|contains)"):
        medjax.predict(tiny_learner(), state, IMAGES, indices)


def test_the_best_epoch_of_a_fold_that_was_never_scored_is_refused():
    state = init_fold(jax.random.key(0), tiny_learner(), Controls(), IMAGES.shape)
    with pytest.raises(RefusedError, match="state: has no best epoch"):
        medjax.predict(tiny_learner(), state.best, IMAGES)
