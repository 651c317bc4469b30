"""Fonts that have the letters of strangers' names, and stand-ins for the names that no installed font can draw.

Matplotlib ships DejaVu Sans, which has no Chinese, Japanese or Korean letters, among others, and draws a box for each letter
that it lacks. Where such letters occur, fonts of the machine that have them come after it.
"""

import functools
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from matplotlib import font_manager, ft2font

from medjax.errors import counted, listed, printable

SHIPPED = "DejaVu Sans"
"""Comes with Matplotlib: what it has looks the same on every machine."""
_SHAPES = hasattr(
    ft2font, "__libraqm_version__"
)  # Matplotlib 3.11 joins and orders letters as their script does
_UNASSIGNED = 0x378  # a font that has even this draws a placeholder for every letter
_NAMED = 5


class Drawn(NamedTuple):
    """Names as figures show them."""

    names: list[str]
    legend: tuple[str, ...]  # "class 1: …" for each name that has a stand-in


def with_stand_ins(names: Sequence[str], noun: str) -> Drawn:
    """`names` with "<noun> 1", "<noun> 2", … (the position) instead of each that no installed font can draw.

    All of them get a number where a stand-in would be another one's name.
    """
    numbered = [f"{noun} {number}" for number in range(1, len(names) + 1)]
    can_draw = [_is_drawable(name) for name in names]
    if not all(can_draw) and set(numbered) & set(names):
        can_draw = [False] * len(names)
    rows = list(zip(numbered, names, can_draw, strict=True))
    return Drawn(
        [name if is_drawn else number for number, name, is_drawn in rows],
        tuple(f"{number}: {printable(name)}" for number, name, is_drawn in rows if not is_drawn),
    )


def warn_of_stand_ins(legend: Sequence[str]) -> None:
    """Warn once, if anything stands in a figure by a number."""
    if legend:
        warnings.warn(
            f"no installed font has all letters of {counted(len(legend), 'name')}; the figures "
            f"show numbers instead ({listed(legend, _NAMED)}): install a font that has them, such as Noto Sans CJK",
            stacklevel=2,
        )


def families_for(texts: Iterable[str]) -> tuple[str, ...]:
    """Font families that have the letters of `texts`, as far as the machine has them: DejaVu Sans, then what it lacks."""
    missing = frozenset(map(ord, "".join(map(printable, texts)))) - _letters_of(SHIPPED)
    return (SHIPPED, *_fallbacks(missing))


def _is_drawable(text: str) -> bool:
    missing = set(map(ord, printable(text))).difference(*map(_letters_of, families_for([text])))
    return not missing and (_SHAPES or not any(map(_needs_shaping, text)))


def _needs_shaping(letter: str) -> bool:
    """Whether a letter is written from right to left, or changes its place beside others."""
    return unicodedata.bidirectional(letter) in ("R", "AL") or unicodedata.category(letter) == "Mc"


@functools.lru_cache
def _fallbacks(missing: frozenset[int]) -> tuple[str, ...]:
    """Few installed families that together have the letters in `missing`, or as many of them as can be had."""
    chosen: list[str] = []
    while missing:
        best = max(_installed(), key=lambda family: len(missing & _letters_of(family)), default=SHIPPED)
        if not missing & _letters_of(best):
            break
        chosen.append(best)
        missing -= _letters_of(best)
    return tuple(chosen)


@functools.cache
def _installed() -> list[str]:
    """Font families of the machine, those without serifs first."""
    manager = font_manager.fontManager
    known = {entry.fname for entry in manager.ttflist}
    for path in set(font_manager.findSystemFonts()) - known:  # installed since Matplotlib made its list
        try:
            manager.addfont(path)
        except (OSError, RuntimeError, ValueError):  # of a kind that it cannot read
            continue
    return sorted({entry.name for entry in manager.ttflist}, key=lambda name: ("Sans" not in name, name))


@functools.cache
def _letters_of(family: str) -> frozenset[int]:
    """Code points that a font family has; none if it cannot be drawn with, or draws placeholders."""
    # Not by `findfont`, which complains of each family that has no regular weight.
    faces = [entry for entry in font_manager.fontManager.ttflist if entry.name == family]
    if not faces:
        return frozenset()
    try:
        font = font_manager.get_font(min(faces, key=_distance_from_regular).fname)
    except (OSError, RuntimeError, ValueError):
        return frozenset()
    letters = frozenset(font.get_charmap())
    return letters if font.scalable and _UNASSIGNED not in letters else frozenset()


def _distance_from_regular(face: font_manager.FontEntry) -> tuple[bool, int]:
    weight = font_manager.weight_dict.get(face.weight, 400) if isinstance(face.weight, str) else face.weight
    return face.style != "normal", abs(weight - 400)
