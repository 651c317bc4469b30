"""A gallery: where its images and texts are, and how gray they are."""

import io

import numpy as np
import pytest
from matplotlib.image import BboxImage
from matplotlib.text import Text
from PIL import Image

from medjax.report.figures.gallery import SYNTHETIC_NOTE, make_gallery
from medjax.report.figures.render import encode_figure


@pytest.mark.parametrize(("title", "is_synthetic"), [("", False), ("Two images", True)])
def test_what_is_drawn_is_counted_from_the_left_and_from_below_the_title(title, is_synthetic):
    gallery = make_gallery(4, 2, title, is_synthetic=is_synthetic)
    gallery.draw_image(np.zeros((6, 6, 1), np.uint8), left=1, top=0.25, side=1.5)
    gallery.write(1, 0.25, "CXR")
    figure = gallery.figure
    from_top = figure.get_figheight() - gallery.title_height - 0.25
    [image] = figure.findobj(BboxImage)
    box = image.get_window_extent().extents / figure.dpi
    assert np.allclose(box, [1, from_top - 1.5, 2.5, from_top])
    written = {text.get_text(): text for text in figure.findobj(Text)}
    assert np.allclose(written["CXR"].get_window_extent().p0[0] / figure.dpi, 1, atol=0.02)
    assert (gallery.title_height > 0, SYNTHETIC_NOTE in written) == (bool(title), is_synthetic)


def test_an_image_that_is_no_square_keeps_its_shape():
    gallery = make_gallery(2, 2, "", is_synthetic=False)
    gallery.draw_image(np.zeros((3, 6, 3), np.uint8), left=0, top=0, side=2)
    [image] = gallery.figure.findobj(BboxImage)
    assert np.allclose(image.get_window_extent().extents / gallery.figure.dpi, [0, 0.5, 2, 1.5])


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.float32, 1)])
def test_gray_levels_have_a_fixed_scale(dtype, white):
    gallery = make_gallery(2, 2, "", is_synthetic=False)
    gallery.draw_image(np.full((2, 2, 1), white / 2).astype(dtype), left=0, top=0, side=2)
    [image] = gallery.figure.findobj(BboxImage)
    assert image.get_clim() == (0, white)


def test_texts_that_are_wider_than_the_gallery_are_drawn_whole():
    gallery = make_gallery(1, 1, "", is_synthetic=False)
    gallery.write(0.5, 0.5, "wider than an inch at both sides", ha="center")
    with Image.open(io.BytesIO(encode_figure(gallery.figure))) as image:
        ink = np.flatnonzero((np.asarray(image.convert("L")) < 128).any(axis=0))
        assert 12 < ink[0] < 22
        assert 300 < ink[-1] < image.width - 12
