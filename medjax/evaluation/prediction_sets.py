"""Split-conformal prediction sets: classes among which the true one is, for a wanted share of images.

The thresholds come from images that the network did not learn from and that decided nothing. Their guarantee needs that new
images are drawn as those were, patients being drawn as a whole: each group (patient) counts as one, whose images share
its weight. It then holds for an image drawn at random from a new patient, on average over all draws of patients, not for
each patient, class or clinic.

References:
    Sadinle, Lei and Wasserman, "Least Ambiguous Set-Valued Classifiers with Bounded Error Levels", 2019,
    https://doi.org/10.1080/01621459.2017.1395341: score 1 - p of the true class (LAC), and one threshold a class.
    Romano, Sesia and Candès, "Classification with Valid and Adaptive Coverage", 2020, https://arxiv.org/abs/2006.02544: APS.
    Lee, Barber and Willett, "Distribution-free Inference with Hierarchical Data", 2023, https://arxiv.org/abs/2306.06342: groups.
    Gasparin and Ramdas, "Merging Uncertainty Sets via Majority Vote", 2024, https://arxiv.org/abs/2401.09379.
    Vovk, "Conditional Validity of Inductive Conformal Predictors", 2012, https://arxiv.org/abs/1209.2673: the law of the coverage.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int

from medjax.config import SetMethod
from medjax.evaluation.intervals import Interval
from medjax.evaluation.scores import require_finite
from medjax.evaluation.units import Units, grouped_interval, image_interval
from medjax.records import Names, Predictions, Probabilities

Sets = Bool[np.ndarray, "m class"]
"""Which classes are in the set of each image."""


class Conformal(NamedTuple):
    """What prediction sets are made of: the images that set their thresholds."""

    method: SetMethod
    scores: Float64[np.ndarray, "n"]  # of the true class: the larger, the less it fits (see `nonconformity`)
    labels: Int[np.ndarray, "n"]
    groups: Int[np.ndarray, "n"]  # numbers of what is independent: the group, or the image itself

    def thresholds(self, coverage: float, num_classes: int) -> Float64[np.ndarray, "class"]:
        """The largest score of each class with which it is in a set; infinite where there are too few images."""
        if self.method != "class":
            return np.full(num_classes, _threshold(self.scores, self.groups, coverage))
        chosen = [self.labels == label for label in range(num_classes)]
        return np.array([_threshold(self.scores[each], self.groups[each], coverage) for each in chosen])

    def sets(self, probabilities: Probabilities, coverage: float) -> Sets:
        """The sets of images with these probabilities, which hold the true class with probability `coverage` or more."""
        thresholds = self.thresholds(coverage, probabilities.shape[1])
        return nonconformity(probabilities, self.method) <= thresholds


def nonconformity(probabilities: Probabilities, method: SetMethod) -> Float64[np.ndarray, "m class"]:
    """How badly each class fits each image, 0 to 1.

    "lac" and "class": 1 less its probability. "aps": the sum of the probabilities of all classes that are more probable. This form of APS
    draws no random numbers, so that an image always gets the same set, and no set is empty; it covers more than
    is wanted, and at least the share of images whose most probable class is right.
    """
    wide = probabilities.astype(np.float64)
    if method != "aps":
        return 1 - wide
    order = np.argsort(-wide, axis=1, kind="stable")
    ranked = np.take_along_axis(wide, order, axis=1)
    above = np.cumsum(ranked, axis=1) - ranked
    for rank in range(1, wide.shape[1]):  # equally probable classes have equal scores
        above[:, rank] = np.where(ranked[:, rank] == ranked[:, rank - 1], above[:, rank - 1], above[:, rank])
    scores = np.empty_like(wide)
    np.put_along_axis(scores, order, above, axis=1)
    return scores


def fit_sets(method: SetMethod, predictions: Predictions, groups: Names | None = None) -> Conformal:
    """What sets are made of, from predictions with labels of images that nothing was learned or chosen by.

    `groups` names the group (patient, lesion, scan) of each prediction; None takes images as independent. RefusedError for
    probabilities that are not finite.
    """
    require_finite(predictions.probabilities)
    rows = np.arange(len(predictions.labels))
    scores = nonconformity(predictions.probabilities, method)[rows, predictions.labels]
    numbers = rows if groups is None else np.unique(groups, return_inverse=True)[1]
    return Conformal(method, scores, predictions.labels, numbers)


def count_units(conformal: Conformal, num_classes: int) -> list[int]:
    """How many independent images or groups set each threshold: of "class" one number a class, otherwise one."""
    if conformal.method != "class":
        return [len(np.unique(conformal.groups))]
    return [len(np.unique(conformal.groups[conformal.labels == label])) for label in range(num_classes)]


def fewest_units(coverage: float) -> int:
    """How many images or groups a threshold takes at least: with fewer, sets would hold every class."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def _threshold(scores: Float64[np.ndarray, "n"], groups: Int[np.ndarray, "n"], coverage: float) -> float:
    """The smallest score below or at which lies `coverage` of the groups, one to come counted as above all."""
    numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum((1 / sizes[numbers])[order])
    wanted = (coverage - 1e-9) * (len(sizes) + 1)  # rounding must not ask for one more
    position = int(np.searchsorted(reached, wanted))
    return float(scores[order][position]) if position < len(scores) else math.inf


def merge_sets(each: Sequence[Sets]) -> Sets:
    """The classes that more than half of several sets hold.

    If each covers with probability 1 - a, this covers with 1 - 2a at least, however they depend on one another.
    """
    return np.stack([*each]).mean(axis=0) > 0.5


def coverage_range(units: int, images: int, coverage: float) -> Interval:
    """Where the share of covered images lies in 95 % of all draws of both: `units` images set the threshold, `images` are scored.

    Of independent images and scores without ties ("lac"), by the beta-binomial law.
    """
    from scipy.stats import betabinom  # imported here: it takes half a second

    rank = math.ceil((coverage - 1e-9) * (units + 1))
    low, high = betabinom.ppf([0.025, 0.975], images, rank, units + 1 - rank)
    return float(low) / images, float(high) / images


def score_sets(
    sets: Sets, predictions: Predictions, class_names: Sequence[str], units: Units
) -> dict[str, Any]:
    """How good sets are, as JSON values.

    Keys: n; coverage, the share of images whose true class is in their set, with coverage_ci95 (Wilson's, with groups as
    independent where there are any); mean_size; empty, single: the shares of sets without a class and with one;
    sizes: how many sets have 0, 1, … classes; per_class: of the images of each class n, coverage, its interval and mean_size.
    """
    labels = predictions.labels
    is_covered, size = sets[np.arange(len(labels)), labels], sets.sum(axis=1)
    interval = image_interval if units.groups is None else grouped_interval

    def describe(chosen: Bool[np.ndarray, "m"]) -> dict[str, Any]:
        if not chosen.any():
            return {"n": 0, "coverage": None, "coverage_ci95": None, "mean_size": None}
        bounds = interval(is_covered, chosen, units)
        return {
            "n": int(chosen.sum()),
            "coverage": float(is_covered[chosen].mean()),
            "coverage_ci95": None if bounds is None else list(bounds),
            "mean_size": float(size[chosen].mean()),
        }

    return {
        **describe(np.ones(len(labels), bool)),
        "empty": float((size == 0).mean()),
        "single": float((size == 1).mean()),
        "sizes": np.bincount(size, minlength=len(class_names) + 1).tolist(),
        "per_class": {name: describe(labels == label) for label, name in enumerate(class_names)},
    }
