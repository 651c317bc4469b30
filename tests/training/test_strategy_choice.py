"""What `auto` takes, by the machine and the network."""

import jax
import pytest
from flax import linen as nn

from medjax.models.as_network import as_network
from medjax.models.cnn import CNN
from medjax.training import strategy_choice
from medjax.training.strategy_choice import choose_strategy, is_small_for_gpu


@pytest.mark.parametrize(
    ("cores", "devices", "backend", "is_small", "expected"),
    [
        (1, 1, "cpu", True, "loop"),
        (2, 1, "cpu", True, "threads"),
        (2, 1, "gpu", False, "loop"),
        (2, 1, "gpu", True, "vmap"),
        (2, 2, "gpu", True, "devices"),
    ],
)
def test_auto_is_what_the_machine_has_several_of(cores, devices, backend, is_small, expected, monkeypatch):
    monkeypatch.setattr(strategy_choice, "count_cores", lambda: cores)
    monkeypatch.setattr(jax, "devices", lambda: [None] * devices)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert choose_strategy(5, is_small=is_small) == expected
    assert choose_strategy(1, is_small=is_small) == "loop"


@pytest.mark.parametrize(
    ("model", "batch_size", "num_folds", "expected"),
    [
        (CNN(6), 32, 5, True),  # the published cross-validation
        (CNN(6), 512, 5, False),
        (CNN(6), 32, 50, False),
        (CNN(6, hidden_units=1024), 32, 5, False),  # 1.6 million parameters
        (nn.Sequential([lambda x: x.mean((1, 2)), nn.Dense(6)]), 32, 5, False),  # not measured
    ],
)
def test_few_pixels_of_the_built_in_network_are_small_for_a_gpu(model, batch_size, num_folds, expected):
    assert is_small_for_gpu(as_network(model), (28, 28, 1), batch_size, num_folds) == expected
