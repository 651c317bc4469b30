"""Training curves of one fold or several."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from medjax.report.figures.style import BLUE, MUTED, VERMILION, styled

PART_COLORS = {"train": BLUE, "val": VERMILION}
PART_DASHES = {"train": (0, (3, 1.5)), "val": "solid"}

Row = Mapping[str, float | int]
Curve = tuple[Float[np.ndarray, "_"], Float[np.ndarray, "_"]]  # epochs and values


@styled
def plot_curves(history: Sequence[Row]) -> Figure:
    """Plot loss and accuracy on training and validation images against the epoch, which is numbered from 1.

    `history` has one row per epoch (and fold) with `epoch` (from 0), `train_loss`, `val_loss` (nats), `train_accuracy` and
    `val_accuracy` (0 to 1). A value that is not finite leaves a gap; without any finite validation value only the
    training curve is drawn. Several folds (`fold`) are drawn as one thin line each, and their mean.
    """
    figure = Figure(figsize=(8, 3.3), layout="constrained")
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    folds = _rows_of_folds(history)
    has_val = any(math.isfinite(row[name]) for row in history for name in ("val_loss", "val_accuracy"))
    parts = ("train", "val") if has_val else ("train",)
    losses = _draw_curves(loss_axes, folds, parts, "loss")
    accuracies = _draw_curves(accuracy_axes, folds, parts, "accuracy")
    _scale_loss(loss_axes, losses)
    _scale_accuracy(accuracy_axes, accuracies)
    # Beside the title, where no curve crosses it.
    loss_axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0, columnspacing=1)
    return figure


def _rows_of_folds(history: Sequence[Row]) -> list[list[Row]]:
    """The rows of each fold in the order of their epochs; rows without `fold` belong to one fold."""
    folds: dict[float, list[Row]] = {}
    for row in sorted(history, key=lambda row: row["epoch"]):
        folds.setdefault(row.get("fold", 0), []).append(row)
    return [folds[fold] for fold in sorted(folds)] or [[]]


def _draw_curves(
    axes: Axes, folds: Sequence[Sequence[Row]], parts: Sequence[str], quantity: str
) -> Float[np.ndarray, "value"]:
    """Draw a line for each fold and part; return their finite values."""
    num_epochs = max((row["epoch"] + 1 for rows in folds for row in rows), default=0)
    first = min((row["epoch"] + 1 for rows in folds for row in rows), default=1)
    finite = [np.zeros(0)]
    for part in parts:
        curves = [_curve(rows, f"{part}_{quantity}") for rows in folds]
        _draw_part(axes, curves, part, size=3.0 if num_epochs <= 30 else 1.5)
        finite.extend(values[np.isfinite(values)] for _, values in curves)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    if num_epochs:
        margin = max(0.5, 0.03 * num_epochs)
        axes.set_xlim(max(0.5, first - margin), num_epochs + margin)
    axes.grid(axis="y")
    if not any(map(len, finite)):
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", color=MUTED)
    return np.concatenate(finite)


def _curve(rows: Sequence[Row], name: str) -> Curve:
    """Epochs from 1, and values; those that are not finite become NaN, which Matplotlib leaves out."""
    values = np.array([row[name] for row in rows], dtype=float)
    values[~np.isfinite(values)] = np.nan
    return np.array([row["epoch"] + 1 for row in rows], dtype=float), values


def _draw_part(axes: Axes, curves: Sequence[Curve], part: str, *, size: float) -> None:
    """One line with a marker at each epoch; for several folds thin lines, and their mean up to the last epoch of all."""
    style: dict[str, Any] = {"color": PART_COLORS[part], "linestyle": PART_DASHES[part], "marker": "o"}
    if len(curves) == 1:
        axes.plot(*curves[0], **style, linewidth=1.3, ms=size, label=part)
        return
    alpha = min(0.4, max(0.12, 3 / len(curves)))
    for epochs, values in curves:
        # Small markers, because a fold of a single epoch has no line.
        axes.plot(epochs, values, **style | {"linestyle": "solid"}, linewidth=0.7, ms=1, alpha=alpha)
    shared = min((epochs for epochs, _ in curves), key=len)
    mean = np.mean([values[: len(shared)] for _, values in curves], axis=0)
    axes.plot(shared, mean, **style, linewidth=1.5, ms=0.7 * size, label=part)


def _scale_loss(axes: Axes, losses: Float[np.ndarray, "value"]) -> None:
    """Use a log scale if the losses span more than a factor of ten."""
    positive = losses[losses > 0]
    ratio = positive.max() / positive.min() if len(positive) else 1.0
    if ratio > 10:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 300 else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title("Loss (nats, log scale)" if ratio > 10 else "Loss (nats)")


def _scale_accuracy(axes: Axes, accuracies: Float[np.ndarray, "value"]) -> None:
    """Use a linear scale, or one stretched towards 1 if the last, good epochs would be flat against the top."""
    is_stretched = len(accuracies) > 0 and accuracies.min() < 0.9 and accuracies.max() > 0.97
    axes.set_title("Accuracy" + ", scale stretched towards 1" * bool(is_stretched))
    if not is_stretched:
        axes.ticklabel_format(axis="y", useOffset=False)
        return
    axes.set_yscale("function", functions=(_stretch, _relax))
    lowest = max(0.0, 1 - 1.3 * (1 - accuracies.min()))
    axes.set_ylim(lowest, 1.0002)
    ticks = [0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1]
    axes.set_yticks([tick for tick in ticks if tick >= lowest])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _stretch(accuracy: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """An inverted log scale of the error rate plus 0.001, so that an accuracy of 1 is finite."""
    return -np.log10(np.maximum(1.001 - accuracy, 1e-9))


def _relax(height: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The inverse of `_stretch`."""
    return 1.001 - 10.0**-height
