"""Simple statistics of images, the ranges that the training images span, and the images that lie outside.

An answer about an image that is nothing like the training images means nothing, however sure it is. Four numbers of an
image tell the grossest cases: color given to a gray model, black, white, noise, a much blurred picture. An image inside
all ranges may still be unlike the training images.
"""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32

from medjax.errors import refuse
from medjax.records import Images, Indices

STATISTICS = ("color", "mean", "spread", "sharpness")
Ranges = Mapping[str, tuple[float, float]]
"""The least and the largest value of each statistic."""

MARGIN = 0.25
"""How far ranges reach beyond the training images, as a share of their own width …"""
FEW = 10.0
"""… and as many widths divided by the number of training images: of few, the extremes are not known."""
LEAST_MARGIN = {"color": 2.0, "mean": 2.0, "spread": 0.05, "sharpness": 0.05}
"""The same for training images that are all alike; gray levels, or logarithms."""
MOST_MEASURED = 10_000
"""Of more training images so many are measured, evenly spaced."""
_PIXELS_TOGETHER = 2**18  # so few that the caches hold them
_DECIMALS = 4
_LARGEST = 1e9  # of a bound; NaN is not below it

Statistics = Mapping[str, Float32[np.ndarray, "measured"]]


def measure(images: Images, chosen: Indices | None = None) -> Statistics:
    """Each of `STATISTICS` of each image, or of the `chosen` ones.

    `color`: mean difference of the largest and the smallest channel, in gray levels, 0 without color. `mean`: gray level.
    `spread`: logarithm of 1 + the standard deviation of the gray levels. `sharpness`: logarithm of the variance of their
    Laplacian (Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000) relative to their own variance,
    1 added to both, so that it does not depend on contrast: noise has 3, and still 2.4 after it was made smaller.
    """
    rows = np.arange(len(images)) if chosen is None else chosen
    size = max(1, _PIXELS_TOGETHER // max(1, math.prod(images.shape[1:])))
    parts = [_measure(images[rows[start : start + size]]) for start in range(0, len(rows), size)]
    empty = np.zeros(0, np.float32)
    return {name: np.concatenate([empty, *(part[name] for part in parts)]) for name in STATISTICS}


def find_ranges(images: Images, chosen: Indices) -> dict[str, tuple[float, float]]:
    """The ranges of the statistics of the `chosen` training images, with a margin; no value is that of one image."""
    spaced = np.linspace(0, len(chosen) - 1, min(len(chosen), MOST_MEASURED)).round().astype(int)
    ranges = {}
    for name, values in measure(images, chosen[spaced]).items():
        low, high = float(values.min()), float(values.max())
        margin = max((MARGIN + FEW / len(spaced)) * (high - low), LEAST_MARGIN[name])
        ranges[name] = (round(low - margin, _DECIMALS), round(high + margin, _DECIMALS))
    return ranges


def find_outside(statistics: Statistics, ranges: Ranges) -> list[tuple[str, ...]]:
    """The statistics of each image that lie outside their range, by name."""
    is_outside = {
        name: (statistics[name] < ranges[name][0]) | (statistics[name] > ranges[name][1])
        for name in STATISTICS
        if name in ranges
    }
    return [
        tuple(name for name, each in is_outside.items() if each[row])
        for row in range(len(statistics["mean"]))
    ]


def require_ranges(name: str, value: object) -> Ranges:
    """Ranges as run.json holds them; RefusedError unless each is two finite numbers in order."""
    if not isinstance(value, Mapping) or not set(value) <= set(STATISTICS):
        raise refuse(name, "are no ranges of statistics", "restore it from a copy")
    for each in value.values():
        is_pair = isinstance(each, list | tuple) and len(each) == 2
        if not (is_pair and all(type(bound) in (int, float) and abs(bound) < _LARGEST for bound in each)):
            raise refuse(name, "are no ranges of finite numbers", "restore it from a copy")
    return {statistic: (float(low), float(high)) for statistic, (low, high) in value.items()}


def _measure(images: Images) -> Statistics:
    if images.dtype == np.uint16:
        images = images / np.float32(257)  # to gray levels of 0 to 255
    if images.shape[-1] == 1:
        gray, color = images[..., 0].astype(np.float32), np.zeros(len(images), np.float32)
    else:
        gray = images.mean(axis=-1, dtype=np.float32)
        color = (images.max(axis=-1) - images.min(axis=-1)).mean(axis=(1, 2), dtype=np.float32)
    flat = gray.reshape(len(gray), -1)
    variance, edges = flat.var(axis=1), _laplacian(gray).reshape(len(gray), -1).var(axis=1)
    return {
        "color": color,
        "mean": flat.mean(axis=1),
        "spread": np.log1p(np.sqrt(variance)),
        "sharpness": np.log1p(edges) - np.log1p(variance),
    }


def _laplacian(gray: Float32[np.ndarray, "n height width"]) -> Float32[np.ndarray, "n height width"]:
    """Sum of the four neighbors minus four times the pixel; the edge pixels are repeated outside."""
    padded = np.pad(gray, ((0, 0), (1, 1), (1, 1)), "edge")
    result = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1]
    result += padded[:, 1:-1, :-2]
    result += padded[:, 1:-1, 2:]
    result -= 4 * gray
    return result
