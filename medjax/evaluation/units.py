"""What is independent among predictions, and the intervals of proportions that follow from it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from medjax.evaluation.intervals import Interval, effective_size, wilson_interval
from medjax.records import Names, Predictions

Mask = Bool[np.ndarray, "m"]
Numbers = Int[np.ndarray, "m"]


class Units(NamedTuple):
    """Independent units: images, or groups of them; both numbered from 0."""

    images: Numbers  # the image of each prediction
    groups: Numbers | None

    @property
    def resampled(self) -> Numbers:
        """The units of the bootstrap."""
        return self.images if self.groups is None else self.groups

    @property
    def clusters(self) -> Numbers | None:
        """The units, if one of them holds more than one prediction; else None."""
        return None if self.resampled.max() + 1 == len(self.images) else self.resampled


def make_units(predictions: Predictions, groups: Names | None) -> Units:
    """The units of predictions, whose images are in `groups`, by name, or independent."""
    images = np.unique(predictions.indices, return_inverse=True)[1]
    return Units(images, None if groups is None else np.unique(groups, return_inverse=True)[1])


def image_interval(is_right: Mask, chosen: Mask, units: Units) -> Interval | None:
    """Wilson's interval of the share of the chosen predictions that are right, with images as independent.

    Each of several predictions of an image counts as its part of one. None if none is chosen.
    """
    weight = (int(units.images.max()) + 1) / len(chosen)
    right, n = float((is_right & chosen).sum()), float(chosen.sum())
    return wilson_interval(right * weight, n * weight) if n else None


def grouped_interval(is_right: Mask, chosen: Mask, units: Units) -> Interval | None:
    """The same with groups as independent, at the effective number of the images that hold a chosen prediction.

    None without groups, if none is chosen, and if all chosen are of one group, which says nothing about other groups.
    """
    if units.groups is None or not chosen.any():
        return None
    _, firsts, image = np.unique(units.images[chosen], return_index=True, return_inverse=True)
    shares = np.bincount(image, is_right[chosen]) / np.bincount(image)
    groups = np.unique(units.groups[chosen][firsts], return_inverse=True)[1]
    size = effective_size(shares, groups)
    return None if size is None else wilson_interval(float(is_right[chosen].mean()) * size, size)
