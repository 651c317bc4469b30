"""What the page says of calibration, from a block of metrics.json: findings as sentences, and a table of the tests."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from medjax.errors import counted
from medjax.report import wording

LEVEL = 0.05
"""A test whose adjusted p-value is below says that the model is not calibrated."""


class Row(NamedTuple):
    """A test, as text; empty where it is undefined."""

    title: str
    meaning: str
    value: str
    interval: str
    if_calibrated: str
    p: str


def calibration_findings(block: Mapping[str, Any]) -> list[str]:
    """What the tests found, then what follows; of tests that found nothing, what they could have missed."""
    tests = block["calibration"]
    found = [*_of_the_prediction(tests, block), *_of_classes(tests, block)]
    range_ = block["ece_if_calibrated"]
    # Taking images of a group as independent, chance alone explains too little.
    if not found and tests["unit"] == "image" and range_ and block["ece"] > range_[1]:
        found = ["The expected calibration error is further off than chance explains."]
    if found:
        return [*found, "Do not read these probabilities as frequencies."]
    gap = tests["detectable_gap"]
    if gap is None:
        return [
            "Calibration cannot be tested on these images, so do not read the probabilities as frequencies."
        ]
    units, size = counted(tests["units"], tests["unit"]), f"{100 * gap:.{0 if gap > 0.1 else 1}f}"
    return [
        f"The tests found no fault, which does not show that there is none: with {units} they may well miss a gap of up to "
        f"{size} percentage points between the mean probability of the predicted class and the accuracy (one of that "
        "size is found four times in five)."
    ]


def training_effects(training: Mapping[str, Any]) -> list[str]:
    """Settings that shift probabilities away from frequencies, and how; not those that calibration makes good."""
    effects = {
        "weights": "Rare classes weighed more in training (--class-balance weights)",
        "sampling": "Rare classes were drawn more often in training (--class-balance sampling)",
    }
    balanced = effects.get(training["class_balance"])
    calibrated = training.get("calibrate")
    sentences = []
    if balanced and calibrated in (None, "temperature"):  # the others learn the shares of the classes
        sentences.append(
            f"{balanced}, which raises their probabilities and lowers those of the common ones: they are not the "
            "frequencies of the classes."
        )
    if training.get("label_smoothing") and calibrated is None:
        sentences.append(
            f"Labels were smoothed in training (--label-smoothing {training['label_smoothing']:g}), which keeps "
            "probabilities away from 0 and 1."
        )
    return sentences


def calibration_rows(block: Mapping[str, Any]) -> list[Row]:
    """The tests in the order in which they are explained."""
    tests = block["calibration"]
    gap, slope, intercept, z = (
        tests[name] for name in ("in_the_large", "slope", "intercept", "spiegelhalter")
    )
    rows = [
        _row(
            "In the large",
            "mean probability of the predicted class minus accuracy, in percentage points",
            gap,
            wording.points,
        ),
        _row(
            "Slope", "of the logistic recalibration of that probability; below 1: too extreme", slope, _plain
        ),
        _row("Intercept", "of the same line", intercept, _plain),
        _row(
            "Spiegelhalter's z",
            "above 0: the Brier score is larger than the probabilities promise",
            z,
            _plain,
        ),
    ]
    for name, test in tests["classes"].items():
        mean, share = _of_class(name, test, block)
        meaning = f"in the large: mean probability {mean}, share of the images {share}"
        rows.append(_row(name, meaning, test, wording.points))
    return rows


def _of_the_prediction(tests: Mapping[str, Any], block: Mapping[str, Any]) -> list[str]:
    gap, slope, z = tests["in_the_large"], tests["slope"], tests["spiegelhalter"]
    found = []
    if _is_off(gap):
        kind = "overconfident" if gap["value"] > 0 else "underconfident"
        mean = wording.percent(block["accuracy"] + gap["value"], block["n"])
        right = wording.percent(block["accuracy"], block["n"])
        found.append(
            f"The model is {kind}: its predictions have a mean probability of {mean}, and {right} of them are right."
        )
    if _is_off(slope):
        kind = "too extreme" if slope["value"] < 1 else "not extreme enough"
        found.append(
            f"The probabilities are {kind}: the slope is {_plain(slope['value'])}, and 1 if calibrated."
        )
    if _is_off(z):
        kind = "larger" if z["value"] > 0 else "smaller"
        found.append(
            f"The Brier score is {kind} than the probabilities promise (Spiegelhalter's z is {_plain(z['value'])})."
        )
    return found


def _of_classes(tests: Mapping[str, Any], block: Mapping[str, Any]) -> list[str]:
    found = []
    for name, test in tests["classes"].items():
        if _is_off(test):
            mean, share = _of_class(name, test, block)
            found.append(f"The mean probability of {name} is {mean}, and {share} of the images are of it.")
    return found


def _of_class(name: str, test: Mapping[str, Any], block: Mapping[str, Any]) -> tuple[str, str]:
    """The mean probability of a class, and its share of the images."""
    n = block["n"]
    share = block["per_class"][name]["n"] / n
    return wording.percent(share + test["value"], n), wording.percent(share, n)


def _is_off(test: Mapping[str, Any]) -> bool:
    return test["p_adjusted"] is not None and test["p_adjusted"] < LEVEL


def _row(title: str, meaning: str, test: Mapping[str, Any], show: Any) -> Row:
    value, interval, p = test["value"], test["ci95"], test["p_adjusted"]
    return Row(
        title,
        meaning,
        wording.UNDEFINED if value is None else show(value),
        "" if interval is None else f"{show(interval[0])} to {show(interval[1])}",
        f"{test['if_calibrated']:g}",
        "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
    )


def _plain(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
