"""A sweep in words: the terminal and the page share them. `metrics` is its metrics.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medjax.errors import counted, printable
from medjax.report import seeds as seeds_words

NAMES = {"loss": "loss", "balanced_accuracy": "balanced accuracy", "auc": "AUC"}
"""What a configuration may be chosen by."""


def sweep_lines(metrics: Mapping[str, Any], directory: Path) -> list[str]:
    """What a person reads in a terminal: a table of the configurations, the chosen one's test scores, what to do next."""
    names = [*metrics["grid"]]
    header = ["", *names, f"val {NAMES['loss']}", "val balanced accuracy", "val AUC"]
    rows = [header]
    for number, each in enumerate(metrics["configurations"]):
        mark = "chosen" if number == metrics["chosen"] else str(number)
        rows.append([mark, *(value_text(value) for value in each["values"].values()), *score_texts(each)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    table = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return [
        printable(line)
        for line in [
            *table,
            chosen_sentence(metrics),
            f"on test, scored for the chosen one alone: {test_sentence(metrics)}",
            f"next: open {directory / 'report.html'}; sweep.csv beside it has a row for each fit",
        ]
    ]


def value_text(value: Any) -> str:
    """The value of a setting, as a command line has it."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def score_texts(configuration: Mapping[str, Any]) -> list[str]:
    """The mean val scores of a configuration: loss, balanced accuracy and AUC."""
    mean = configuration["mean"]
    if mean is None:
        return ["diverged", "", ""]
    return ["–" if mean[name] is None else f"{mean[name]:.4f}" for name in NAMES]


def chosen_sentence(metrics: Mapping[str, Any]) -> str:
    """What was chosen, out of how many, and by what."""
    chosen = metrics["configurations"][metrics["chosen"]]
    settings = ", ".join(f"{name} {value_text(value)}" for name, value in chosen["values"].items())
    num_seeds, num_configurations = len(metrics["test"]["seeds"]), len(metrics["configurations"])
    return (
        f"chosen of {counted(num_configurations, 'configuration')} by the mean val {NAMES[metrics['choose_by']]} over "
        f"{counted(num_seeds, 'seed')}: {settings}"
    )


def test_sentence(metrics: Mapping[str, Any]) -> str:
    """The test scores of the chosen configuration: mean and spread over the seeds."""
    test = metrics["test"]
    return seeds_words.spread_sentence({"seeds": test["seeds"], "mean": test["mean"]})
