"""A sweep in a terminal: every configuration by its val scores, and test scores of the chosen one alone."""

from pathlib import Path

from medjax.report.sweep import chosen_sentence, sweep_lines


def metrics():
    def configuration(values, mean):
        return {"values": values, "val": [], "mean": mean, "diverged": [] if mean else [0]}

    row = {
        "seed": 0,
        "directory": "seed_0000",
        "n": 200,
        "errors": 4,
        "accuracy": 0.98,
        "accuracy_ci95": [0.95, 0.99],
        "balanced_accuracy": 0.97,
        "auc": 0.99,
        "auc_ci95": None,
        "loss": 0.1,
    }
    mean = {
        "accuracy": 0.98,
        "accuracy_sd": None,
        "accuracy_range": [0.98, 0.98],
        "accuracy_ci95": [0.95, 0.99],
    }
    mean |= {"errors": 4.0, "errors_sd": None, "errors_range": [4, 4], "auc": None, "auc_ci95": None}
    return {
        "name": "phantom",
        "preset": "report",
        "is_synthetic": True,
        "grid": {"learning_rate": [0.1, 0.001], "block_features": [[8, 16]]},
        "choose_by": "loss",
        "chosen": 1,
        "configurations": [
            configuration({"learning_rate": 0.1, "block_features": [8, 16]}, None),
            configuration(
                {"learning_rate": 0.001, "block_features": [8, 16]},
                {"loss": 0.25, "balanced_accuracy": 0.5, "auc": None},
            ),
        ],
        "test": {"seeds": [row], "mean": mean},
    }


def test_the_table_says_what_was_chosen_and_of_what():
    lines = sweep_lines(metrics(), Path("runs/sweep"))
    cells = [line.split() for line in lines[1:3]]
    assert cells == [
        ["0", "0.1", "8", "16", "diverged"],
        ["chosen", "0.001", "8", "16", "0.2500", "0.5000", "–"],
    ]
    assert chosen_sentence(metrics()) in lines
    assert "chosen of 2 configurations by the mean val loss over 1 seed: learning_rate 0.001" in lines[3]
    assert sum("98.0" in line for line in lines) == 1  # the test scores, once
    assert lines[-1] == "next: open runs/sweep/report.html; sweep.csv beside it has a row for each fit"
