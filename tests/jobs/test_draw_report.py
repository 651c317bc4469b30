import dataclasses

import numpy as np

from medjax.config import TrainConfig
from medjax.data.phantom.dataset import make_phantom
from medjax.jobs.draw_report import make_augmented

ORIGINALS = make_phantom(images_per_class=2).images[:3, ::2, ::2]


def test_augmented_are_random_and_follow_from_the_seed():
    augmented = make_augmented(ORIGINALS, TrainConfig(), count=4)
    assert augmented.shape == (3, 4, *ORIGINALS.shape[1:])
    assert 0 <= augmented.min() <= augmented.max() <= 1.0001
    assert not np.array_equal(augmented[0, 0], augmented[0, 1])
    assert np.array_equal(augmented, make_augmented(ORIGINALS, TrainConfig(), count=4))
    assert not np.array_equal(augmented, make_augmented(ORIGINALS, TrainConfig(seed=1), count=4))


def test_where_training_sees_images_unchanged_there_are_none():
    assert make_augmented(ORIGINALS, dataclasses.replace(TrainConfig(), augment=False)) is None


def test_a_cross_validation_has_the_figures_of_a_run(crossval_run):
    names = {path.stem for path in (crossval_run.directory / "figures").iterdir()}
    of_predictions = {"confusion_matrix", "errors", "unsure", "ranking", "reliability"}
    assert names == {"curves", "samples", "augmented", *of_predictions}
