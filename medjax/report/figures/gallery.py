"""Images in rows and columns with texts beside them, placed in inches.

Without axes and without Matplotlib's layout: an axes for each image and a layout of all of them took four times as long to
make and to draw.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Num
from matplotlib.figure import Figure
from matplotlib.image import BboxImage
from matplotlib.patches import Rectangle
from matplotlib.transforms import Affine2D, Bbox, Transform, TransformedBbox

from medjax.errors import printable
from medjax.report.figures.style import HAIRLINE, MUTED, STYLE

SYNTHETIC_NOTE = "synthetic phantom images, no patient data"

Inches = float | int

_TITLE_HEIGHT = 0.26
_NOTE_HEIGHT = 0.24


class Gallery(NamedTuple):
    """A figure whose images and texts are placed in inches, from the left and from below its title."""

    figure: Figure
    title_height: Inches

    def draw_image(
        self, image: Num[np.ndarray, "height width channel"], left: Inches, top: Inches, side: Inches
    ) -> None:
        """Draw an image into a square, on a fixed scale of gray levels: 0 to 255 for uint8, 0 to 1 for floats.

        Of gray levels of 16 bits the high byte is drawn, as a screen has no more.
        """
        image = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image
        white = 255 if image.dtype == np.uint8 else 1
        pixels = image[:, :, 0] if image.shape[2] == 1 else image
        height, width = (side * length / max(image.shape[:2]) for length in image.shape[:2])
        left, bottom = left + (side - width) / 2, self._upwards(top + (side + height) / 2)
        inches = self._inches()
        box = TransformedBbox(Bbox.from_bounds(left, bottom, width, height), inches)
        drawn = BboxImage(box, cmap="gray", interpolation="nearest", origin="upper")
        drawn.set_data(pixels)
        drawn.set_clim(0, white)
        self.figure.add_artist(drawn)
        style: dict[str, Any] = {"fill": False, "edgecolor": HAIRLINE, "linewidth": 0.5}
        self.figure.add_artist(Rectangle((left, bottom), width, height, transform=inches, **style))

    def write(self, x: Inches, y: Inches, text: str, **style: Any) -> None:
        """Write a text; `style` are options of Matplotlib's texts."""
        self.figure.text(x, self._upwards(y), text, transform=self._inches(), **style)

    def _inches(self) -> Transform:
        """From inches to pixels. By way of the figure's own transform, which moves where a PNG is larger than the figure."""
        width, height = self.figure.get_size_inches()
        return Affine2D().scale(1 / width, 1 / height) + self.figure.transFigure

    def _upwards(self, y: Inches) -> float:
        return self.figure.get_figheight() - self.title_height - y


def make_gallery(width: Inches, height: Inches, title: str, *, is_synthetic: bool) -> Gallery:
    """An empty gallery of this size in inches; to it come a title, unless it is empty, and the note that synthetic images carry."""
    title_height, note_height = _TITLE_HEIGHT * bool(title), _NOTE_HEIGHT * is_synthetic
    gallery = Gallery(Figure(figsize=(width, height + title_height + note_height)), title_height)
    if title:
        gallery.write(0, -title_height, printable(title), va="top", fontsize=STYLE["figure.titlesize"])
    if is_synthetic:
        style = {"fontsize": 8, "style": "italic", "color": MUTED}
        gallery.write(width / 2, height + note_height, SYNTHETIC_NOTE, ha="center", va="bottom", **style)
    return gallery
