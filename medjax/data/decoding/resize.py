"""To the wanted color and size: one image at a time, or stacks of one shape with identical results."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from medjax.config import DataConfig

_MODES = {1: "L", 3: "RGB"}
_MIN_TOGETHER = 16  # for fewer images a stack is not faster
_FILTER = Image.Resampling.BILINEAR  # antialiased: it widens as it shrinks
_RESHAPED = {"stretch": "reshaped", "pad": "padded", "crop": "cropped"}

Size = tuple[int, int]  # width, height
Stack = UInt8[np.ndarray, "n height width channel"]
Fitted = UInt8[np.ndarray, "n fitted_height fitted_width fitted_channel"]


class Placement(NamedTuple):
    """What is done to an image of some size to make it one of the wanted size, as `config.fit` asks for."""

    box: tuple[int, int, int, int] | None  # left, top, right and bottom of what is kept; None for all of it
    size: Size  # that this is resized to
    corner: tuple[int, int]  # left and top of it in the image, which is black around it


@lru_cache(maxsize=256)
def place(width: int, height: int, sides: tuple[int, int], way: str) -> Placement:
    """Where an image of `width` by `height` goes in one of `sides`, height and width; `way` is that of `config.fit`."""
    new_height, new_width = sides
    excess = width * new_height - height * new_width  # above 0: it is too wide
    if way == "crop" and excess:
        kept_width = max(1, round(height * new_width / new_height)) if excess > 0 else width
        kept_height = height if excess > 0 else max(1, round(width * new_height / new_width))
        left, top = (width - kept_width) // 2, (height - kept_height) // 2
        return Placement((left, top, left + kept_width, top + kept_height), (new_width, new_height), (0, 0))
    if way == "pad" and excess:
        inner_width = new_width if excess > 0 else max(1, round(width * new_height / height))
        inner_height = max(1, round(height * new_width / width)) if excess > 0 else new_height
        corner = (new_width - inner_width) // 2, (new_height - inner_height) // 2
        return Placement(None, (inner_width, inner_height), corner)
    return Placement(None, (new_width, new_height), (0, 0))


def fit(
    image: Image.Image, config: DataConfig
) -> tuple[UInt8[np.ndarray, "height width channel"], tuple[str, ...]]:
    """An L or RGB image in the wanted color and size, and the changes made, as fields of LoadCounts."""
    mode, (height, width) = _wanted_mode(image.mode, config), config.sides
    changes = _changes(image.size, image.mode, config)
    box, size, corner = place(*image.size, config.sides, config.fit)
    if box is not None:
        image = image.crop(box)
    if image.mode != mode:
        image = image.convert(mode)
    if image.size != size:
        image = image.resize(size, _FILTER)
    if size != (width, height):
        padded = Image.new(mode, (width, height))
        padded.paste(image, corner)
        image = padded
    return np.asarray(image).reshape(height, width, -1), changes


def fit_deep(
    image: Image.Image, config: DataConfig
) -> tuple[UInt16[np.ndarray, "height width channel"], tuple[str, ...]]:
    """`fit` for a gray image of 16 bits: its values are kept, and repeated for each channel of RGB."""
    box, size, (left, top) = place(*image.size, config.sides, config.fit)
    changes = _changes(image.size, "L", config)
    if box is not None:
        image = image.crop(box)
    if image.size != size:
        # As floats: Pillow would cut off the fractions of 16-bit integers.
        values = np.rint(np.asarray(image.convert("F").resize(size, _FILTER))).astype(np.uint16)
    else:
        values = np.asarray(image)
    padded = np.zeros((*config.sides, 3 if config.color == "rgb" else 1), np.uint16)
    padded[top : top + size[1], left : left + size[0]] = values[..., None]
    return padded, changes


def fit_stack(images: Stack, config: DataConfig) -> tuple[Fitted, tuple[str, ...]]:
    """`fit` for a stack of gray or RGB images."""
    count, height, width, channels = images.shape
    changes = _changes((width, height), _MODES[channels], config)
    box, size, (left, top) = place(width, height, config.sides, config.fit)
    cropped = images if box is None else np.ascontiguousarray(images[:, box[1] : box[3], box[0] : box[2]])
    if count < _MIN_TOGETHER or not _is_rows_first(*cropped.shape[1:], size):
        return np.stack([fit(Image.fromarray(_flat(pixels)), config)[0] for pixels in images]), changes
    fitted = _resized(cropped, _wanted_mode(_MODES[channels], config), size)
    if size == config.sides[::-1]:
        return fitted, changes
    padded = np.zeros((count, *config.sides, fitted.shape[-1]), np.uint8)
    padded[:, top : top + size[1], left : left + size[0]] = fitted
    return padded, changes


@lru_cache(maxsize=256)
def _is_rows_first(height: int, width: int, channels: int, size: Size) -> bool:
    """Whether Pillow resizes images of this shape along the rows first, as `_resized` does; this varies by version."""
    count = _MIN_TOGETHER * height * width * channels
    noise = (np.arange(count, dtype=np.uint32) * np.uint32(2_654_435_761) >> 13).astype(np.uint8)
    noise = noise.reshape(_MIN_TOGETHER, height, width, channels)
    alone = [np.asarray(Image.fromarray(_flat(pixels)).resize(size, _FILTER)) for pixels in noise]
    together = _resized(noise, _MODES[channels], size)
    return all(np.array_equal(image, _flat(pixels)) for image, pixels in zip(alone, together, strict=True))


def _resized(images: Stack, mode: str, size: Size) -> UInt8[np.ndarray, "n new_height new_width new_channel"]:
    """Resize all images at once.

    Pillow resizes in two passes, along the rows, then along the columns, and rounds in between. Here the first pass is
    over all images stacked vertically, the second over all images side by side.
    """
    count, height, width, channels = images.shape
    new_width, new_height = size
    column = Image.fromarray(_flat(images.reshape(count * height, width, channels)))
    if column.mode != mode:
        column = column.convert(mode)
    narrow = np.asarray(column.resize((new_width, count * height), _FILTER))
    narrow = narrow.reshape(count, height, new_width, -1)
    row = Image.fromarray(_flat(_swapped(narrow).reshape(height, count * new_width, -1)))
    small = np.asarray(row.resize((count * new_width, new_height), _FILTER))
    return _swapped(small.reshape(new_height, count, new_width, -1))


def _flat(pixels: UInt8[np.ndarray, "height width channel"]) -> np.ndarray:
    """Pixels as Pillow takes them: gray without a channel axis."""
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _swapped(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.swapaxes(0, 1))


def _wanted_mode(mode: str, config: DataConfig) -> str:
    return {"source": mode, "gray": "L", "rgb": "RGB"}[config.color]


def _changes(size: Size, mode: str, config: DataConfig) -> tuple[str, ...]:
    height, width = config.sides
    is_changed = {
        "resized": size != (width, height),
        _RESHAPED[config.fit]: size[0] * height != size[1] * width,
        "recolored": mode != _wanted_mode(mode, config),
    }
    return tuple(name for name, is_true in is_changed.items() if is_true)
