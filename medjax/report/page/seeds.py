"""The HTML page of runs that differ only in their seed; each has a page of its own, which it links to."""

from collections.abc import Mapping
from typing import Any

from medjax.report import seeds
from medjax.report.page.page import make_environment


def render_seeds(metrics: Mapping[str, Any]) -> str:
    """Render the page from the metrics.json of all runs."""
    has_mean = metrics["mean"] is not None
    return (
        make_environment()
        .get_template("seeds.html.jinja")
        .render(
            metrics=metrics,
            spread=seeds.spread_sentence(metrics) if has_mean else None,
            diagnosis=seeds.diagnosis_sentences(metrics),
        )
    )
