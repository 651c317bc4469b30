"""A run directory as one self-contained HTML page: no script, no request, nothing the run does not hold."""

import base64
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from medjax.errors import printable, refuse
from medjax.report import wording
from medjax.report.page.checklist import fill_checklist
from medjax.report.page.measures import describe_measures
from medjax.runs.directory import read_history, read_json, write_text

FIGURE_SCALE = 96 / 160
"""`plots.save_figure` draws 160 pixels an inch; a page has 96."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
"""How a PNG opens; width and height follow."""


TEMPLATES = {"train": "holdout.html.jinja", "crossval": "crossval.html.jinja"}

PARTS = ("pooled", "test", "val", "train")
"""What a metrics.json may hold the scores of, in the order of the page."""


BASELINE_NAMES = {
    "majority": "the largest class, always",
    "nearest_centroid": "the nearest mean image of a class",
    "nearest_neighbour": "the most similar training image (1-nearest-neighbour)",
    "logistic_regression": "logistic regression on the pixels",
}


class Figure(NamedTuple):
    """An image that is written into the page itself."""

    uri: Markup
    width: int  # of the figure on the page, in CSS pixels
    height: int


def render_page(run_dir: Path, status: str | None = None) -> str:
    """The report of a finished run, from its run.json, metrics.json, history.csv and figures/*.png.

    `status` stands in for that of run.json, which is written after the page. A figure that is missing is left out. Raises `RefusedError` where one of the other files cannot be read.
    """
    run = read_json(run_dir / "run.json")
    run["status"] = run["status"] if status is None else status
    metrics = read_json(run_dir / "metrics.json")
    history = read_history(run_dir / "history.csv")
    job = run.get("job", "train")
    if job not in TEMPLATES:
        raise refuse(str(run_dir / "run.json"), f"is of a job {job!r} without a report", "update medjax")
    config = run["config"]
    training = config["training"] if job == "crossval" else config
    counts = run["data"]["counts"].values()
    best = _lowest_loss(history)
    figures = {path.stem: _inline(path) for path in sorted(run_dir.glob("figures/*.png"))}
    return (
        _environment()
        .get_template(TEMPLATES[job])
        .render(
            run=run,
            metrics=metrics,
            training=training,
            parts=[part for part in PARTS if metrics.get(part)],
            history=history,
            has_val=best is not None,
            best=best,
            best_epoch=_scored_epoch(metrics, training, best),
            totals={name: sum(c.get(name, 0) for c in counts) for name in run["class_names"]},
            chance_loss=math.log(len(run["class_names"])),
            baseline_names=BASELINE_NAMES,
            checklist=fill_checklist(run, metrics),
            missing=_missing(run, metrics, figures),
            figures=figures,
        )
    )


def write_page(run_dir: Path, status: str | None = None) -> Path:
    """Writes the page (see `render_page`) into the run directory, whole or not at all, and returns its path."""
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
        wording.chosen,
        wording.counted,
        wording.duration,
        wording.gain_sentence,
        wording.listed,
        wording.loading,
        wording.moment,
        wording.number,
        wording.percent,
        wording.percentages,
        wording.settings,
        wording.shape,
        wording.share,
        wording.shown_command,
    ):
        environment.filters[function.__name__] = function
    return environment


def _missing(run: Mapping[str, Any], metrics: Mapping[str, Any], figures: Mapping[str, Figure]) -> list[str]:
    """Sections that this run has nothing for: it was told to leave them out, or an older medjax made it."""
    has = {
        "baselines": metrics.get("baselines"),
        "leakage": run["data"].get("leakage"),
        **{name: name in figures for name in ("ranking", "reliability", "unsure")},
    }
    return [name for name, is_there in has.items() if not is_there]


def _lowest_loss(history: list[dict[str, float]]) -> dict[str, float] | None:
    """The epoch with the lowest finite validation loss."""
    finite = [row for row in history if math.isfinite(row["val_loss"])]
    return min(finite, key=lambda row: row["val_loss"], default=None)


def _scored_epoch(
    metrics: Mapping[str, Any], training: Mapping[str, Any], best: dict[str, float] | None
) -> int | None:
    """The epoch, from 0, whose parameters a holdout scores, or None for the last one."""
    if "training" in metrics:
        return metrics["training"]["best_epoch"]
    return int(best["epoch"]) if best is not None and training["keep"] == "best" else None


def _inline(path: Path) -> Figure:
    content = path.read_bytes()
    if not content.startswith(PNG_SIGNATURE):
        raise refuse(path.name, "is not a PNG image", "make the report again")
    width, height = struct.unpack(">II", content[16:24])
    uri = Markup("data:image/png;base64,") + base64.b64encode(content).decode("ascii")
    return Figure(uri, round(width * FIGURE_SCALE), round(height * FIGURE_SCALE))
