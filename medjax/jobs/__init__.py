"""What the commands do, a call each: the only place that wires data, training, evaluation and report together."""

from medjax.jobs.auditing import audit
from medjax.jobs.comparing import compare_runs
from medjax.jobs.compilation import use_compilation_cache
from medjax.jobs.crossval import cross_validate
from medjax.jobs.datasets import fetch_data, split_data
from medjax.jobs.grouping import compare_grouping
from medjax.jobs.holdout import train
from medjax.jobs.restoring import Run, load_run

__all__ = [
    "Run",
    "audit",
    "compare_grouping",
    "compare_runs",
    "cross_validate",
    "fetch_data",
    "load_run",
    "split_data",
    "train",
    "use_compilation_cache",
]
