"""The scores of several runs that differ only in their seed, together."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

SCORES = ("accuracy", "balanced_accuracy", "auc", "errors", "loss")
"""What is summarized."""
INTERVALS = ("accuracy_ci95", "auc_ci95")


def summarize_seeds(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean, sample standard deviation and range over the seeds of each of `SCORES`, from a mapping of these for each run.

    Keys: accuracy, accuracy_sd (None for a single run), accuracy_range [lowest, highest], and so for the others: all None
    where a run has no such score. accuracy_ci95 and auc_ci95 are the means of the bounds of the runs' own intervals: how
    far a score of one run may be off because of the images it is tested on; None where a run has none.
    """
    found: dict[str, Any] = {}
    for name in SCORES:
        values = [run[name] for run in runs]
        is_known = None not in values
        found[name] = statistics.fmean(values) if is_known else None
        found[f"{name}_sd"] = statistics.stdev(values) if is_known and len(values) > 1 else None
        found[f"{name}_range"] = [min(values), max(values)] if is_known else None
    for name in INTERVALS:
        intervals = [run[name] for run in runs]
        found[name] = (
            None if None in intervals else [statistics.fmean(each) for each in zip(*intervals, strict=True)]
        )
    return found
