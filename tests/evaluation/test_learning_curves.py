"""The end of a curve, by hand."""

import numpy as np
import pytest

from medjax.evaluation.learning_curves import fall_at_end, has_left_minimum, last_third


@pytest.mark.parametrize(("epochs", "end"), [(1, 1), (2, 2), (3, 3), (9, 3), (10, 4), (20, 7)])
def test_the_end_is_a_third_and_at_least_three(epochs, end):
    assert last_third(np.ones(epochs)) == end


def test_the_fall_is_a_share_of_where_the_end_begins():
    assert fall_at_end(np.array([9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 1.0, 0.9, 0.8])) == pytest.approx(0.2)
    assert fall_at_end(np.array([1.0, 1.1, 1.2])) == pytest.approx(-0.2)
    # A line through all of the end, not through its ends alone.
    assert fall_at_end(np.array([1.0, 1.0, 1.0, 0.8])) == pytest.approx(0.2 / (2.8 / 3 + 0.1))


@pytest.mark.parametrize("curve", [[0.5], [0.5, np.nan, 0.1], [0.0, 0.0, 0.0]])
def test_what_has_no_fall_has_none(curve):
    assert fall_at_end(np.array(curve)) == 0


def test_a_minimum_is_left_when_the_whole_end_is_above_it_and_training_goes_on():
    val = np.array([1.0, 0.5, 0.6, 0.7, 0.8, 0.9])
    train = np.linspace(1.0, 0.1, 6)
    assert has_left_minimum(val, train, 0.2)
    assert not has_left_minimum(val, train, 0.5)
    assert not has_left_minimum(val, train[::-1], 0.2)
    assert not has_left_minimum(np.array([1.0, 0.5, 0.6, 0.7, 0.55, 0.9]), train, 0.2)
    assert not has_left_minimum(np.full(6, np.nan), train, 0.2)
