"""Phantom images some of which have a lesion, a bright disc at a random place: the only cause of their class."""

import functools
from typing import NamedTuple

import numpy as np
import optax
from flax import linen as nn

from medjax.data.phantom.dataset import make_phantom
from medjax.models.layers import PooledHead
from medjax.models.network import Network, Variables
from medjax.records import Split
from medjax.training.fit import fit
from medjax.training.learner import make_learner

SIDE, RADIUS = 28, 6
NUM_TRAIN, NUM_TEST, EPOCHS = 480, 40, 10


class Features(nn.Module):
    """Maps of half the image's side, which lie where the pixels lie."""

    @nn.compact
    def __call__(self, images):
        maps = nn.relu(nn.Conv(8, (3, 3), name="first")(images))
        return nn.relu(nn.Conv(16, (3, 3), name="second")(nn.max_pool(maps, (2, 2), strides=(2, 2))))


class Detector(nn.Module):
    """A user's own network with `features` and `head`."""

    def setup(self):
        self.features, self.head = Features(), PooledHead(2)

    def __call__(self, images, *, is_training=False):
        return self.head(self.features(images), is_training=is_training)


class Trained(NamedTuple):
    network: Network
    variables: Variables
    images: np.ndarray  # of the test part, each with a lesion
    masks: np.ndarray  # where it is


def draw_lesions(count, seed=0):
    """Images [n, 28, 28, 1], labels (1: lesion), and where the lesions are."""
    generator = np.random.default_rng(seed)
    whole = make_phantom(seed=seed, images_per_class=-(-count // 6)).images
    bodies = whole[generator.permutation(len(whole))[:count], 4:60, 4:60]
    bodies = bodies.reshape(count, SIDE, 2, SIDE, 2, 1).mean((2, 4))
    labels = (np.arange(count) % 2).astype(np.int32)
    centers = generator.uniform(RADIUS, SIDE - 1 - RADIUS, (count, 2, 1, 1))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    distances = np.hypot(rows - centers[:, 0], columns - centers[:, 1])
    masks = (distances <= RADIUS) & (labels == 1)[:, None, None]
    return np.where(masks[..., None], 250, 0.6 * bodies).astype(np.uint8), labels, masks


@functools.cache
def train_detector():
    images, labels, masks = draw_lesions(NUM_TRAIN + NUM_TEST)
    learner = make_learner(Detector(), optax.adam(3e-3))
    indices = np.arange(len(labels))
    split = Split(indices[:NUM_TRAIN], indices[:0], indices[NUM_TRAIN:])
    *_, (state, _) = fit(learner, (images, labels), split, num_epochs=EPOCHS)
    shown = indices[NUM_TRAIN:][labels[NUM_TRAIN:] == 1]
    return Trained(learner.network, state.learner.variables, images[shown], masks[shown])
