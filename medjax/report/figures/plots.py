"""Figures of images and of the confusion matrix: pure functions from arrays to `matplotlib.figure.Figure`, without pyplot."""

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer, Num, Shaped, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from medjax.errors import printable
from medjax.files import write_whole
from medjax.report.figures.style import (
    BLUE,
    GRID,
    HAIRLINE,
    INK,
    MUTED,
    VERMILION,
    apart,
    probability,
    short,
    styled,
    wrapped,
)

SYNTHETIC_NOTE = "synthetic phantom images, no patient data"
ERRORS_SHOWN = 24
UNSURE_SHOWN = 12

Texts = Sequence[str] | Shaped[np.ndarray, "n"]


@styled
def plot_confusion_matrix(
    confusion: Integer[np.ndarray, "class class"], class_names: Sequence[str]
) -> Figure:
    """Counts of images; rows are the true class, columns the predicted one.

    The shade of a cell grows with its share of the row, blue if correct and orange if wrong, so that a single error is
    visible beside a diagonal of thousands.
    """
    num_classes = len(confusion)
    cell = min(1.0, max(0.5, 5 / num_classes))
    figure = Figure(figsize=(cell * num_classes + 2.4, cell * num_classes + 1.8), layout="constrained")
    axes = figure.subplots()
    shades = _confusion_shades(confusion)
    axes.imshow(_confusion_colors(shades), interpolation="nearest")
    for (row, column), count in np.ndenumerate(confusion):
        color = "white" if shades[row, column] > 0.6 else INK if count else HAIRLINE
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=color, fontsize=8 + 2 * cell)
    names = [short(name, 26) for name in class_names]
    totals = confusion.sum(axis=1)
    is_slanted = max(map(len, names)) > 9 * cell
    if is_slanted:
        axes.set_xticks(range(num_classes), names, rotation=40, ha="right", rotation_mode="anchor")
    else:
        axes.set_xticks(range(num_classes), names)
    rows = [f"{apart(name)}  ({n:,})" for name, n in zip(names, totals, strict=True)]
    axes.set_yticks(range(num_classes), rows)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class (images)")
    axes.set_xticks(np.arange(num_classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(num_classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=GRID)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    figure.supxlabel("shade: share of the true class; blue: correct, orange: wrong", fontsize=8, color=MUTED)
    return figure


@styled
def plot_samples(
    images: UInt8[np.ndarray, "class height width channel"],
    class_names: Sequence[str],
    title: str,
    *,
    is_synthetic: bool,
) -> Figure:
    """One sample image of each class, with its name above."""
    rows = math.ceil(len(images) / 6)
    columns = math.ceil(len(images) / rows)
    figure, grid = _gallery(rows, columns, cell=(1.33, 1.6))
    for axes, image, name in zip(grid.flat, images, class_names, strict=False):
        draw_image(axes, image)
        axes.set_title(wrapped(name, 16), loc="center", fontsize=8.5)
    annotate(figure, title, is_synthetic)
    return figure


@styled
def plot_augmented(
    originals: UInt8[np.ndarray, "row height width channel"],
    augmented: Float[np.ndarray, "row copy height width channel"],
    class_names: Sequence[str],
    *,
    is_synthetic: bool,
) -> Figure:
    """Each row: an original image, and random augmentations of it in [0, 1], as training sees them."""
    rows, num_copies = augmented.shape[:2]
    cell = min(1.1, 6.8 / (num_copies + 1.25))
    names = [wrapped(name, 16) for name in class_names]
    margin = 0.3 + 0.075 * max(len(line) for name in names for line in name.split("\n"))
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
    figure = Figure(figsize=(cell * (num_copies + 1.25) + margin, cell * rows + 0.5), layout=layout)
    # A narrow empty column separates the originals.
    grid = figure.subplots(rows, num_copies + 2, squeeze=False, width_ratios=[1, 0.25, *[1] * num_copies])
    for row_axes, original, copies, name in zip(grid, originals, augmented, names, strict=True):
        draw_image(row_axes[0], original)
        row_axes[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)
        row_axes[1].set_axis_off()
        for axes, image in zip(row_axes[2:], copies, strict=True):
            draw_image(axes, np.clip(image, 0, 1))
    grid[0, 0].set_title("original")
    grid[0, 2].set_title("augmented")
    annotate(figure, "", is_synthetic)
    return figure


@styled
def plot_errors(
    images: UInt8[np.ndarray, "n height width channel"],
    ids: Texts,
    true_names: Texts,
    predicted_names: Texts,
    predicted_probabilities: Float[np.ndarray, "n"],
    true_probabilities: Float[np.ndarray, "n"],
    *,
    is_synthetic: bool,
) -> Figure:
    """Misclassified images, the most confident first, at most `ERRORS_SHOWN` of them.

    Above each image its file name; below it the true class, an arrow and the predicted class, each with the
    probability (0 to 1) that the model gave it.
    """
    if len(images) == 0:
        figure = Figure(figsize=(8, 1.2))
        figure.text(0.5, 0.5, "No misclassified images.", ha="center", va="center", color=MUTED, fontsize=11)
        return figure
    shown = np.argsort(-predicted_probabilities, kind="stable")[:ERRORS_SHOWN]
    texts = ids, true_names, predicted_names
    figure = _draw_predictions(images, *texts, predicted_probabilities, true_probabilities, shown)
    extent = f"showing {len(shown)} of {len(images)}" if len(shown) < len(images) else f"all {len(images)}"
    annotate(figure, f"Misclassified images, most confident first ({extent})", is_synthetic)
    return figure


@styled
def plot_unsure(
    images: UInt8[np.ndarray, "n height width channel"],
    ids: Texts,
    true_names: Texts,
    predicted_names: Texts,
    predicted_probabilities: Float[np.ndarray, "n"],
    true_probabilities: Float[np.ndarray, "n"],
    *,
    is_synthetic: bool,
) -> Figure:
    """The `UNSURE_SHOWN` images whose predicted class has the lowest probability, labelled as in `plot_errors`."""
    shown = np.argsort(predicted_probabilities, kind="stable")[:UNSURE_SHOWN]
    texts = ids, true_names, predicted_names
    figure = _draw_predictions(images, *texts, predicted_probabilities, true_probabilities, shown)
    annotate(figure, "Least confident predictions", is_synthetic)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG."""
    with write_whole(path) as file:
        file.write(encode_figure(figure))


@styled
def encode_figure(figure: Figure, legend: Sequence[str] = ()) -> bytes:
    """A figure as a PNG without date or program version, so that the same figure gives the same bytes.

    The PNG's text `Description` holds `legend`, a line for each name that has a stand-in (see `fonts.with_stand_ins`).
    """
    metadata = {"Software": None, **({"Description": "\n".join(legend)} if legend else {})}
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # Without stand-ins, letters that the fonts lack are drawn as boxes; a warning for each of them helps nobody.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(stream, format="png", dpi=160, bbox_inches="tight", metadata=metadata)
    return stream.getvalue()


def _confusion_shades(confusion: Integer[np.ndarray, "class class"]) -> Float[np.ndarray, "class class"]:
    """0 (white) for an empty cell, otherwise 0.2 to 1, growing with the square root of its share of the row."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    return np.where(confusion > 0, 0.2 + 0.8 * np.sqrt(shares), 0.0)


def _confusion_colors(shades: Float[np.ndarray, "class class"]) -> Float[np.ndarray, "class class 3"]:
    is_correct = np.eye(len(shades), dtype=bool)[:, :, None]
    hues = np.where(is_correct, to_rgb(BLUE), to_rgb(VERMILION))
    return 1 - shades[:, :, None] * (1 - hues)


def _gallery(rows: int, columns: int, cell: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    """An empty grid of axes; `cell` is the width and height of each in inches."""
    figure = Figure(
        figsize=(cell[0] * columns, cell[1] * rows + 0.4), layout=ConstrainedLayoutEngine(h_pad=0.09)
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, grid


def _draw_predictions(
    images: UInt8[np.ndarray, "n height width channel"],
    ids: Texts,
    true_names: Texts,
    predicted_names: Texts,
    predicted_probabilities: Float[np.ndarray, "n"],
    true_probabilities: Float[np.ndarray, "n"],
    shown: Integer[np.ndarray, "shown"],
) -> Figure:
    """A grid of the `shown` images, each with its file name, its classes and their probabilities."""
    figure, grid = _gallery(math.ceil(len(shown) / 4), min(4, len(shown)), cell=(2.0, 2.3))
    for axes, i in zip(grid.flat, shown, strict=False):
        draw_image(axes, images[i])
        axes.set_title(short(ids[i], 28), loc="center", fontsize=7.5, color=MUTED)
        axes.set_xlabel(
            f"{apart(short(true_names[i], 21))} {probability(float(true_probabilities[i]))}\n"
            f"→ {apart(short(predicted_names[i], 21))} {probability(float(predicted_probabilities[i]))}",
            fontsize=8,
        )
    return figure


def draw_image(axes: Axes, image: Num[np.ndarray, "height width channel"]) -> None:
    """Draw an image on a fixed scale of gray levels: 0 to 255 for uint8, 0 to 1 for floats."""
    white = 255 if image.dtype == np.uint8 else 1
    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=white, interpolation="nearest")
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=HAIRLINE, linewidth=0.5)


def annotate(figure: Figure, title: str, is_synthetic: bool) -> None:
    """Add a title, unless it is empty, and the note that synthetic images carry."""
    if title:
        figure.suptitle(printable(title), x=0.01, ha="left")
    if is_synthetic:
        figure.supxlabel(SYNTHETIC_NOTE, fontsize=8, style="italic", color=MUTED)
