"""Every combination of the grid, and none that could not be compared."""

import pytest

from medjax.config import TrainConfig
from medjax.errors import RefusedError
from medjax.scale.grid import make_configurations


def test_every_combination_is_there_once():
    made = make_configurations(TrainConfig(), {"learning_rate": [1e-3, 3e-4], "model": ["cnn", "resnet18"]})
    expected = [(1e-3, "cnn"), (1e-3, "resnet18"), (3e-4, "cnn"), (3e-4, "resnet18")]
    assert [tuple(values.values()) for values, _ in made] == expected
    assert [(each.learning_rate, each.model) for _, each in made] == expected
    [(_, nested)] = make_configurations(TrainConfig(), {"rotation": [30.0]})
    assert nested.augmentation.rotation == 30.0


@pytest.mark.parametrize(
    ("grid", "reason"),
    [
        ({}, "--grid: is missing"),
        ({"lr": [1.0]}, "--grid lr: is no setting of training"),
        ({"learning_rate": []}, "has no value, or one twice"),
        ({"learning_rate": [1e-3, 1e-3]}, "has no value, or one twice"),
        ({"seed": [0, 1]}, "decides what is scored"),
        ({"fractions": [(0.7, 0.15, 0.15)]}, "decides what is scored"),
        ({"group_duplicates": ["none", "exact"]}, "decides what is scored"),
        ({"learning_rate": [1e-3, -1.0], "model": ["cnn"]}, r"--learning-rate: -1.0 is out of range, in learning_rate=-1.0, model=cnn"),
        ({"epochs": [*range(1, 1002)]}, r"has 1,001 combinations \(at most 1,000\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(grid, reason):
    with pytest.raises(RefusedError, match=reason):
        make_configurations(TrainConfig(), grid)
