"""Intervals of shares of some of the predictions, where these are not independent."""

import numpy as np
import pytest

from medjax.evaluation.intervals import grouped_wilson_interval, wilson_interval
from medjax.evaluation.units import grouped_interval, image_interval, make_units
from medjax.records import concatenate_predictions
from tests.predicted import make_predictions

ALL = np.ones(200, bool)


def groups_of(size, n=200):
    return np.array([f"patient {index // size}" for index in range(n)])


def right(predictions):
    return predictions.probabilities.argmax(1) == predictions.labels


def test_of_independent_images_it_is_wilsons():
    predictions = make_predictions()
    units, chosen = make_units(predictions, None), predictions.labels == 0
    expected = wilson_interval(int((right(predictions) & chosen).sum()), int(chosen.sum()))
    assert image_interval(right(predictions), chosen, units) == pytest.approx(expected)
    assert grouped_interval(right(predictions), chosen, units) is None
    assert units.clusters is None


def test_of_all_images_it_is_the_grouped_interval_of_the_accuracy():
    predictions = make_predictions(group_size=4)
    units = make_units(predictions, groups_of(4))
    expected = grouped_wilson_interval(right(predictions).astype(float), np.arange(200) // 4)
    assert grouped_interval(right(predictions), ALL, units) == pytest.approx(expected)
    assert units.clusters.max() == 49


def test_predicting_images_again_makes_nothing_surer():
    once = make_predictions(group_size=4)
    twice, groups = concatenate_predictions([once, once]), groups_of(4)
    chosen = once.labels == 1
    alone = grouped_interval(right(once), chosen, make_units(once, groups))
    units = make_units(twice, np.concatenate([groups, groups]))
    assert grouped_interval(np.tile(right(once), 2), np.tile(chosen, 2), units) == pytest.approx(alone)
    again = make_units(twice, None)
    assert again.clusters is again.images
    assert image_interval(np.tile(right(once), 2), np.tile(chosen, 2), again) == pytest.approx(
        image_interval(right(once), chosen, make_units(once, None))
    )


def test_nothing_and_a_single_group_have_no_interval():
    predictions = make_predictions(group_size=4)
    units = make_units(predictions, groups_of(200))
    assert grouped_interval(right(predictions), ALL, units) is None
    assert grouped_interval(right(predictions), ~ALL, make_units(predictions, groups_of(4))) is None
    assert image_interval(right(predictions), ~ALL, units) is None


@pytest.mark.parametrize("sites", [2, 3])
def test_of_a_few_groups_it_is_wide_and_holds_the_share(sites):
    predictions = make_predictions(group_size=4)
    units = make_units(predictions, groups_of(-(-200 // sites)))
    low, high = grouped_interval(right(predictions), ALL, units)
    assert 0 <= low < right(predictions).mean() < high <= 1
    assert high - low > 2 * np.diff(image_interval(right(predictions), ALL, units))[0]


def test_the_sensitivity_of_a_class_of_grouped_images_is_covered_as_often_as_it_says():
    truth = make_predictions(10**6, n=400_000, group_size=5)
    expected = right(truth)[truth.labels == 0].mean()
    held = {image_interval: [], grouped_interval: []}
    for seed in range(800):
        predictions = make_predictions(seed, n=500, group_size=5)
        units = make_units(predictions, groups_of(5, 500))
        for interval, hits in held.items():
            low, high = interval(right(predictions), predictions.labels == 0, units)
            hits.append(low <= expected <= high)
    assert np.mean(held[grouped_interval]) == pytest.approx(0.95, abs=0.02)
    assert np.mean(held[image_interval]) < 0.9
