"""A threshold on the probability of one class, and how good the decisions by it are.

References:
    Youden, "Index for Rating Diagnostic Tests", 1950, https://doi.org/10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3.
    Donner and Zou, "Closed-Form Confidence Intervals for Functions of the Normal Mean and Standard Deviation", 2012,
    https://doi.org/10.1177/0962280210383082, and Newcombe, "MOVER-R Confidence Intervals for Ratios and Products of Two
    Independently Estimated Quantities", 2016, https://doi.org/10.1177/0962280213502144: the interval of a ratio from
    the intervals of both quantities.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64

from medjax.evaluation.intervals import Interval
from medjax.evaluation.units import Units, grouped_interval, image_interval

ABOVE_ALL = math.nextafter(1.0, 2.0)
"""Threshold that no probability reaches."""

Mask = Bool[np.ndarray, "m"]


def choose_threshold(
    is_positive: Mask,
    probabilities: Float[np.ndarray, "m"],
    rule: str,
    wanted: float,
    prevalence: float | None = None,
) -> float:
    """The threshold at or above which a probability of the positive class is called positive, 0 to `ABOVE_ALL`.

    There must be images of both kinds. `rule` is "youden" (largest sum of sensitivity and specificity), "sensitivity" (at least
    `wanted`, with the largest specificity), "specificity" (likewise) or "cost" (least cost, where a missed positive
    costs `wanted` false alarms, at the `prevalence` or, if None, at that of these images). Thresholds lie in the middle
    between probabilities; of equally good ones the lowest, which misses fewest, is chosen.
    """
    values = np.unique(probabilities.astype(np.float64))
    thresholds = np.concatenate([[0.0], (values[1:] + values[:-1]) / 2, [ABOVE_ALL]])
    sensitivity = _share_from(probabilities[is_positive], thresholds)
    specificity = 1 - _share_from(probabilities[~is_positive], thresholds)
    if rule == "sensitivity":
        gain = np.where(sensitivity >= wanted, specificity, -1.0)
    elif rule == "specificity":
        gain = np.where(specificity >= wanted, sensitivity, -1.0)
    else:
        weight = 0.5
        if rule == "cost":
            share = float(is_positive.mean()) if prevalence is None else prevalence
            weight = wanted * share / (wanted * share + 1 - share)
        gain = weight * sensitivity + (1 - weight) * specificity
    # Rounding must not decide between equally good thresholds.
    return float(thresholds[np.flatnonzero(gain >= gain.max() - 1e-12)[0]])


def _share_from(
    probabilities: Float[np.ndarray, "_"], thresholds: Float64[np.ndarray, "threshold"]
) -> Float64[np.ndarray, "threshold"]:
    """The share of probabilities at or above each threshold."""
    below = np.searchsorted(np.sort(probabilities.astype(np.float64)), thresholds, "left")
    return 1 - below / len(probabilities)


def score_decisions(
    is_positive: Mask, is_called: Mask, units: Units, prevalence: float | None = None
) -> dict[str, Any]:
    """How good decisions are, as JSON values; of each quantity the value and, as `<name>_ci95`, its 95 % interval.

    Keys: n, true_positives, false_negatives, false_positives, true_negatives, prevalence, sensitivity, specificity, ppv, npv,
    likelihood_ratio_positive and _negative, and at_prevalence: the prevalence, ppv and npv that follow from sensitivity
    and specificity at another `prevalence`; None without one. Intervals of proportions are Wilson's, with groups as independent
    where there are any; those of ratios take the positives as independent of the others. None stands for what is undefined
    and for an infinite ratio, which has a lower bound only.
    """
    everything = np.ones(len(is_positive), bool)
    shares = {
        "prevalence": _share(is_positive, everything, units),
        "sensitivity": _share(is_called, is_positive, units),
        "specificity": _share(~is_called, ~is_positive, units),
        "ppv": _share(is_positive, is_called, units),
        "npv": _share(~is_positive, ~is_called, units),
    }
    sensitivity, specificity = shares["sensitivity"], shares["specificity"]
    ratios = {
        "likelihood_ratio_positive": _ratio(sensitivity, _complement(specificity)),
        "likelihood_ratio_negative": _ratio(_complement(sensitivity), specificity),
    }
    counts = {
        "true_positives": is_positive & is_called,
        "false_negatives": is_positive & ~is_called,
        "false_positives": ~is_positive & is_called,
        "true_negatives": ~is_positive & ~is_called,
    }
    return {
        "n": len(is_positive),
        **{name: int(chosen.sum()) for name, chosen in counts.items()},
        **_with_intervals({**shares, **ratios}),
        "at_prevalence": None if prevalence is None else _at_prevalence(prevalence, ratios),
    }


_Estimate = tuple[float | None, Any]  # a value and its interval


def _with_intervals(estimates: dict[str, _Estimate]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (value, interval) in estimates.items():
        found[name] = value
        found[f"{name}_ci95"] = None if interval is None else list(interval)
    return found


def _share(is_right: Mask, chosen: Mask, units: Units) -> _Estimate:
    if not chosen.any():
        return None, None
    interval = image_interval if units.groups is None else grouped_interval
    return float(is_right[chosen].mean()), interval(is_right, chosen, units)


def _complement(share: _Estimate) -> _Estimate:
    value, interval = share
    if value is None:
        return None, None
    return 1 - value, None if interval is None else (1 - interval[1], 1 - interval[0])


def _ratio(above: _Estimate, below: _Estimate) -> _Estimate:
    """The ratio of two shares; an infinite one has no value, and no upper bound."""
    (first, first_ci95), (second, second_ci95) = above, below
    if first is None or second is None or first == second == 0:
        return None, None
    value = first / second if second > 0 else None
    if first_ci95 is None or second_ci95 is None:
        return value, None
    return value, _ratio_interval(first, first_ci95, second, second_ci95)


def _ratio_interval(
    first: float, first_ci95: Interval, second: float, second_ci95: Interval
) -> list[float | None]:
    """Donner and Zou's bounds, the lower one so written that it is defined for a ratio without bound."""
    product = first * second
    of_low = first_ci95[0] * (2 * first - first_ci95[0])
    root = math.sqrt(max(product**2 - of_low * second_ci95[1] * (2 * second - second_ci95[1]), 0.0))
    low = of_low / (product + root) if of_low > 0 else 0.0
    of_high = first_ci95[1] * (2 * first - first_ci95[1])
    below = second_ci95[0] * (2 * second - second_ci95[0])
    root = math.sqrt(max(product**2 - of_high * below, 0.0))
    return [low, (product + root) / below if below > 0 else None]


def _at_prevalence(prevalence: float, ratios: dict[str, _Estimate]) -> dict[str, Any]:
    """Predictive values by Bayes' rule: the odds times the likelihood ratio."""
    odds = prevalence / (1 - prevalence)
    positive, positive_ci95 = ratios["likelihood_ratio_positive"]
    negative, negative_ci95 = ratios["likelihood_ratio_negative"]

    def of(ratio: float | None) -> float:
        return 1.0 if ratio is None else ratio * odds / (1 + ratio * odds)

    predictive = {
        "ppv": (
            None if positive is positive_ci95 is None else of(positive),
            None if positive_ci95 is None else [of(bound) for bound in positive_ci95],
        ),
        "npv": (
            None if negative is negative_ci95 is None else 1 - of(negative),
            None if negative_ci95 is None else [1 - of(bound) for bound in reversed(negative_ci95)],
        ),
    }
    return {"prevalence": prevalence, **_with_intervals(predictive)}
