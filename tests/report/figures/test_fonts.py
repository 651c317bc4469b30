"""Letters that Matplotlib's own font lacks: another font where there is one, else a number."""

from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from medjax.report.figures import fonts
from medjax.report.figures.fonts import families_for, warn_of_stand_ins, with_stand_ins
from medjax.report.figures.plots import plot_confusion_matrix
from medjax.report.figures.render import encode_figure

CHINESE = ["肺炎", "正常"]


def make_font(path: Path, family: str, letters: str) -> str:
    """A font in which every one of these letters is a full square."""
    pen = TTGlyphPen(None)
    for move, point in zip("mlll", [(0, 0), (0, 1000), (1000, 1000), (1000, 0)], strict=True):
        (pen.moveTo if move == "m" else pen.lineTo)(point)
    pen.closePath()
    square = pen.glyph()
    names = {ord(letter): f"u{ord(letter):X}" for letter in letters}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap(names)
    builder.setupGlyf(dict.fromkeys([".notdef", *names.values()], square))
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", *names.values()], (1000, 0)))
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=1000, usWinAscent=1000)
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.fixture
def installed(monkeypatch):
    """Fonts of the machine, by their paths; none unless a test adds some. Matplotlib's own are always there."""
    paths: list[str] = []
    own = [entry for entry in font_manager.fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: paths)
    caches = fonts._fallbacks, fonts._installed, fonts._letters_of
    for cache in caches:
        cache.cache_clear()
    yield paths
    for cache in caches:
        cache.cache_clear()


def test_most_names_need_no_other_font(installed):
    assert families_for(["CXR", "a_b", "Müller & 'x' $1$", "Пневмония", "e\u0301"]) == ("DejaVu Sans",)
    assert with_stand_ins(["CXR", "Пневмония"], "class") == (["CXR", "Пневмония"], ())


def test_fonts_of_the_machine_come_after_it_as_few_as_will_do(installed, tmp_path):
    installed.append(make_font(tmp_path / "a.ttf", "A Sans", "肺"))
    installed.append(make_font(tmp_path / "b.ttf", "B", "肺炎正常"))
    installed.append(make_font(tmp_path / "c.ttf", "C Sans", "胸"))
    assert families_for(CHINESE) == ("DejaVu Sans", "B")
    assert families_for(["肺炎", "胸"]) == ("DejaVu Sans", "B", "C Sans")
    assert with_stand_ins(CHINESE, "class") == (CHINESE, ())


def test_a_name_in_such_a_font_is_drawn_with_it(installed, tmp_path):
    without = encode_figure(plot_confusion_matrix(np.eye(2, dtype=int), CHINESE))
    fonts._installed.cache_clear(), fonts._fallbacks.cache_clear()
    installed.append(make_font(tmp_path / "b.ttf", "B", "肺炎正常"))
    assert encode_figure(plot_confusion_matrix(np.eye(2, dtype=int), CHINESE)) != without


def test_what_no_font_has_gets_a_number_and_a_line_of_the_legend(installed, tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    installed.append(str(tmp_path / "broken.ttf"))
    drawn = with_stand_ins(["CXR", "肺炎", "正常\x1b[2J"], "class")
    assert drawn == (["CXR", "class 2", "class 3"], ("class 2: 肺炎", "class 3: 正常\\x1b[2J"))
    with pytest.warns(UserWarning, match=r"2 names; .* \(class 2: 肺炎, class 3: .*such as Noto Sans CJK"):
        warn_of_stand_ins(drawn.legend)
    warn_of_stand_ins(())


def test_a_stand_in_is_nobody_elses_name(installed):
    names = ["肺炎", "class 1", "CXR"]
    assert with_stand_ins(names, "class").names == ["class 1", "class 2", "class 3"]


def test_without_shaping_scripts_that_need_it_get_numbers(installed, monkeypatch):
    names = ["صورة", "תמונה", "CXR"]
    monkeypatch.setattr(fonts, "_SHAPES", False)
    assert with_stand_ins(names, "class").names == ["class 1", "class 2", "CXR"]
    monkeypatch.setattr(fonts, "_SHAPES", True)
    assert with_stand_ins(names, "class").names == names
