"""What a run says and records while it trains."""

import dataclasses

import pytest

import medjax
from medjax.config import PlateauConfig, StoppingConfig
from tests.configs import plain
from tests.finished_runs import read_history

CONTROLLED = plain(
    epochs=9,
    keep="stopping",
    early_stopping=True,
    reduce_on_plateau=True,
    stopping=StoppingConfig(stop_min_delta=1e6, stop_patience=4),
    plateau=PlateauConfig(plateau_min_delta=1e6, plateau_patience=2, plateau_factor=0.1),
)


@pytest.fixture(scope="module")
def controlled(phantom_folder, tmp_path_factory):
    """A run in which nothing ever counts as an improvement after the first epoch, and what it said."""
    directory = tmp_path_factory.mktemp("runs") / "controlled"
    return medjax.train(phantom_folder, CONTROLLED, run_dir=directory)


def test_the_log_says_which_controls_acted_when(phantom_folder, tmp_path, capsys):
    medjax.train(phantom_folder, CONTROLLED, run_dir=tmp_path / "run", is_quiet=False)
    lines = [line.strip() for line in capsys.readouterr().err.splitlines()]
    after = {
        number: lines.index(line) for number in range(1, 6) for line in lines if f"epoch {number}/9" in line
    }
    assert lines[after[1] + 1] == "best so far (val_loss)"
    assert lines[after[3] + 1] == "learning rate lowered from 0.001 to 0.0001: val_loss is on a plateau"
    assert "learning rate lowered from 0.0001 to 1e-05: val_loss is on a plateau" in lines
    assert "stopped early: val_loss no better for 4 epochs" in lines[after[5] :]


def test_history_holds_the_rates_that_were_in_force(controlled):
    rates = [float(row["learning_rate"]) for row in read_history(controlled)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-4, 1e-4])
    assert controlled.metrics["training"] == {"epochs": 5, "best_epoch": 0}


def test_a_schedule_shows_in_the_history(phantom_folder, tmp_path):
    config = plain(epochs=4, schedule="one-cycle", learning_rate=3e-3)
    run = medjax.train(phantom_folder, config, run_dir=tmp_path / "run")
    rates = [float(row["learning_rate"]) for row in read_history(run)]
    assert rates[0] < rates[1] > rates[2] > rates[3]
    assert rates[3] < 1e-4


@pytest.mark.slow
def test_under_a_schedule_nothing_is_trained_at_a_rate_of_zero(phantom_folder, tmp_path):
    run = medjax.train(
        phantom_folder,
        dataclasses.replace(plain(), epochs=2, schedule="cosine"),
        run_dir=tmp_path / "run",
    )
    assert all(float(row["learning_rate"]) > 0 for row in read_history(run))
