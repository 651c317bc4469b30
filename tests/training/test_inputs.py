"""What is not fit to train on is refused before anything is computed, in one clear sentence."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import medjax
from medjax.errors import RefusedError
from medjax.records import Split
from medjax.training.fit import fit
from medjax.training.inputs import as_arrays, require_splits
from tests.tiny import make_images, make_split, tiny_learner

IMAGES, LABELS = make_images()
SPLIT = make_split(LABELS)
INDICES = np.arange(10)


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


def test_images_without_a_channel_axis_and_labels_in_a_column_are_taken():
    arrays = as_arrays((IMAGES[..., 0], LABELS[:, None].tolist()), needs_labels=True)
    assert np.array_equal(arrays.images, IMAGES)
    assert np.array_equal(arrays.labels, LABELS)
    assert as_arrays((jnp.asarray(IMAGES), LABELS), needs_labels=True).images.shape == IMAGES.shape


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(INDICES, INDICES[:3], INDICES[3:5]), "has an image in two parts"),
        (Split(np.array([0, 0]), INDICES[3:], INDICES[:0]), "has an image in two parts, or twice in one"),
        (Split(INDICES[:0], INDICES, INDICES[:0]), "has no training image"),
        (Split(INDICES + 115, INDICES[:0], INDICES[:0]), r"split 0, train: has indices from 115 to 124"),
        (Split(INDICES - 1, INDICES[:0], INDICES[:0]), r"split 0, train: has indices from -1 to 8"),
        (
            Split(INDICES / 2, INDICES[:0], INDICES[:0]),
            r"split 0, train: has shape \(10,\) and dtype float64",
        ),
        ((INDICES, INDICES, INDICES), r"split 0: is a tuple"),
    ],
)
def test_splits_that_cannot_be_trained_on(split, message):
    with pytest.raises(RefusedError, match=message):
        require_splits([split], 120)


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
