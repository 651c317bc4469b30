"""Render a run directory as one self-contained HTML page: no script, no request, nothing that the run does not hold."""

import base64
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from medjax.errors import printable, refuse
from medjax.files import read_bounded
from medjax.report import wording
from medjax.report.page.checklist import fill_checklist
from medjax.report.page.measures import describe_measures
from medjax.runs.directory import read_history, read_json, write_text
from medjax.runs.formats import MAX_RECORD_BYTES

FIGURE_SCALE = 96 / 160
"""CSS pixels per figure pixel: `plots.save_figure` draws 160 pixels an inch, a page has 96."""

TEMPLATES = {"train": "holdout.html.jinja", "crossval": "crossval.html.jinja"}
"""Template for each job."""

MAX_FIGURE_BYTES = 32 * 2**20

PARTS = ("pooled", "test", "val", "train")
"""Parts that metrics.json may hold scores of, in the order of the page."""

BASELINE_NAMES = {
    "majority": "majority class",
    "nearest_centroid": "nearest class centroid",
    "nearest_neighbour": "nearest neighbour among the training images",
    "logistic_regression": "logistic regression on the pixels",
}


class Figure(NamedTuple):
    """A figure that is embedded in the page."""

    uri: Markup
    width: int  # on the page, in CSS pixels
    height: int


def render_page(run_dir: Path, status: str | None = None) -> str:
    """Render the report of a finished run from its run.json, metrics.json, history.csv and figures/*.png.

    `status` replaces the status in run.json, which is updated after the page is written. A missing figure is left out.
    Raises RefusedError if one of the other files is missing or cannot be read, or if the job has no report.
    """
    run = read_json(run_dir / "run.json", MAX_RECORD_BYTES)
    run["status"] = run["status"] if status is None else status
    metrics = read_json(run_dir / "metrics.json")
    history = read_history(run_dir / "history.csv")
    if run["job"] not in TEMPLATES:
        raise refuse(
            run_dir / "run.json",
            f"the job {run['job']!r} has no report",
            "use the version of medjax that made it",
        )
    config = run["config"]
    counts = run["data"]["counts"].values()
    best = _lowest_loss(history)
    figures = {path.stem: _embed(path) for path in sorted(run_dir.glob("figures/*.png"))}
    return (
        _environment()
        .get_template(TEMPLATES[run["job"]])
        .render(
            run=run,
            metrics=metrics,
            training=config["training"] if run["job"] == "crossval" else config,
            parts=[part for part in PARTS if metrics.get(part)],
            history=history,
            has_val=best is not None,
            best=best,
            totals={name: sum(part.get(name, 0) for part in counts) for name in run["class_names"]},
            chance_loss=math.log(len(run["class_names"])),
            baseline_names=BASELINE_NAMES,
            checklist=fill_checklist(run, metrics),
            missing=_missing_sections(metrics, figures),
            figures=figures,
        )
    )


def write_page(run_dir: Path, status: str | None = None) -> Path:
    """Write the page (see `render_page`) into the run directory, whole or not at all; returns its path."""
    path = run_dir / "report.html"
    write_text(path, render_page(run_dir, status))
    return path


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Names come from strangers: control, bidirectional and unpaired-surrogate characters become visible.
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    for function in (
        describe_measures,
        wording.counted,
        wording.duration,
        wording.enumerated,
        wording.gain_sentence,
        wording.loading,
        wording.moment,
        wording.number,
        wording.percent,
        wording.percentages,
        wording.settings,
        wording.shape,
        wording.share,
        wording.shown_command,
        wording.validation_decisions,
    ):
        environment.filters[function.__name__] = function
    return environment


def _missing_sections(metrics: Mapping[str, Any], figures: Mapping[str, Figure]) -> list[str]:
    """Sections that have nothing to show: baselines were off, or the score is withheld because a fold diverged."""
    has = {
        "baselines": metrics["baselines"] is not None,
        **{name: name in figures for name in ("ranking", "reliability", "unsure")},
    }
    return [name for name, is_there in has.items() if not is_there]


def _lowest_loss(history: list[dict[str, float]]) -> dict[str, float] | None:
    """The epoch with the lowest finite validation loss."""
    finite = [row for row in history if math.isfinite(row["val_loss"])]
    return min(finite, key=lambda row: row["val_loss"], default=None)


def _embed(path: Path) -> Figure:
    content = read_bounded(path, MAX_FIGURE_BYTES)
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            width, height = image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise refuse(
            path.name, "is not a PNG image", "delete it: a figure that is missing is left out"
        ) from error
    uri = Markup("data:image/png;base64,") + base64.b64encode(content).decode("ascii")
    return Figure(uri, round(width * FIGURE_SCALE), round(height * FIGURE_SCALE))
