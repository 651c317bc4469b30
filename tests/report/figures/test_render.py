"""Figures as PNG files: whole, with a narrow margin."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from medjax.report.figures.render import save_figure


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.9, 0.5), (0.5, 0.99)])
def test_nothing_of_a_figure_is_cut_off_and_its_margin_is_a_tenth_of_an_inch(place, tmp_path: Path) -> None:
    figure = Figure(figsize=(3, 1))
    figure.text(*place, "Misclassified images", ha="left", va="bottom")
    save_figure(figure, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        ink = np.argwhere(np.asarray(image.convert("L")) < 128)
        width, height = image.size
    sides = [*ink.min(axis=0), height - 1 - ink[:, 0].max(), width - 1 - ink[:, 1].max()]
    assert all(14 <= side <= 22 for side in sides), sides
    assert width > 190
