"""A problem small enough to compile and train in a second: stripes, upright or level, in 8 by 8 pixels."""

import functools

import numpy as np

from medjax.data.splitting.splits import holdout
from medjax.models.cnn import CNN
from medjax.training.augment import random_affine
from medjax.training.learner import make_learner
from medjax.training.optimizers import make_adam

NUM_CLASSES = 2


def make_images(n=120, seed=0):
    """Images uint8 [n, 8, 8, 1] and labels int32 [n]."""
    generator = np.random.default_rng(seed)
    labels = (np.arange(n) % NUM_CLASSES).astype(np.int32)
    images = generator.integers(0, 120, (n, 8, 8, 1))
    phases = generator.integers(0, 4, n)
    for index, (label, phase) in enumerate(zip(labels, phases, strict=True)):
        stripe = (slice(None), slice(phase, None, 4)) if label else (slice(phase, None, 4), slice(None))
        images[index][stripe] += 120
    return images.astype(np.uint8), labels


def make_split(labels, seed=0):
    return holdout(labels, seed=seed)


@functools.cache
def tiny_learner(*, learning_rate=1e-2, dropout=0.5, is_augmented=True):
    model = CNN(NUM_CLASSES, dropout=dropout, block_features=(4,), hidden_units=8)
    augment = functools.partial(random_affine, rotation=5.0, shift=0.05, zoom=0.05) if is_augmented else None
    return make_learner(model, make_adam(learning_rate), augment=augment)
