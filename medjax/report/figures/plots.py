"""Figures of images and of the confusion matrix: pure functions from arrays to `matplotlib.figure.Figure`, without pyplot."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, Shaped, UInt, UInt8
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from medjax.report.figures.gallery import Gallery, make_gallery
from medjax.report.figures.style import (
    BLUE,
    GRID,
    HAIRLINE,
    INK,
    MUTED,
    STYLE,
    VERMILION,
    apart,
    probability,
    short,
    styled,
    wrapped,
)

ERRORS_SHOWN = 24
UNSURE_SHOWN = 12
MAPS_SHOWN = 8
"""Of errors, and of right answers, in the figure of maps."""

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
    images: UInt[np.ndarray, "class height width channel"],
    class_names: Sequence[str],
    title: str,
    *,
    is_synthetic: bool,
) -> Figure:
    """One sample image of each class, with its name above."""
    num_columns = math.ceil(len(images) / math.ceil(len(images) / 6))
    names = [wrapped(name, 16) for name in class_names]
    header = 0.08 + 0.15 * max(name.count("\n") + 1 for name in names)
    places = _places(len(images), num_columns, 1.34, header + 1.34)
    gallery = make_gallery(*_extent(places, 1.34, header + 1.34), title, is_synthetic=is_synthetic)
    for image, name, (left, top) in zip(images, names, places, strict=True):
        gallery.write(left + 0.62, top + header - 0.05, name, ha="center", va="bottom", fontsize=8.5)
        gallery.draw_image(image, left, top + header, 1.24)
    return gallery.figure


@styled
def plot_augmented(
    originals: UInt[np.ndarray, "row height width channel"],
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
    header = 0.22
    # A narrow empty column separates the originals.
    width = margin + cell * (num_copies + 1.25)
    gallery = make_gallery(width, header + cell * rows, "", is_synthetic=is_synthetic)
    for left, title in ((margin, "original"), (margin + 1.25 * cell, "augmented")):
        gallery.write(left, header - 0.06, title, va="bottom", fontsize=STYLE["axes.titlesize"])
    for row, (original, copies, name) in enumerate(zip(originals, augmented, names, strict=True)):
        top = header + cell * row
        gallery.write(margin - 0.12, top + cell / 2, name, ha="right", va="center")
        gallery.draw_image(original, margin, top, cell - 0.07)
        for column, image in enumerate(copies):
            left = margin + cell * (column + 1.25)
            gallery.draw_image(np.clip(image, 0, 1), left, top, cell - 0.07)
    return gallery.figure


@styled
def plot_errors(
    images: UInt[np.ndarray, "n height width channel"],
    ids: Texts,
    true_names: Texts,
    predicted_names: Texts,
    predicted_probabilities: Float[np.ndarray, "n"],
    true_probabilities: Float[np.ndarray, "n"],
    *,
    total: int | None = None,
    is_synthetic: bool,
) -> Figure:
    """Misclassified images, the most confident first, at most `ERRORS_SHOWN` of them; of `total` if these are not all.

    Above each image its file name; below it the true class, an arrow and the predicted class, each with the
    probability (0 to 1) that the model gave it.
    """
    if len(images) == 0:
        return _without_errors("No misclassified images.")
    shown = np.argsort(-predicted_probabilities, kind="stable")[:ERRORS_SHOWN]
    total = len(images) if total is None else total
    extent = f"showing {len(shown)} of {total}" if len(shown) < total else f"all {total}"
    title = f"Misclassified images, most confident first ({extent})"
    captions = _captions(true_names, predicted_names, predicted_probabilities, true_probabilities)
    return _draw_predictions(images, ids, captions, shown, title, is_synthetic=is_synthetic)


@styled
def plot_label_errors(
    images: UInt[np.ndarray, "n height width channel"],
    ids: Texts,
    captions: Texts,
    *,
    total: int,
    is_synthetic: bool,
) -> Figure:
    """Images with a wrong label, at most `ERRORS_SHOWN` of `total`, in the order given, each with its file name and caption."""
    if len(images) == 0:
        return _without_errors("No images with a wrong label.")
    extent = f"showing {len(images)} of {total}" if len(images) < total else f"all {total}"
    title = f"Images with a wrong label, the furthest from its threshold first ({extent})"
    return _draw_predictions(images, ids, captions, np.arange(len(images)), title, is_synthetic=is_synthetic)


@styled
def plot_unsure(
    images: UInt[np.ndarray, "n height width channel"],
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
    title = "Least confident predictions"
    captions = _captions(true_names, predicted_names, predicted_probabilities, true_probabilities)
    return _draw_predictions(images, ids, captions, shown, title, is_synthetic=is_synthetic)


def _without_errors(text: str) -> Figure:
    figure = Figure(figsize=(8, 1.2))
    figure.text(0.5, 0.5, text, ha="center", va="center", color=MUTED, fontsize=11)
    return figure


def _captions(
    true_names: Texts,
    predicted_names: Texts,
    predicted_probabilities: Float[np.ndarray, "n"],
    true_probabilities: Float[np.ndarray, "n"],
) -> list[str]:
    """The true class, an arrow and the predicted class of each image, with their probabilities."""
    each = zip(true_names, true_probabilities, predicted_names, predicted_probabilities, strict=True)
    return [
        f"{with_probability(true, float(of_true))}\n→ {with_probability(predicted, float(of_predicted))}"
        for true, of_true, predicted, of_predicted in each
    ]


def with_probability(name: str, value: float) -> str:
    """The name of a class, shortened, and a probability."""
    return f"{apart(short(name, 21))} {probability(value)}"


@styled
def plot_maps(
    overlays: UInt8[np.ndarray, "n tall wide 3"],
    images: UInt[np.ndarray, "n height width channel"],
    ids: Texts,
    true_names: Texts,
    predicted_names: Texts,
    predicted_probabilities: Float[np.ndarray, "n"],
    true_probabilities: Float[np.ndarray, "n"],
    *,
    is_synthetic: bool,
) -> Figure:
    """Each image beside itself under a map of what moved its answer, in the order given, labelled as in `plot_errors`."""
    places = _places(len(images), 4, 2.1, 1.66)
    title = "What moved the answers: errors, then the least confident right answers"
    gallery = make_gallery(*_extent(places, 2.1, 1.66), title, is_synthetic=is_synthetic)
    captions = _captions(true_names, predicted_names, predicted_probabilities, true_probabilities)
    for i, (left, top) in enumerate(places):
        gallery.draw_image(images[i], left + 0.04, top + 0.21, 0.98)
        gallery.draw_image(overlays[i], left + 1.05, top + 0.21, 0.98)
        _write_answer(gallery, left + 1.03, top, 1.24, ids[i], captions[i])
    return gallery.figure


def _confusion_shades(confusion: Integer[np.ndarray, "class class"]) -> Float[np.ndarray, "class class"]:
    """0 (white) for an empty cell, otherwise 0.2 to 1, growing with the square root of its share of the row."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    return np.where(confusion > 0, 0.2 + 0.8 * np.sqrt(shares), 0.0)


def _confusion_colors(shades: Float[np.ndarray, "class class"]) -> Float[np.ndarray, "class class 3"]:
    is_correct = np.eye(len(shades), dtype=bool)[:, :, None]
    hues = np.where(is_correct, to_rgb(BLUE), to_rgb(VERMILION))
    return 1 - shades[:, :, None] * (1 - hues)


def _places(count: int, num_columns: int, width: float, height: float) -> list[tuple[float, float]]:
    """The left and the top of each of `count` cells of this size, row by row."""
    return [(width * (index % num_columns), height * (index // num_columns)) for index in range(count)]


def _extent(places: Sequence[tuple[float, float]], width: float, height: float) -> tuple[float, float]:
    """The width and the height of all cells together."""
    lefts, tops = zip(*places, strict=True)
    return max(lefts) + width, max(tops) + height


def _draw_predictions(
    images: UInt[np.ndarray, "n height width channel"],
    ids: Texts,
    captions: Texts,
    shown: Integer[np.ndarray, "shown"],
    title: str,
    *,
    is_synthetic: bool,
) -> Figure:
    """A grid of the `shown` images, each with its file name above and its caption, of two lines, below."""
    places = _places(len(shown), 4, 2.0, 2.35)
    gallery = make_gallery(*_extent(places, 2.0, 2.35), title, is_synthetic=is_synthetic)
    for i, (left, top) in zip(shown, places, strict=True):
        gallery.draw_image(images[i], left + 0.14, top + 0.21, 1.72)
        _write_answer(gallery, left + 1, top, 1.98, ids[i], captions[i])
    return gallery.figure


def _write_answer(gallery: Gallery, middle: float, top: float, below: float, id: str, caption: str) -> None:
    """An image's file name above it, and its caption `below` it."""
    style: dict[str, Any] = {"ha": "center", "fontsize": 7.5, "color": MUTED}
    gallery.write(middle, top + 0.17, short(id, 28), va="bottom", **style)
    gallery.write(middle, top + below, caption, ha="center", va="top", fontsize=8)
