"""Repeat a run with duplicates grouped the other way, to show how much leakage changes the score."""

import dataclasses
import shlex
from pathlib import Path
from typing import Any, Literal

from medjax.config import CrossvalConfig
from medjax.config_checks import from_dict
from medjax.errors import refuse
from medjax.jobs.from_config import GIVEN_IN_PYTHON, Config, is_built_in, training_of, with_training
from medjax.jobs.restored_run import Run
from medjax.jobs.run_record import job_name
from medjax.jobs.train import cross_validate, train
from medjax.report.command import option_words
from medjax.runs import directory as run_files

OTHER = "other_grouping"
"""Directory, under a run, of the run that it is compared with."""


def compare_grouping(trained: Run, source: str | Path, *, is_quiet: bool = True) -> Run:
    """Repeat a finished run with duplicates grouped the other way, and write both scores into metrics.json and the page.

    The other way is `exact` for a run that grouped none, and `none` for all others. The repetition is a run of its own
    in `other_grouping`, and is continued where it was interrupted.
    """
    config = _regrouped(from_dict(trained.record["config"]))
    if trained.model is None and not is_built_in(training_of(config)):
        # The record names it, but a record may be a stranger's.
        raise refuse(
            str(trained.directory), "its network is none of medjax's", "give it: load_run(..., model=...)"
        )
    options: dict[str, Any] = {
        "model": trained.model,
        "run_dir": trained.directory / OTHER,
        "resume": True,
        "command": _command(trained, source),
        "is_quiet": is_quiet,
    }
    other = (
        cross_validate(source, config, **options)
        if isinstance(config, CrossvalConfig)
        else train(source, config, **options)
    )
    metrics = {**trained.metrics, "grouping": [_describe(each) for each in (trained, other)]}
    run_files.write_json(trained.directory / "metrics.json", metrics)
    # Imported here: training needs no templates.
    from medjax.report.page.page import write_page_or_note

    write_page_or_note(trained.directory, trained.record["status"])
    return trained


def _command(trained: Run, source: str | Path) -> str:
    """The command that goes on with the comparison: not what the record holds, which may be a stranger's."""
    config = from_dict(trained.record["config"])
    if training_of(config).model == GIVEN_IN_PYTHON:
        return "medjax.compare_grouping"  # no command line has that network
    words = ["medjax", job_name(config), str(source), *option_words(config)]
    return shlex.join([*words, "--run", str(trained.directory), "--resume", "--compare-grouping"])


def _regrouped(config: Config) -> Config:
    training = training_of(config)
    kind: Literal["exact", "none"] = "exact" if training.data.group_duplicates == "none" else "none"
    training = dataclasses.replace(training, data=dataclasses.replace(training.data, group_duplicates=kind))
    return with_training(config, training)


def _describe(finished: Run) -> dict[str, Any]:
    """One row of the table that compares both."""
    metrics = finished.metrics
    block = metrics.get("pooled") or metrics["test"]
    leakage = finished.record["data"]["leakage"]["test"]
    return {
        "group_duplicates": training_of(from_dict(finished.record["config"])).data.group_duplicates,
        **{name: block[name] for name in ("n", "errors", "accuracy", "leading_ci95", "loss")},
        **{name: block[name] for name in ("accuracy_ci95", "accuracy_ci95_grouped")},
        "identical": leakage["exact"],
    }
