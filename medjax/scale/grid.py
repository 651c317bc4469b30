"""The configurations of a sweep: every combination of the values of some settings."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from medjax.config import SETTINGS, TrainConfig
from medjax.config_checks import require_valid
from medjax.errors import Problem, RefusedError, refuse
from medjax.settings import entries, flag_of, with_values

MOST_CONFIGURATIONS = 1000
_HEADINGS = ("network", "optimization", "augmentation", "early stopping", "plateau")
# All others decide which images are in a part, how they are labelled, or what is scored: scores could not be compared.
_OTHERS = ("image_size", "keep", "best_monitor", "compute")
_EXAMPLE = "such as learning_rate=1e-3,3e-4"


def make_configurations(
    config: TrainConfig, grid: Mapping[str, Sequence[Any]]
) -> list[tuple[dict[str, Any], TrainConfig]]:
    """Each combination of the grid's values, by the names of settings, with its configuration; the last name varies fastest.

    RefusedError for a name that is no setting, or one that a sweep may not vary; for values that are none or twice there;
    and for a combination that `require_valid` refuses, which is named.
    """
    if not grid:
        raise refuse("--grid", "is missing", _EXAMPLE)
    problems = []
    for name, values in grid.items():
        if name not in {entry.name for entry in entries(config)}:
            problems.append(Problem(f"--grid {name}", "is no setting of training", _EXAMPLE))
        elif SETTINGS[name].heading not in _HEADINGS and name not in _OTHERS:
            reason = "decides what is scored: its values cannot be compared by their scores"
            problems.append(Problem(f"--grid {name}", reason, f"give {flag_of(name)} to the whole sweep"))
        elif not values or any(value in [*values][:index] for index, value in enumerate(values)):
            problems.append(Problem(f"--grid {name}", "has no value, or one twice", _EXAMPLE))
    if problems:
        raise RefusedError(problems)
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if len(combinations) > MOST_CONFIGURATIONS:
        reason = f"has {len(combinations):,} combinations"
        raise refuse("--grid", reason, f"at most {MOST_CONFIGURATIONS:,}")
    return [(values, _configure(config, values)) for values in combinations]


def _configure(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    configured = with_values(config, values)
    try:
        require_valid(configured)
    except RefusedError as error:
        shown = ", ".join(f"{name}={value}" for name, value in values.items())
        raise RefusedError(
            each._replace(reason=f"{each.reason}, in {shown}") for each in error.problems
        ) from None
    return configured
