"""The decisions by a threshold as words: a line in the terminal, a table and a sentence on the page."""

from collections.abc import Mapping
from typing import Any

from medjax.errors import counted
from medjax.report.wording import UNDEFINED, number, percent

_SHARES = {
    "sensitivity": ("Sensitivity", "share of the positives that are called positive"),
    "specificity": ("Specificity", "share of the others that are called negative"),
    "ppv": ("Positive predictive value", "share of those called positive that are"),
    "npv": ("Negative predictive value", "share of those called negative that are"),
}
_RATIOS = {
    "likelihood_ratio_positive": (
        "Positive likelihood ratio",
        "by this a positive answer multiplies the odds",
    ),
    "likelihood_ratio_negative": ("Negative likelihood ratio", "by this a negative answer multiplies them"),
}

Rows = list[tuple[str, str, str, str]]  # title, value, interval, meaning


def point_line(block: Mapping[str, Any]) -> str:
    """The decisions on the images of a part: "malignant at p ≥ 0.371: sensitivity 93.33 % (88.10 to 96.40 %), …"."""
    n = block["n"]
    parts = []
    for name, short in zip(_SHARES, ("sensitivity", "specificity", "PPV", "NPV"), strict=True):
        interval = _interval(block[f"{name}_ci95"], n)
        parts.append(f"{short} {percent(block[name], n)}" + (f" ({interval})" if interval else ""))
    prevalence = percent(block["prevalence"], n)
    threshold = block["threshold"]
    if threshold is None:
        by = "by the thresholds of the folds"
    else:
        by = f"at p ≥ {threshold:.4g}" if threshold <= 1 else "never"  # above 1 a probability cannot be
    return f"{block['positive']} {by}: {', '.join(parts)}, at a prevalence of {prevalence}"


def point_rows(block: Mapping[str, Any]) -> Rows:
    """The table of the page."""
    n, at = block["n"], block["at_prevalence"]
    rows: Rows = []
    for name, (title, meaning) in _SHARES.items():
        rows.append((title, percent(block[name], n), _interval(block[f"{name}_ci95"], n), meaning))
    for name, (title, meaning) in _RATIOS.items():
        low, high = block[f"{name}_ci95"] or (None, None)
        bounds = "" if low is None else f"{number(low)} to {_ratio(high, is_known=True)}"
        rows.append((title, _ratio(block[name], is_known=low is not None), bounds, meaning))
    for name in ("ppv", "npv") if at else ():
        title = f"{_SHARES[name][0]} at a prevalence of {100 * at['prevalence']:g} %"
        meaning = "follows from sensitivity and specificity"
        rows.append((title, percent(at[name], n), _interval(at[f"{name}_ci95"], n), meaning))
    return rows


def point_sentence(point: Mapping[str, Any]) -> str:
    """How the threshold was chosen."""
    name, _, wanted = point["rule"].partition("=")
    how = {
        "youden": "with the largest sum of sensitivity and specificity",
        "sensitivity": f"with the highest specificity at a sensitivity of at least {wanted}",
        "specificity": f"with the highest sensitivity at a specificity of at least {wanted}",
        "cost": f"with the least cost, if a missed one costs as much as {wanted} false alarms",
    }[name]
    chosen = point["chosen_on"]
    images = f"{counted(chosen['n'], 'image')}, {chosen['positives']:,} of them of this class"
    if point["fold_thresholds"] is None:
        where = f"the validation part ({images})"
    else:
        where = (
            f"out-of-fold images ({images}): for the images of a fold on those of the other folds, and for new "
            "images on all"
        )
    positive, threshold = point["positive"], point["threshold"]
    if threshold > 1:
        return f"An image is never called {positive}: the threshold {how} on {where} is above 1."
    return f"An image is called {positive} if its probability is at least {threshold:.4g}, the threshold {how} on {where}."


def _interval(interval: Any, n: int) -> str:
    return "" if interval is None else f"{percent(interval[0], n)[:-2]} to {percent(interval[1], n)}"


def _ratio(value: float | None, *, is_known: bool) -> str:
    return number(value) if value is not None else "∞" if is_known else UNDEFINED
