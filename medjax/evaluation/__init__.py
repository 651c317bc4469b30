"""From predictions to numbers that can be trusted."""

from medjax.evaluation.intervals import wilson_interval
from medjax.evaluation.scores import score

__all__ = ["score", "wilson_interval"]
