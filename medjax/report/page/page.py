"""Render a run directory as one self-contained HTML page: no script, no request, nothing that the run does not hold."""

import base64
import functools
import io
import math
import types
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from medjax.errors import counted, described, listed, printable, refuse
from medjax.files import read_bounded
from medjax.report import headline, wording
from medjax.report.calibration import before_rows, calibration_sentences
from medjax.report.command import shown_command
from medjax.report.operating_point import point_rows, point_sentence
from medjax.report.page.calibration import calibration_findings, calibration_rows, training_effects
from medjax.report.page.checklist import fill_checklist
from medjax.report.page.measures import describe_measures
from medjax.report.prediction_sets import (
    sets_rows,
    sets_sentences,
    sizes_sentence,
    uncovered_sentence,
)
from medjax.runs.directory import read_history, read_json, write_text
from medjax.runs.formats import MAX_RECORD_BYTES

FIGURE_SCALE = 96 / 160
"""CSS pixels per figure pixel: `render.encode_figure` draws 160 pixels an inch, a page has 96."""

TEMPLATES = {"train": "holdout.html.jinja", "crossval": "crossval.html.jinja"}
"""Template for each job."""
TEMPLATE_OF_LABELS = "labels.html.jinja"
"""Template of either job with several labels an image."""

MAX_FIGURE_BYTES = 32 * 2**20

PARTS = ("pooled", "test", "val", "train")
"""Parts that metrics.json may hold scores of, in the order of the page."""

NOTE = Markup(
    '<p class="notice" role="note">This section was left out, because an error ({}) stopped it.</p>'
)
"""Stands in the place of a section that fails; its field is the error's type."""

_NONE: Mapping[str, str] = types.MappingProxyType({})

BASELINE_NAMES = {
    "majority": "majority class",
    "frequency": "frequency of each label, whatever the image",
    "nearest_centroid": "nearest class centroid",
    "nearest_neighbour": "nearest neighbour among the training images",
    "logistic_regression": "logistic regression on the pixels",
}


LEFT_OUT = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>medjax report</title></head>
<body><p>The report could not be made. The run is not affected: its scores are in metrics.json, every prediction is in
predictions.csv, every epoch in history.csv, and its settings are in run.json.</p></body>
</html>
"""
"""Stands in the place of a page that could not be made."""


class Figure(NamedTuple):
    """A figure that is embedded in the page."""

    uri: Markup
    width: int  # on the page, in CSS pixels
    height: int
    legend: list[str]  # what stands for a name that could not be drawn, and the name


def render_page(run_dir: Path, status: str | None = None, failures: Mapping[str, str] = _NONE) -> str:
    """Render the report of a finished run from its run.json, metrics.json, history.csv and figures/*.png.

    `status` replaces the status in run.json, which is updated after the page is written; `failures` says why figures are
    missing. What is missing or fails is left out with a note, and one warning names it. Raises RefusedError if one of the
    other files is missing or cannot be read, or if the job has no report.
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
    guard = _Guard({f"figure {name}": reason for name, reason in failures.items()})
    page = (
        make_environment()
        .get_template(TEMPLATE_OF_LABELS if run.get("several_labels") else TEMPLATES[run["job"]])
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
            checklist=functools.partial(fill_checklist, run, metrics),
            figures={path.stem: _embed(path) for path in sorted(run_dir.glob("figures/*.png"))},
            no_proof=wording.NO_PROOF,
            guarded=guard.render,
            failures=failures,
        )
    )
    guard.warn(run_dir)
    return page


def write_page(run_dir: Path, status: str | None = None, failures: Mapping[str, str] = _NONE) -> Path:
    """Write the page (see `render_page`) into the run directory, whole or not at all; returns its path."""
    path = run_dir / "report.html"
    write_text(path, render_page(run_dir, status, failures))
    return path


def write_page_or_note(run_dir: Path, status: str, failures: Mapping[str, str] = _NONE) -> None:
    """Write the page of a run whose work is finished; where none can be made, a note in its place, and warn.

    Raises only OSError, if the file cannot be written.
    """
    try:
        write_page(run_dir, status, failures)
    except OSError:
        raise
    except Exception as error:
        write_text(run_dir / "report.html", LEFT_OUT)
        warnings.warn(
            f"{run_dir / 'report.html'} could not be made ({described(error)}); the scores are in metrics.json",
            stacklevel=2,
        )


class _Guard:
    """Renders sections of a page, and keeps why one that fails was left out."""

    def __init__(self, failures: Mapping[str, str]) -> None:
        self._failures = dict(failures)

    def render(self, title: str, section: Callable[[], str]) -> str:
        try:
            return section()
        except Exception as error:  # a run whose work is finished must not be lost to its page
            self._failures[f"section {title}"] = described(error)
            return NOTE.format(type(error).__name__)

    def warn(self, run_dir: Path) -> None:
        """Warn once of all that was left out."""
        if self._failures:
            what = [f"{name} ({reason})" for name, reason in self._failures.items()]
            warnings.warn(
                f"{run_dir / 'report.html'} goes without the {listed(what)}; the run is not affected",
                stacklevel=3,
            )


def make_environment() -> Environment:
    """The templates of this folder, and what they may call."""
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
        before_rows,
        calibration_sentences,
        calibration_findings,
        calibration_rows,
        training_effects,
        headline.balance_sentence,
        headline.interval_clause,
        headline.interval_words,
        headline.is_grouped,
        headline.is_unequal,
        headline.leading_interval,
        headline.score_warnings,
        point_rows,
        point_sentence,
        sets_rows,
        sets_sentences,
        sizes_sentence,
        uncovered_sentence,
        counted,
        wording.duration,
        wording.enumerated,
        wording.gain_sentence,
        wording.groups_kept,
        wording.loading,
        wording.moment,
        wording.number,
        wording.percent,
        wording.percentages,
        wording.settings,
        wording.shape,
        wording.share,
        shown_command,
        wording.validation_decisions,
    ):
        environment.filters[function.__name__] = function
    return environment


def _lowest_loss(history: list[dict[str, float]]) -> dict[str, float] | None:
    """The epoch with the lowest finite validation loss."""
    finite = [row for row in history if math.isfinite(row["val_loss"])]
    return min(finite, key=lambda row: row["val_loss"], default=None)


def _embed(path: Path) -> Figure:
    content = read_bounded(path, MAX_FIGURE_BYTES)
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            width, height = image.size
            legend = str(image.info.get("Description", "")).splitlines()
    except (OSError, Image.DecompressionBombError) as error:
        raise refuse(
            path.name, "is not a PNG image", "delete it: a figure that is missing is left out"
        ) from error
    uri = Markup("data:image/png;base64,") + base64.b64encode(content).decode("ascii")
    return Figure(uri, round(width * FIGURE_SCALE), round(height * FIGURE_SCALE), legend)
