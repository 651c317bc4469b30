"""Windows: which values of 16-bit images become black and white, by one rule for all images of a set.

The window is chosen when all images are decoded, so that an image's look never depends on that image alone.
"""

import warnings

import numpy as np
from jaxtyping import Bool, UInt8, UInt16

from medjax.records import Images, Window

BIT_DEPTHS = (8, 10, 12, 14, 16)
"""In use by scanners; files of more than 8 bits hold them in 16."""
MIN_LEVELS = 64
_TOGETHER = 256  # images


def choose_window(choice: str | tuple[int, int], largest: int) -> tuple[int, int]:
    """The values that become 0 and 255; "auto" takes 0 and the largest of the bit depth that `largest` needs."""
    if not isinstance(choice, str):
        return choice
    return 0, 2 ** next(bits for bits in BIT_DEPTHS if largest < 2**bits) - 1


def window_table(low: int, high: int) -> UInt8[np.ndarray, "65536"]:
    """The gray level of each value of 16 bits."""
    scale = 255 / max(high - low, 1)
    return np.clip(np.rint((np.arange(2**16) - low) * scale), 0, 255).astype(np.uint8)


def apply_window(
    table: UInt8[np.ndarray, "65536"],
    values: UInt16[np.ndarray, "n height width channel"],
    is_deep: Bool[np.ndarray, "n"],
    images: Images,
) -> Bool[np.ndarray, "256"]:
    """Write the gray levels of the images with 16 bits into `images`; returns which levels there are."""
    is_used = np.zeros(256, bool)
    for start in range(0, len(images), _TOGETHER):
        chosen = start + np.flatnonzero(is_deep[start : start + _TOGETHER])
        levels = table[values[chosen]]
        is_used[np.unique(levels)] = True
        images[chosen] = levels
    return is_used


def warn_of_few_levels(name: str, window: Window | None) -> None:
    """Warn where a window left few gray levels."""
    if window is not None and window.levels < MIN_LEVELS:
        warnings.warn(
            f"{name}: its 16-bit images have {window.levels} gray levels left, read from {window.low} to "
            f"{window.high}; another --window LO HI may keep more",
            stacklevel=3,
        )
