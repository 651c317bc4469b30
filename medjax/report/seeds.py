"""Runs that differ only in their seed, in words: the terminal and the page share them. `metrics` is their metrics.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medjax.errors import counted, printable
from medjax.report import wording


def seeds_lines(metrics: Mapping[str, Any], directory: Path) -> list[str]:
    """What a person reads in a terminal: a line for each seed, one for all, what to change, and what to do next."""
    lines = [f"seed {row['seed']}: {_scores(row)}" for row in metrics["seeds"]]
    if metrics["mean"] is not None:
        lines.append(f"over {counted(len(metrics['seeds']), 'seed')}: {spread_sentence(metrics)}")
    lines += [f"diagnosis: {words}" for words in diagnosis_sentences(metrics)]
    lines.append(f"next: open {directory / 'report.html'}; each seed has a run of its own there")
    return [printable(line) for line in lines]


def spread_sentence(metrics: Mapping[str, Any]) -> str:
    """Mean, standard deviation and range over the seeds, beside the interval that a single run has."""
    mean, n = metrics["mean"], number_of_images(metrics)
    low, high = mean["accuracy_range"]
    parts = [
        f"accuracy {wording.percent(mean['accuracy'], n, mean['accuracy_sd'])} "
        f"({wording.percent(low, n)[:-2]} to {wording.percent(high, n)})",
        f"{_plain(mean['errors'], mean['errors_sd'], 1)} errors "
        f"({mean['errors_range'][0]:,} to {mean['errors_range'][1]:,})",
    ]
    if mean["auc"] is not None:
        first, last = mean["auc_range"]
        parts.append(f"AUC {_plain(mean['auc'], mean['auc_sd'], 4)} ({first:.4f} to {last:.4f})")
    kind = "mean ± sd, and range" if mean["accuracy_sd"] is not None else "a single seed has no spread"
    return f"{', '.join(parts)}: {kind}; {interval_clause(metrics)}"


def interval_clause(metrics: Mapping[str, Any]) -> str:
    """The sampling interval of a single run, on average over the seeds."""
    interval, n = metrics["mean"]["accuracy_ci95"], number_of_images(metrics)
    if interval is None:
        return "no interval: all images of a run are of one group"
    low, high = (wording.percent(bound, n) for bound in interval)
    auc = metrics["mean"]["auc_ci95"]
    others = "" if auc is None else f", of its AUC {auc[0]:.4f} to {auc[1]:.4f}"
    return f"the 95 % interval of one run's accuracy, for its images, is {low[:-2]} to {high}{others}, on average"


def diagnosis_sentences(metrics: Mapping[str, Any]) -> list[str]:
    """What to change, each with the seeds that it was found in."""
    total = len(metrics["seeds"])
    sentences = []
    for found in metrics["diagnosis"]:
        seeds = found["seeds"]
        where = f"in {len(seeds)} of {counted(total, 'seed')}, as in seed {seeds[0]}: " if total > 1 else ""
        sentences.append(f"{where}{found['sentence']} To change it: {found['remedy']}.")
    return sentences


def number_of_images(metrics: Mapping[str, Any]) -> int:
    """Images that a run was scored on; the fewest of any."""
    return min((row["n"] for row in metrics["seeds"]), default=0)


def _scores(row: Mapping[str, Any]) -> str:
    auc = "" if row["auc"] is None else f", AUC {row['auc']:.4f}"
    accuracy = wording.percent(row["accuracy"], row["n"])
    return f"accuracy {accuracy}, {counted(row['errors'], 'error')} of {row['n']:,}{auc}"


def _plain(value: float, deviation: float | None, digits: int) -> str:
    spread = "" if deviation is None else f" ± {deviation:,.{digits}f}"
    return f"{value:,.{digits}f}{spread}"
