"""From predictions to metrics, intervals, comparisons and baselines."""
