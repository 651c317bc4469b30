"""Style of the figures, and names fitted into them. The user's matplotlibrc has no effect on either.

Names come from strangers: control characters are escaped, `$` does not start mathematics, and a name that is
too long is abbreviated in the middle.
"""

import functools
import textwrap
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

import numpy as np
from matplotlib import style

from medjax.errors import printable
from medjax.report.figures.fonts import families_for

P = ParamSpec("P")
R = TypeVar("R")

# Okabe and Ito's palette, distinguishable in every common form of color blindness.
BLUE = "#0072B2"
VERMILION = "#D55E00"
INK = "#222222"
MUTED = "#666666"
HAIRLINE = "#BBBBBB"
GRID = "#E6E6E6"

STYLE = {
    "font.size": 9,
    "text.parse_math": False,
    "text.color": INK,
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "figure.titlesize": 10.5,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.major.width": 0.6,
    "ytick.minor.width": 0.4,
}


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: draw with `STYLE` and fonts that have the letters of all texts given, then restore Matplotlib's settings."""

    @functools.wraps(function)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        fonts = {"font.family": list(families_for(_texts([*args, *kwargs.values()])))}
        with style.context(["default", STYLE | fonts]):
            return function(*args, **kwargs)

    return drawn


def _texts(value: Any) -> Iterator[str]:
    """Every text in an argument of a figure: names and ids in sequences, arrays and keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | Mapping):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "OU":
        yield from map(str, value.flat)


def short(text: str, limit: int) -> str:
    """`text` in one line of at most `limit` characters, abbreviated in the middle, because names differ at their ends.

    Chinese, Japanese and Korean letters are twice as wide as others: of a text with such, half as many.
    """
    text = printable(text)
    limit = _fitting(text, limit)
    if len(text) <= limit:
        return text
    tail = limit // 2
    return f"{text[: limit - 1 - tail]}…{text[-tail:]}"


def wrapped(name: str, width: int) -> str:
    """`name` in at most two lines of at most `width` characters."""
    for limit in range(2 * width, 0, -1):
        lines = textwrap.wrap(short(name, limit), _fitting(name, width))
        if len(lines) <= 2:
            break
    return "\n".join(lines)


def apart(name: str) -> str:
    """`name` for a line with numbers beside it, which stay where they are though the name is read from the right."""
    is_reversed = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in name)
    mark = "\N{LEFT-TO-RIGHT MARK}" if is_reversed else ""
    return f"{mark}{name}{mark}"


def _fitting(text: str, width: int) -> int:
    """How many letters of `text` take the place of `width` Latin ones."""
    is_wide = any(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return max(width // 2, 3) if is_wide else width


def probability(value: float) -> str:
    """A probability (0 to 1) with two decimals; a value between is never rounded to 0 or 1."""
    if 0.995 <= value < 1:
        return ">0.99"
    return "<0.01" if 0 < value < 0.005 else f"{value:.2f}"
