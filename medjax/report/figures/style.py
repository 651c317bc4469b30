"""Style of the figures, and names fitted into them. The user's matplotlibrc has no effect on either.

Names come from strangers: control characters are escaped, `$` does not start mathematics, and a name that is
too long is abbreviated in the middle.
"""

import textwrap

from matplotlib import style

from medjax.errors import printable

# Okabe and Ito's palette, distinguishable in every common form of color blindness.
BLUE = "#0072B2"
VERMILION = "#D55E00"
INK = "#222222"
MUTED = "#666666"
HAIRLINE = "#BBBBBB"
GRID = "#E6E6E6"

STYLE = {
    "font.family": ["DejaVu Sans"],  # shipped with Matplotlib: the same figure on every machine
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

styled = style.context(["default", STYLE])
"""Decorator: draw with `STYLE`, then restore Matplotlib's settings."""


def short(text: str, limit: int) -> str:
    """`text` in one line of at most `limit` characters, abbreviated in the middle, because names differ at their ends."""
    text = printable(text)
    if len(text) <= limit:
        return text
    tail = limit // 2
    return f"{text[: limit - 1 - tail]}…{text[-tail:]}"


def wrapped(name: str, width: int) -> str:
    """`name` in at most two lines of at most `width` characters."""
    for limit in range(2 * width, 0, -1):
        lines = textwrap.wrap(short(name, limit), width)
        if len(lines) <= 2:
            break
    return "\n".join(lines)


def probability(value: float) -> str:
    """A probability (0 to 1) with two decimals; a value between is never rounded to 0 or 1."""
    if 0.995 <= value < 1:
        return ">0.99"
    return "<0.01" if 0 < value < 0.005 else f"{value:.2f}"
