"""Blocks and parts cover everything."""

import pytest

from medjax.models.cpu_kernels import direct_weight_gradient, register_tiles
from medjax.models.cpu_kernels.register_tiles import Window


@pytest.mark.parametrize("number", [1, 13, 14, 15, 64, 192])
def test_parts_are_even_and_hold_all(number):
    taps = [direct_weight_gradient.Tap(index, index) for index in range(number)]
    parts = register_tiles.even_parts(taps, 14)
    assert [tap for part in parts for tap in part] == taps
    assert len({len(part) for part in parts[:-1]}) <= 1
    assert 0 < len(parts[-1]) <= len(parts[0]) <= 14


@pytest.mark.parametrize(
    ("features", "block"), [(1, 8), (8, 8), (9, 16), (16, 16), (32, 32), (48, 48), (64, 32), (80, 16)]
)
def test_blocks_of_features_are_whole_vectors(features, block, monkeypatch):
    monkeypatch.setattr(register_tiles, "register_lanes", lambda: 16)
    assert register_tiles.block_features(features) == block


def test_windows_of_different_settings_have_different_names():
    windows = [
        Window((1, 1), (1, 1)),
        Window((1, 2), (1, 1)),
        Window((1, 1), (2, 1)),
        Window((1, 1), (1, 1), ((1, 0), (0, 0))),
        Window((1, 1), (1, 1), ((-1, 0), (0, 0))),
        Window((1, 1), (1, 1), groups=2),
    ]
    assert len(set(map(str, windows))) == len(windows)
    assert [window.is_padded for window in windows] == [False, False, False, True, True, False]
    assert Window((2, 3), (2, 1)).num_rows(outputs=4, taps=3) == 11
