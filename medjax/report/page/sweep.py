"""The HTML page of a sweep; the runs of the chosen configuration have pages of their own, which it links to."""

from collections.abc import Mapping
from typing import Any

from medjax.report import sweep
from medjax.report.page.page import make_environment


def render_sweep(metrics: Mapping[str, Any]) -> str:
    """Render the page from the metrics.json of a sweep."""
    rows = [
        {
            "number": number,
            "values": [sweep.value_text(value) for value in each["values"].values()],
            "scores": sweep.score_texts(each),
        }
        for number, each in enumerate(metrics["configurations"])
    ]
    return (
        make_environment()
        .get_template("sweep.html.jinja")
        .render(
            metrics=metrics,
            rows=rows,
            chosen=sweep.chosen_sentence(metrics),
            test=sweep.test_sentence(metrics),
        )
    )
