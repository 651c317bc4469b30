"""The planted leak, small: seen without grouping, gone with it."""

import pytest

from experiments.leakage import plant_leak


@pytest.mark.slow
def test_a_planted_leak_is_seen_and_closed():
    """Chance is one half; its standard deviation that of as many throws as there are distinct images."""
    for row in plant_leak(seeds="0-1", distinct=120, folds=3, epochs=20):
        assert row["ungrouped"] > 0.8
        assert abs(row["grouped_sds_from_chance"]) < 3
        assert row["twins_ungrouped"] > 400
        assert row["twins_grouped"] == 0
