"""Figures: drawn at the edges, legible in their texts, the same bytes each time, no trace in Matplotlib."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import BboxImage
from matplotlib.text import Text

from medjax.report.figures.gallery import SYNTHETIC_NOTE
from medjax.report.figures.plots import (
    ERRORS_SHOWN,
    plot_augmented,
    plot_confusion_matrix,
    plot_errors,
    plot_samples,
)
from medjax.report.figures.render import save_figure
from medjax.report.figures.style import wrapped

LONG_NAME = "squamous cell carcinoma of the lung, stage 3"


def images(n: int, side: int = 28, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, side, side, channels), dtype=np.uint8)


def names(n: int) -> list[str]:
    return [LONG_NAME, "CXR", "a_b", "$\\frac{", "汉字", *(f"class {i}" for i in range(n))][:n]


def confusion(n: int) -> np.ndarray:
    counts = np.diag(np.full(n, 1500))
    counts[0, 1] = 1
    return counts


def errors_figure(n: int, **options: bool) -> Figure:
    confidence = np.linspace(0.5, 0.99, n)
    ids = np.array([f"folder/{i:03}.png" for i in range(n)], dtype=str)
    said = ["AbdomenCT"] * n
    return plot_errors(
        images(n), ids, ["CXR"] * n, said, confidence, 1 - confidence, **{"is_synthetic": False, **options}
    )


def augmented_figure(rows: int, twins: int, channels: int = 1) -> Figure:
    originals = images(rows, channels=channels)
    copies = np.repeat(originals[:, None], twins, axis=1) / np.float32(255)
    return plot_augmented(originals, copies, names(rows), is_synthetic=True)


FIGURES: dict[str, Callable[[], Figure]] = {
    "confusion of 2": lambda: plot_confusion_matrix(confusion(2), names(2)),
    "confusion of 14": lambda: plot_confusion_matrix(confusion(14), names(14)),
    "confusion with an empty class": lambda: plot_confusion_matrix(np.diag([3, 0, 2]), names(3)),
    "samples of 2": lambda: plot_samples(images(2), names(2), "samples", is_synthetic=True),
    "samples of 14 in RGB": lambda: plot_samples(
        images(14, channels=3), names(14), "samples", is_synthetic=False
    ),
    "augmented": lambda: augmented_figure(6, 5),
    "augmented in RGB": lambda: augmented_figure(1, 1, channels=3),
    "no errors": lambda: errors_figure(0),
    "1 error": lambda: errors_figure(1),
    "57 errors": lambda: errors_figure(57, is_synthetic=True),
}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def png(figure: Figure, path: Path) -> bytes:
    save_figure(figure, path)
    return path.read_bytes()


@pytest.mark.parametrize("name", FIGURES)
def test_same_input_same_bytes_whatever_the_users_settings(name: str, tmp_path: Path) -> None:
    first = png(FIGURES[name](), tmp_path / "first.png")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "savefig.dpi": 20}):
        second = png(FIGURES[name](), tmp_path / "second.png")
    assert first == second
    assert first.startswith(b"\x89PNG")
    assert not any(mark in first for mark in (b"tIME", b"Software", b"Creation"))


def test_matplotlib_is_left_as_it_was(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    for name in ("confusion of 14", "confusion of 2", "samples of 2", "1 error"):
        png(FIGURES[name](), tmp_path / "figure.png")
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_not_imported() -> None:
    code = "import sys, medjax.report.figures.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_confusion_matrix_shows_counts_names_and_totals() -> None:
    shown = texts(
        plot_confusion_matrix(confusion(6), ["AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "H"])
    )
    assert shown.count("1,500") == 6
    assert shown.count("1") == 1
    assert shown.count("0") == 29
    assert {"AbdomenCT", "AbdomenCT  (1,501)", "predicted class", "true class (images)"} <= set(shown)


def test_one_error_beside_thousands_is_visible() -> None:
    colors = plot_confusion_matrix(confusion(6), names(6)).axes[0].images[0].get_array()
    right, error, empty = (np.asarray(colors[0, column]) for column in (0, 1, 2))
    assert (empty == 1).all()
    assert np.abs(error - empty).max() > 0.15
    assert right[2] > right[0]  # blue
    assert error[0] > error[2]  # orange


def test_samples_are_drawn_pixel_by_pixel_with_fixed_gray_levels() -> None:
    gray = images(3) // 2
    figure = plot_samples(gray, ["CXR", "Hand", LONG_NAME], "One of each", is_synthetic=True)
    drawn = figure.findobj(BboxImage)
    assert len(drawn) == 3
    for image, source in zip(drawn, gray, strict=True):
        assert np.array_equal(image.get_array(), source[:, :, 0])
        assert image.get_clim() == (0, 255)
        assert image.get_interpolation() == "nearest"
    shown = texts(figure)
    assert {"One of each", "CXR", "Hand", SYNTHETIC_NOTE} <= set(shown)
    assert wrapped(LONG_NAME, 16) in shown


@pytest.mark.parametrize("is_synthetic", [True, False])
def test_only_synthetic_images_carry_the_note(is_synthetic: bool) -> None:
    copies = images(2)[:, None] / np.float32(255)
    for figure in (
        plot_samples(images(2), names(2), "samples", is_synthetic=is_synthetic),
        plot_augmented(images(2), copies, names(2), is_synthetic=is_synthetic),
        errors_figure(3, is_synthetic=is_synthetic),
    ):
        assert (SYNTHETIC_NOTE in texts(figure)) == is_synthetic


def test_augmented_stands_beside_its_original() -> None:
    figure = augmented_figure(2, 3)
    drawn = figure.findobj(BboxImage)
    assert len(drawn) == 2 * (1 + 3)
    assert [image.get_clim()[1] for image in drawn[:4]] == [255, 1, 1, 1]
    assert {"original", "augmented", "CXR"} <= set(texts(figure))


def test_errors_come_most_confident_first_and_say_how_many_are_left_out() -> None:
    figure = errors_figure(57)
    assert "Misclassified images, most confident first (showing 24 of 57)" in texts(figure)
    titles = [text for text in texts(figure) if text.startswith("folder/")]
    assert titles == [f"folder/{i:03}.png" for i in range(56, 56 - ERRORS_SHOWN, -1)]
    assert texts(figure)[2] == "CXR 0.01\n→ AbdomenCT 0.99"


def test_no_errors_is_said() -> None:
    assert texts(errors_figure(0, is_synthetic=True)) == ["No misclassified images."]
    assert any("(all 2)" in text for text in texts(errors_figure(2)))


def test_names_of_strangers_are_harmless(tmp_path: Path) -> None:
    hostile = ["$\\frac{1}", "line\nbreak", "bell\x07", "\udc80", "汉字", "x" * 300]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plot_samples(images(6), hostile, "$\\frac", is_synthetic=False)
        png(figure, tmp_path / "figure.png")
    shown = texts(figure)
    assert {"$\\frac", "$\\frac{1}", "line\\nbreak", "bell\\x07"} <= set(shown)
