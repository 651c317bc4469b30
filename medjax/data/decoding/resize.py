"""Convert images to the wanted color and size: one at a time, or stacks of one shape with identical results."""

from functools import lru_cache

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from medjax.config import DataConfig

_MODES = {1: "L", 3: "RGB"}
_MIN_TOGETHER = 16  # for fewer images a stack is not faster
_FILTER = Image.Resampling.BILINEAR  # antialiased: it widens as it shrinks

Stack = UInt8[np.ndarray, "n height width channel"]
Fitted = UInt8[np.ndarray, "n side side fitted_channel"]


def fit(
    image: Image.Image, config: DataConfig
) -> tuple[UInt8[np.ndarray, "side side channel"], tuple[str, ...]]:
    """An L or RGB image in the wanted color and size, and the changes made, as fields of LoadCounts."""
    mode, size = _wanted_mode(image.mode, config), (config.image_size, config.image_size)
    changes = _changes(image.size, image.mode, config)
    if image.mode != mode:
        image = image.convert(mode)
    if image.size != size:
        image = image.resize(size, _FILTER)
    return np.asarray(image).reshape(*size, -1), changes


def fit_stack(images: Stack, config: DataConfig) -> tuple[Fitted, tuple[str, ...]]:
    """`fit` for a stack of gray or RGB images."""
    count, height, width, channels = images.shape
    changes = _changes((width, height), _MODES[channels], config)
    if count < _MIN_TOGETHER or not _is_rows_first(height, width, channels, config.image_size):
        return np.stack([fit(Image.fromarray(_flat(pixels)), config)[0] for pixels in images]), changes
    return _resized(images, _wanted_mode(_MODES[channels], config), config.image_size), changes


@lru_cache(maxsize=256)
def _is_rows_first(height: int, width: int, channels: int, side: int) -> bool:
    """Whether Pillow resizes images of this shape along the rows first, as `_resized` does; this varies by version."""
    size = _MIN_TOGETHER * height * width * channels
    noise = (np.arange(size, dtype=np.uint32) * np.uint32(2_654_435_761) >> 13).astype(np.uint8)
    noise = noise.reshape(_MIN_TOGETHER, height, width, channels)
    alone = [np.asarray(Image.fromarray(_flat(pixels)).resize((side, side), _FILTER)) for pixels in noise]
    together = _resized(noise, _MODES[channels], side)
    return all(np.array_equal(image, _flat(pixels)) for image, pixels in zip(alone, together, strict=True))


def _resized(images: Stack, mode: str, side: int) -> Fitted:
    """Resize all images at once.

    Pillow resizes in two passes, along the rows, then along the columns, and rounds in between. Here the first pass is
    over all images stacked vertically, the second over all images side by side.
    """
    count, height, width, channels = images.shape
    column = Image.fromarray(_flat(images.reshape(count * height, width, channels)))
    if column.mode != mode:
        column = column.convert(mode)
    narrow = np.asarray(column.resize((side, count * height), _FILTER)).reshape(count, height, side, -1)
    row = Image.fromarray(_flat(_swapped(narrow).reshape(height, count * side, -1)))
    small = np.asarray(row.resize((count * side, side), _FILTER))
    return _swapped(small.reshape(side, count, side, -1))


def _flat(pixels: UInt8[np.ndarray, "height width channel"]) -> np.ndarray:
    """Pixels as Pillow takes them: gray without a channel axis."""
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _swapped(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.swapaxes(0, 1))


def _wanted_mode(mode: str, config: DataConfig) -> str:
    return {"source": mode, "gray": "L", "rgb": "RGB"}[config.color]


def _changes(size: tuple[int, int], mode: str, config: DataConfig) -> tuple[str, ...]:
    is_changed = {
        "resized": size != (config.image_size, config.image_size),
        "reshaped": size[0] != size[1],
        "recolored": mode != _wanted_mode(mode, config),
    }
    return tuple(name for name, is_true in is_changed.items() if is_true)
