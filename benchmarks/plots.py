"""The figures of RESULTS.md, each a pure function of a benchmark's JSON."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from benchmarks.tables import Figures, in_words, pivot_cases
from medjax.report.figures.style import BLUE, INK, MUTED, VERMILION, styled

COLORS = {"medjax": BLUE, "pytorch": VERMILION, "keras": MUTED}
AXIS_LABELS = {
    "images": "images",
    "image_size": "side in pixels",
    "batch_size": "batch size",
    "folds": "folds",
}
PREFIXES = {"images": "n", "image_size": "size", "batch_size": "batch", "folds": "k"}


@styled
def plot_throughput(figures: Figures) -> Figure:
    """Training images a second of medjax and of the peers that were measured, with the limit of the matrix product."""
    pivot = pivot_cases(figures)
    systems = [name for name in pivot.columns if name.split("_")[0] in COLORS]
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(systems)
    for number, name in enumerate(systems):
        heights = [pivot.columns[name].get(case, 0) for case in pivot.cases]
        places = np.arange(len(pivot.cases)) + (number - (len(systems) - 1) / 2) * width
        bars = axes.bar(places, heights, 0.9 * width, color=COLORS[name.split("_")[0]], label=in_words(name))
        labels = [f"{height:,.0f}" if height else "" for height in heights]
        axes.bar_label(bars, labels, fontsize=7.5, color=INK, padding=2)
    shares = pivot.columns["fraction_of_limit"]
    limit = np.mean([figures[case] / share for case, share in shares.items() if share])
    words = f"all multiplications as f32 matrix products: {limit:,.0f}"
    axes.axhline(limit, color=INK, linewidth=0.8, linestyle=(0, (3, 1.5)), label=words)
    axes.set_xticks(range(len(pivot.cases)), [in_words(case) for case in pivot.cases])
    axes.set_ylabel("training images a second")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(systems) + 1, borderaxespad=0)
    return figure


@styled
def plot_networks(figures: Figures) -> Figure:
    """Images a second of medjax over PyTorch's, a row a network, with what was asked for in training."""
    tasks = {task: figures.get(task, []) for task in ("training", "inference")}
    names = list(dict.fromkeys(row["network"] for rows in tasks.values() for row in rows))
    figure = Figure(figsize=(8, 0.22 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots()

    def draw(rows: Sequence[Mapping[str, Any]], key: str, label: str, **style: Any) -> None:
        places = [names.index(row["network"]) for row in rows]
        axes.scatter([row.get(key, np.nan) for row in rows], places, label=label, zorder=3, **style)

    for (task, rows), fill in zip(tasks.items(), (BLUE, "white"), strict=True):
        draw(rows, "ratio", task, s=28, facecolor=fill, edgecolor=BLUE)
    draw(tasks["training"], "asked_for", "asked for in training", s=70, marker="|", color=VERMILION)
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("images a second, medjax over PyTorch")
    axes.grid(axis="both")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0)
    return figure


@styled
def plot_scaling(figures: Figures) -> Figure:
    """Seconds (logarithmic) and peak memory over each axis, with the powers that were fitted."""
    tables = figures["tables"]
    figure = Figure(figsize=(2.3 * len(tables) + 0.6, 4.2), layout="constrained")
    grid = figure.subplots(2, len(tables), squeeze=False, sharex="col", sharey="row")
    grid[0, 0].set_yscale("log")  # of the whole row
    for (upper, lower), (axis, rows) in zip(grid.T, tables.items(), strict=True):
        for axes, quantity, name in (
            (upper, "seconds", "exponent"),
            (lower, "peak_mebibytes", "memory_exponent"),
        ):
            slope, deviation = (figures[f"{PREFIXES[axis]}_{name}{end}"] for end in ("", "_sd"))
            _draw_power(axes, rows, axis, quantity, slope)
            axes.set_title(f"power {slope:.2f} ± {deviation:.2f}".replace("-", "−"), fontsize=8.5)
        lower.set_xlabel(AXIS_LABELS[axis])
    grid[0, 0].yaxis.set_minor_formatter(FuncFormatter(_few_minors))
    grid[0, 0].set_ylabel("seconds: an epoch and scores")
    grid[1, 0].set_ylim(0, 1.1 * max(row["peak_mebibytes"] for rows in tables.values() for row in rows))
    grid[1, 0].set_ylabel("peak memory in MiB")
    return figure


@styled
def plot_time_to_accuracy(figures: Figures) -> Figure:
    """Test errors over seconds, a point a seed, and the Keras job if it was run."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    rows = figures["runs"]
    errors = [row["errors"] for row in rows]
    for kind, fill in (("cold", BLUE), ("warm", "white")):
        timed = [row for row in rows if f"{kind}_seconds" in row]  # not all are trained warm as well
        axes.scatter(
            [row[f"{kind}_seconds"] for row in timed],
            [row["errors"] for row in timed],
            s=30,
            facecolor=fill,
            edgecolor=BLUE,
            label=f"medjax, {kind} cache",
            zorder=3,
            clip_on=False,
        )
    if "keras_seconds" in figures:
        axes.scatter(
            figures["keras_seconds"],
            figures["keras_errors"],
            s=34,
            marker="s",
            color=VERMILION,
            label="Keras",
            zorder=3,
            clip_on=False,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(_few_minors))
    axes.tick_params(axis="x", which="both", length=3)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0, top=1.25 * max(1, *errors, figures.get("keras_errors", 0)))
    axes.set_xlabel("seconds from the archive to the scores")
    axes.set_ylabel(f"errors of {figures['test_images']:,} test images")
    axes.grid(axis="both")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0)
    return figure


PLOTS: dict[str, Callable[[Figures], Figure]] = {
    "throughput": plot_throughput,
    "networks": plot_networks,
    "scaling": plot_scaling,
    "time_to_accuracy": plot_time_to_accuracy,
}


def _draw_power(
    axes: Axes, rows: Sequence[Mapping[str, Any]], axis: str, quantity: str, slope: float
) -> None:
    """Points, and the curve of that power of the work through their middle."""
    places, work, values = (np.array([row[name] for row in rows], float) for name in (axis, "work", quantity))
    between = np.geomspace(places[0], places[-1])
    factor = np.exp(np.log(values).mean() - slope * np.log(work).mean())
    axes.plot(between, factor * np.interp(between, places, work) ** slope, color=MUTED, linewidth=1)
    axes.scatter(places, values, s=22, color=BLUE, zorder=3)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(places, [_thousands(place) for place in places], fontsize=8)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(axis="y")


def _thousands(value: float) -> str:
    return f"{value / 1000:,.3g}k" if value >= 1000 else f"{value:g}"


def _few_minors(value: float, _: object) -> str:
    """Labels at 2 and 5 between powers of ten."""
    leading = value / 10 ** np.floor(np.log10(value))
    return f"{value:,g}" if round(leading, 6) in (2, 5) else ""
