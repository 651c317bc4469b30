"""Figure of the largest groups of duplicates."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt
from matplotlib.figure import Figure

from medjax.report.figures.fonts import warn_of_stand_ins, with_stand_ins
from medjax.report.figures.gallery import make_gallery
from medjax.report.figures.style import MUTED, styled, wrapped

IMAGES_SHOWN = 8
TITLE = (
    "Largest groups of identical and near-identical images, each from its first image to the farthest from it"
)


@styled
def plot_groups(
    groups: Sequence[UInt[np.ndarray, "_ height width channel"]],
    sizes: Sequence[int],
    class_names: Sequence[str],
    *,
    is_synthetic: bool,
) -> Figure:
    """One row per group with its class, its size and at most `IMAGES_SHOWN` of its images, given in `groups`.

    They should be spread from the first to the farthest from it, so that a chain of near-duplicates becomes visible.
    """
    if len(groups) == 0:
        figure = Figure(figsize=(8, 1.2))
        text = "No identical or near-identical images."
        figure.text(0.5, 0.5, text, ha="center", va="center", color=MUTED, fontsize=11)
        return figure
    names, legend = with_stand_ins(class_names, "class of row")
    warn_of_stand_ins(legend)
    margin = 1.6
    gallery = make_gallery(margin + IMAGES_SHOWN, len(groups), TITLE, is_synthetic=is_synthetic)
    for row, (images, size, name) in enumerate(zip(groups, sizes, names, strict=True)):
        label = f"{wrapped(name, 16)}\n{size:,} images"
        gallery.write(margin - 0.12, row + 0.46, label, ha="right", va="center")
        for column, image in enumerate(images):
            gallery.draw_image(image, margin + column, row, 0.93)
    return gallery.figure
