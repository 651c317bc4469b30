"""The picture of groups of identical and nearly identical images."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from medjax.records import Images
from medjax.report.figures.plots import _annotate, _draw_image
from medjax.report.figures.style import MUTED, styled, wrapped

IMAGES_SHOWN = 8
TITLE = "The largest groups of identical and nearly identical images: from the first to the least like it"


@styled
def plot_groups(
    groups: Sequence[UInt8[np.ndarray, "_ height width channel"]],
    class_names: Sequence[str],
    *,
    is_synthetic: bool,
) -> Figure:
    """A row for each group, beside the name of its class and its size: at most `IMAGES_SHOWN` of its images.

    They run from the first image to the one least like it, evenly spaced, so that a chain of look-alikes shows.
    """
    if len(groups) == 0:
        figure = Figure(figsize=(8, 1.2))
        text = "No identical or nearly identical images."
        figure.text(0.5, 0.5, text, ha="center", va="center", color=MUTED, fontsize=11)
        return figure
    figure = Figure(figsize=(IMAGES_SHOWN + 1.6, len(groups) + 0.5), layout="constrained")
    grid = figure.subplots(len(groups), IMAGES_SHOWN, squeeze=False)
    for row, images, name in zip(grid, groups, class_names, strict=True):
        for axes in row:
            axes.set_axis_off()
        for axes, image in zip(row, _spaced(images), strict=False):
            _draw_image(axes, image)
        label = f"{wrapped(name, 16)}\n{len(images):,} images"
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=8)
    _annotate(figure, TITLE, is_synthetic)
    return figure


def _spaced(images: Images) -> UInt8[np.ndarray, "few height width channel"]:
    """A few of the images, from the first to the one farthest from it."""
    difference = images.astype(np.float32) - images[0]
    order = np.argsort((difference**2).mean(axis=(1, 2, 3)), kind="stable")
    count = min(IMAGES_SHOWN, len(images))
    return images[order[np.linspace(0, len(order) - 1, count).round().astype(int)]]
