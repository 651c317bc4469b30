"""The picture of duplicates."""

import numpy as np
import pytest
from matplotlib.image import BboxImage

from medjax.report.figures.duplicate_groups import TITLE, plot_groups
from medjax.report.figures.gallery import SYNTHETIC_NOTE
from medjax.report.figures.render import save_figure


def group(n, channels=1):
    return np.random.default_rng(n).integers(0, 256, (n, 6, 6, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_for_each_group(tmp_path, channels):
    groups, names = [group(8, channels), group(2, channels)], ["CXR", "$\\frac{"]
    figure = plot_groups(groups, [40, 2], names, is_synthetic=True)
    save_figure(figure, tmp_path / "duplicates.png")
    assert (tmp_path / "duplicates.png").stat().st_size > 1000
    assert len(figure.findobj(BboxImage)) == 8 + 2
    texts = [text.get_text() for text in figure.texts]
    assert texts == [TITLE, SYNTHETIC_NOTE, "CXR\n40 images", "$\\frac{\n2 images"]


def test_without_duplicates_the_figure_says_so(tmp_path):
    figure = plot_groups([], [], [], is_synthetic=False)
    save_figure(figure, tmp_path / "duplicates.png")
    assert [text.get_text() for text in figure.texts] == ["No identical or near-identical images."]
