"""Windows: which values of 16-bit images become black and white, by one rule for all images of a set.

Gray levels are of 8 or of 16 bits, from black, 0, to white, the largest value of their type.

The window is chosen when all images are decoded, so that an image's look never depends on that image alone.
"""

import warnings

import numpy as np
from jaxtyping import Bool, UInt, UInt8, UInt16

from medjax.memory import empty_for_device
from medjax.records import Images, Window

BIT_DEPTHS = (8, 10, 12, 14, 16)
"""In use by scanners; files of more than 8 bits hold them in 16."""
MIN_LEVELS = 64
_TOGETHER = 256  # images
REPEATED = 257
"""Of a gray level of 8 bits, to make one of 16: the low byte is taken to be as the high one."""

Table = UInt8[np.ndarray, "65536"] | UInt16[np.ndarray, "65536"]


def choose_window(choice: str | tuple[int, int], largest: int) -> tuple[int, int]:
    """The values that become black and white; "auto" takes 0 and the largest of the bit depth that `largest` needs."""
    if not isinstance(choice, str):
        return choice
    return 0, 2 ** next(bits for bits in BIT_DEPTHS if largest < 2**bits) - 1


def window_table(low: int, high: int, bits: int = 8) -> Table:
    """The gray level, of so many bits, of each value of 16 bits."""
    white = 2**bits - 1
    scale = white / max(high - low, 1)
    levels = np.clip(np.rint((np.arange(2**16) - low) * scale), 0, white)
    return levels.astype(np.uint8 if bits == 8 else np.uint16)


def apply_window(
    table: Table,
    images: UInt16[np.ndarray, "n height width channel"],
    is_deep: Bool[np.ndarray, "n"],
    is_used: Bool[np.ndarray, "level"],
) -> Images:
    """The images with the table's gray levels in the place of their values; of 16 bits they are written there.

    Images that are not deep have gray levels already, of 16 bits. `is_used` is set for the levels of those that are.
    """
    levels = images if table.dtype == np.uint16 else empty_for_device(images.shape, np.uint8)
    for start in range(0, len(images), _TOGETHER):
        block = slice(start, start + _TOGETHER)
        values, deep = images[block], is_deep[block]
        found = (values if table.dtype == np.uint16 else values >> 8).astype(table.dtype)
        found[deep] = table[values[deep]]
        is_used[found[deep]] = True
        levels[block] = found
    return levels


def widened(images: UInt[np.ndarray, "*shape"]) -> UInt16[np.ndarray, "*shape"]:
    """Gray levels of 8 bits as ones of 16; those of 16 as they are."""
    return images if images.dtype == np.uint16 else np.multiply(images, REPEATED, dtype=np.uint16)


def warn_of_few_levels(name: str, window: Window | None) -> None:
    """Warn where a window left few gray levels."""
    if window is not None and window.levels < MIN_LEVELS:
        warnings.warn(
            f"{name}: its 16-bit images have {window.levels} gray levels left, read from {window.low} to "
            f"{window.high}; another --window LO HI may keep more",
            stacklevel=3,
        )
