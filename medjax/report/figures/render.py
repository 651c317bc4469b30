"""Figures as PNG files."""

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from medjax.files import write_whole
from medjax.report.figures.style import styled

_DPI = 160
_MARGIN = 0.1  # inches


def save_figure(figure: Figure, path: Path, *, root: Path | None = None) -> None:
    """Write a figure as a PNG. `root` is that of `write_whole`."""
    with write_whole(path, root=root) as file:
        file.write(encode_figure(figure))


@styled
def encode_figure(figure: Figure, legend: Sequence[str] = ()) -> bytes:
    """A figure as a PNG without date or program version, so that the same figure gives the same bytes.

    The PNG's text `Description` holds `legend`, a line for each name that has a stand-in (see `fonts.with_stand_ins`).
    """
    description = PngInfo()
    if legend:
        description.add_itxt("Description", "\n".join(legend))
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # Without stand-ins, letters that the fonts lack are drawn as boxes; a warning for each of them helps nobody.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        _rendered(figure).save(stream, format="png", dpi=(_DPI, _DPI), pnginfo=description)
    return stream.getvalue()


def _rendered(figure: Figure) -> Image.Image:
    """The figure, cropped to what is drawn and a margin, as by Matplotlib's `bbox_inches="tight"`.

    That draws a figure twice, to find what is drawn first. Only what does not fit onto the figure needs it.
    """
    figure.dpi = _DPI
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    left, bottom, right, top = figure.get_tightbbox(canvas.get_renderer()).extents * _DPI
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]
    height, width = pixels.shape[:2]
    if min(left, bottom, width - right, height - top) < -1:
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=_DPI, bbox_inches="tight", pad_inches=_MARGIN)
        return Image.open(stream).convert("RGB")
    margin = _MARGIN * _DPI
    left, upper = math.floor(left - margin), math.floor(height - top - margin)
    right, lower = math.ceil(right + margin), math.ceil(height - bottom + margin)
    cropped = Image.new("RGB", (right - left, lower - upper), "white")
    cropped.paste(Image.fromarray(pixels), (-left, -upper))
    return cropped
