"""What is trained on, and what is scored, in the experiment with pretrained weights."""

import numpy as np

from experiments.transfer import WAYS, first_images, fix_parts, make_config
from medjax.config_checks import require_valid
from medjax.data.from_arrays import make_dataset
from medjax.data.splitting.splits import split


def test_the_first_of_each_class_are_trained_on_and_all_others_scored():
    labels = np.array([1, 0, 0, 1, 0, 1, 0, 1, 0, 1])
    dataset = make_dataset(np.random.default_rng(0).integers(0, 255, (10, 4, 4)).astype(np.uint8), labels)
    first = first_images(dataset, per_class=3)
    assert first.tolist() == [0, 1, 2, 3, 4, 5]
    parts = split(fix_parts(dataset, first), seed=3)
    assert sorted([*parts.train, *parts.val]) == first.tolist()
    assert parts.test.tolist() == [6, 7, 8, 9]


def test_every_way_has_settings_that_go_together(tmp_path):
    for way in WAYS:
        require_valid(make_config(way, tmp_path / "weights.pth"))
