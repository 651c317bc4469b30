"""Areas under ROC curves with 95 % intervals: of one class against all others, and their mean over classes.

An area is the share of pairs, of an image of the class and another one, that are ranked rightly; ties count half. The
placement of an image is that share among its own pairs. Every variance here is a sum of squares of what single images, or
groups of them, contribute to the area by their placements.

References:
    DeLong, DeLong and Clarke-Pearson, "Comparing the Areas Under Two or More Correlated Receiver Operating Characteristic
    Curves: A Nonparametric Approach", 1988, https://doi.org/10.2307/2531595: the variance by placements.
    Sun and Xu, "Fast Implementation of DeLong's Algorithm", 2014, https://doi.org/10.1109/LSP.2014.2337313: placements by
    sorting, not by all pairs.
    Obuchowski, "Nonparametric Analysis of Clustered ROC Curve Data", 1997, https://doi.org/10.2307/2533958: sums over
    groups, and its factors I / (I - 1) of the I groups that hold members, and of those that hold others. Where a group holds
    images of both kinds, its factor for their covariance differs from ours, the root of both, by about 1 / groups.
    Newcombe, "Confidence Intervals for an Effect Size Measure Based on the Mann-Whitney Statistic. Part 2", 2006,
    https://doi.org/10.1002/sim.2324, method 5: an interval of the score type.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from medjax.evaluation.intervals import NORMAL_975, Interval, newcombe_margin

LEAST_SUPPORT = 10.0
"""DeLong's variance is used from this number of units on, in effect (see `_is_supported`): with fewer it covered as little as
89 % of single images, 86 % in groups, where it said 95 %."""
_BISECTIONS = 60


class Area(NamedTuple):
    """The area of a class, or the mean over several classes."""

    value: float  # 0 to 1; 0.5 is chance
    contributions: Float64[
        np.ndarray, "m"
    ]  # of each prediction, around 0; the variance is the sum of the squares of their sums by cluster
    sizes: Int[np.ndarray, "class 2"]  # images of each class, and others
    apart: float  # the variance, if the areas of the classes and all images were independent


def class_area(
    is_class: Bool[np.ndarray, "m"],
    scores: Float[np.ndarray, "m"],
    clusters: Int[np.ndarray, "m"] | None = None,
) -> Area | None:
    """The area of a class with these members; None if all images, or none, belong to it.

    `scores` are probabilities or any other numbers that rank the images, of members higher. `clusters` numbers, from 0, the
    independent unit (image or group) of each; None: each is one.
    """
    members, others = scores[is_class], scores[~is_class]
    m, n = len(members), len(others)
    if m == 0 or n == 0:
        return None
    of_members, of_others = _share_below(others, members), 1 - _share_below(members, others)
    value = float(of_members.mean())
    contributions, apart = np.empty(m + n), 0.0
    for chosen, placements in ((is_class, of_members), (~is_class, of_others)):
        shares = (placements - value) / len(placements)
        num_units = len(shares) if clusters is None else len(np.unique(clusters[chosen]))
        contributions[chosen] = shares * math.sqrt(_few(num_units))
        apart += _few(len(shares)) * float((shares**2).sum())
    return Area(value, contributions, np.array([[m, n]]), apart)


def mean_area(areas: Sequence[Area | None]) -> Area | None:
    """The mean of the areas of several classes on the same images; None if there is none, or one of them is None."""
    known = [area for area in areas if area is not None]
    if not known or len(known) < len(areas):
        return None
    return Area(
        float(np.mean([area.value for area in known])),
        np.mean([area.contributions for area in known], axis=0),
        np.concatenate([area.sizes for area in known]),
        sum(area.apart for area in known) / len(known) ** 2,
    )


def area_interval(area: Area, clusters: Int[np.ndarray, "m"] | None = None) -> Interval | None:
    """95 % interval of an area; None if all images are of one cluster.

    `clusters` are those of `class_area`. The interval is DeLong's on the scale of logits. Where few images decide the variance,
    as near 0 and 1 and with few images of the class, it is Newcombe's, whose variance follows from the area and the numbers
    of images; it is multiplied by what `clusters` and the correlation of the classes' areas add to the variance of
    independent images and areas.
    """
    sums = _sum(area.contributions, clusters)
    if len(sums) < 2:
        return None
    quantile = _quantile(len(sums), clusters)
    variance = float((sums**2).sum())
    if _is_supported(sums):
        spread = quantile * math.sqrt(variance) / (area.value * (1 - area.value))
        odds = area.value / (1 - area.value)
        return odds / (odds + math.exp(spread)), odds / (odds + math.exp(-spread))
    num_classes = len(area.sizes)
    units = np.ones(len(sums)) if clusters is None else np.bincount(clusters)
    most = num_classes * float(
        (units**2).sum() / units.sum()
    )  # perfect correlation in clusters and of classes
    factor = max(variance / area.apart, 1.0) if area.apart > 0 else most
    return _score_interval(area.value, area.sizes, factor * quantile**2)


def compare_areas(first: Area, second: Area, clusters: Int[np.ndarray, "m"] | None = None) -> dict[str, Any]:
    """Difference of the areas of two models on the same images, first minus second, as JSON values.

    Keys: difference; ci95 and p (two-sided), by DeLong's variance of the difference; where few images decide it, ci95 is of the
    intervals of both areas by Newcombe's method for paired differences, and p None where the variance is 0. None both if
    all images are of one cluster.
    """
    difference = first.value - second.value
    sums = [_sum(area.contributions, clusters) for area in (first, second)]
    num_units, change = len(sums[0]), sums[0] - sums[1]
    error = math.sqrt(float((change**2).sum()))
    low, high = (area_interval(area, clusters) for area in (first, second))
    if low is None or high is None:
        return {"difference": difference, "ci95": None, "p": None}
    if _is_supported(change):
        below = above = _quantile(num_units, clusters) * error
    else:
        correlation = _correlation(*sums)
        below = newcombe_margin(first.value - low[0], high[1] - second.value, correlation)
        above = newcombe_margin(low[1] - first.value, second.value - high[0], correlation)
    return {
        "difference": difference,
        "ci95": [difference - below, difference + above],
        "p": _two_sided(difference / error, num_units, clusters) if error > 0 else None,
    }


def _few(num_units: int) -> float:
    """What makes a variance right that is estimated from few units, around their mean; of a single one it is 0 anyway."""
    return num_units / max(num_units - 1, 1)


def _is_supported(sums: Float64[np.ndarray, "_"]) -> bool:
    """Whether enough units contribute to a variance, by the number of equal contributions that would vary as much."""
    squares = sums**2
    return bool(squares.sum() ** 2 >= LEAST_SUPPORT * (squares**2).sum() > 0)


def _share_below(others: Float[np.ndarray, "_"], scores: Float[np.ndarray, "_"]) -> Float64[np.ndarray, "_"]:
    """Of the `others`, the share below each score; an equal one counts half."""
    ordered = np.sort(others)
    places = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    return places / (2 * len(others))


def _sum(
    contributions: Float64[np.ndarray, "m"], clusters: Int[np.ndarray, "m"] | None
) -> Float64[np.ndarray, "cluster"]:
    """The contributions of independent units."""
    return contributions if clusters is None else np.bincount(clusters, contributions)


def _quantile(num_units: int, clusters: Int[np.ndarray, "m"] | None) -> float:
    """Student's for clusters, whose variance is estimated from few of them; else the normal distribution's."""
    if clusters is None:
        return NORMAL_975
    from scipy.special import stdtrit  # imported here: most runs have no groups

    return float(stdtrit(num_units - 1, 0.975))


def _score_interval(value: float, sizes: Int[np.ndarray, "class 2"], factor: float) -> Interval:
    """The areas whose squared distance to `value` is at most `factor` times their variance, by bisection."""

    def is_beyond(area: float) -> bool:
        return (area - value) ** 2 > factor * _newcombe_variance(area, sizes)

    bounds = []
    for outer in (0.0, 1.0):
        inner = value
        for _ in range(_BISECTIONS if outer != value else 0):
            middle = (outer + inner) / 2
            outer, inner = (middle, inner) if is_beyond(middle) else (outer, middle)
        bounds.append(outer)
    return bounds[0], bounds[1]


def _newcombe_variance(area: float, sizes: Int[np.ndarray, "class 2"]) -> float:
    """Variance of the mean of independent areas of this size: Hanley and McNeil's, made symmetric by Newcombe."""
    m, n = sizes.T.astype(np.float64)
    others = (m + n) / 2 - 1
    pairs = area * (1 - area) * (1 + others * ((1 - area) / (2 - area) + area / (1 + area))) / (m * n)
    return float(pairs.sum()) / len(sizes) ** 2


def _correlation(first: Float64[np.ndarray, "_"], second: Float64[np.ndarray, "_"]) -> float:
    """Of two areas, from the contributions of independent units; 0 if the variance of one is 0."""
    scale = math.sqrt(float((first**2).sum()) * float((second**2).sum()))
    return float(first @ second) / scale if scale > 0 else 0.0


def _two_sided(statistic: float, num_units: int, clusters: Int[np.ndarray, "m"] | None) -> float:
    if clusters is None:
        return math.erfc(abs(statistic) / math.sqrt(2))
    from scipy.special import stdtr

    return 2 * float(stdtr(num_units - 1, -abs(statistic)))
