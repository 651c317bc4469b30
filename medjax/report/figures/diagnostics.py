"""Figures of the predicted probabilities: ROC curves, precision-recall curves and the reliability diagram."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medjax.report.figures.style import BLUE, GRID, INK, MUTED, short, styled

# Okabe and Ito's palette without yellow, which is too pale for a line; further classes differ by their dashes.
_COLORS = (BLUE, "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", INK)
_DASHES = ("-", "--", ":", "-.")
_MOST_IN_LEGEND = 14


class Curve(NamedTuple):
    """Points of a line, both coordinates 0 to 1."""

    x: Float[np.ndarray, "point"]
    y: Float[np.ndarray, "point"]


class Band(NamedTuple):
    """A region around a line."""

    x: Float[np.ndarray, "point"]
    low: Float[np.ndarray, "point"]
    high: Float[np.ndarray, "point"]


@styled
def plot_ranking(
    roc: Mapping[str, Curve],
    precision_recall: Mapping[str, Curve],
    class_names: Sequence[str],
    *,
    band: Band | None = None,
    point: tuple[float, float] | None = None,
) -> Figure:
    """ROC curves (sensitivity against 1 - specificity) and precision-recall curves, one line for each class that has one.

    `band` is that of a single ROC curve; `point` (1 - specificity, sensitivity) is where the run's threshold lies.
    """
    figure = Figure(figsize=(8, 4.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
    for axes, curves in ((left, roc), (right, precision_recall)):
        for index, name in enumerate(class_names):
            if name in curves:
                _draw_curve(axes, curves[name], name, index)
        _frame(axes)
    title = "ROC, each class against all others"
    if band is not None:
        title = "ROC with its 95 % band"
        color = left.lines[-1].get_color()
        left.fill_between(band.x, band.low, band.high, color=color, alpha=0.15, linewidth=0)
    if point is not None:
        left.plot(*point, color=INK, marker="o", markersize=6, linestyle="", label="operating point")
    left.set(title=title, xlabel="1 - specificity", ylabel="sensitivity")
    right.set(
        title="precision-recall, each class against all others",
        xlabel="recall (sensitivity)",
        ylabel="precision",
    )
    named: dict[str, Artist] = {}  # each name once, classes first
    for axes in (right, left):
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(name, handle)
    if named:
        shown = list(named)[:_MOST_IN_LEGEND]
        handles = [named[name] for name in shown]
        figure.legend(handles, shown, loc="outside lower center", ncols=4, fontsize=8)
    return figure


@styled
def plot_reliability(
    edges: Float[np.ndarray, "edge"],
    counts: Integer[np.ndarray, "bin"],
    confidence: Float[np.ndarray, "bin"],
    accuracy: Float[np.ndarray, "bin"],
    *,
    has_several_labels: bool = False,
    bands: Float[np.ndarray, "bin 2"] | None = None,
    before: Curve | None = None,
) -> Figure:
    """Reliability diagram: accuracy against confidence, in bins of confidence; below it the images in each bin.

    Of several labels an image: the share that have the label against its probability, and pairs of an image and a label.
    `bands` are intervals of the accuracies; `before` holds confidence and accuracy in the bins before calibration. Empty
    bins hold NaN and are not drawn.
    """
    figure = Figure(figsize=(4.6, 5.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    top.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":", label="perfectly calibrated")
    filled = counts > 0
    if before is not None:
        seen = ~np.isnan(before.x)
        label = "before calibration"
        top.plot(
            before.x[seen], before.y[seen], color=MUTED, marker="s", markersize=3, linestyle="--", label=label
        )
    if bands is not None:
        known = filled & ~np.isnan(bands).any(axis=1)
        color, width = BLUE, 0.9
        top.vlines(confidence[known], *bands[known].T, color=color, linewidth=width, label="95 % interval")
    name = "this model" if before is None else "calibrated"
    top.plot(confidence[filled], accuracy[filled], color=BLUE, marker="o", markersize=4, label=name)
    _frame(top)
    top.set_aspect("auto")  # as wide as the bars below, which share its axis
    top.set(title="reliability diagram", ylabel="share with the label" if has_several_labels else "accuracy")
    top.legend(loc="upper left", fontsize=8)
    bottom.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=BLUE, edgecolor="white")
    bottom.set_yscale("symlog", linthresh=1)
    bottom.set_ylim(bottom=0)
    # Matplotlib's powers of ten need mathematics, which `STYLE` turns off because of strangers' names.
    bottom.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    bottom.grid(axis="y", color=GRID)
    if has_several_labels:
        bottom.set(xlabel="probability of the label", ylabel="images × labels")
    else:
        bottom.set(xlabel="probability of the predicted class", ylabel="images")
    return figure


def _draw_curve(axes: Axes, curve: Curve, name: str, index: int) -> None:
    axes.plot(
        curve.x,
        curve.y,
        color=_COLORS[index % len(_COLORS)],
        linestyle=_DASHES[index // len(_COLORS) % len(_DASHES)],
        linewidth=1.4,
        # Matplotlib leaves what begins with an underscore out of a legend.
        label=f" {short(name, 22)}" if name.startswith("_") else short(name, 22),
    )


def _frame(axes: Axes) -> None:
    """Show the unit square with a margin, so that lines along its sides are visible."""
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.grid(color=GRID)
